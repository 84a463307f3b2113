//! Joins a tailnet by hand and shows what control says: a way to try this crate against a real control server.
//!
//! `cargo run -p control --example join -- URL SECONDS [AUTH_KEY] [KEY_FILE]`
//!
//! With `KEY_FILE` the keys are kept there between runs; without, the node logs out at the end. `SSL_CERT_FILE`
//! names a private CA. Carries no packets.
#![allow(clippy::print_stdout, reason = "it is a command")]

use anyhow::Context as _;
use control::{Command, Event, Login, MapItem, Options, Persisted, SelfReport};
use keys::{DiscoPrivate, MachinePrivate, NodePrivate};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

struct Clock;

impl dial::WallClock for Clock {
    #[allow(clippy::disallowed_methods, reason = "an example has no clock of its own")]
    fn reading(&self) -> dial::WallReading {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        dial::WallReading { unix_secs: now.as_secs(), trusted: true }
    }
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("control") || metadata.target().starts_with("dial")
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("  log: {}", record.args());
        }
    }
    fn flush(&self) {}
}

fn main() -> anyhow::Result<()> {
    let _ = log::set_logger(&Log).map(|()| log::set_max_level(log::LevelFilter::Debug));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, join())
}

async fn join() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let server_url = args.next().context("usage: join URL SECONDS [AUTH_KEY] [KEY_FILE]")?;
    let seconds = args.next().and_then(|n| n.parse().ok()).context("SECONDS must be a number")?;
    let auth_key = args.next().filter(|key| !key.is_empty());
    let key_file = args.next();

    let kept = key_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let mut kept = kept.as_deref().unwrap_or_default().lines();
    let machine_key = match kept.next() {
        Some(text) => text.parse()?,
        None => MachinePrivate::generate(&mut rand_core::OsRng),
    };
    let node_key: NodePrivate = kept.next().map(str::parse).transpose()?.unwrap_or_default();

    let extra_ca_file = std::env::var_os("SSL_CERT_FILE").map(Into::into).into_iter().collect();
    let dialer = dial::Dialer::new(dial::Options {
        extra_ca_file,
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        wall: std::sync::Arc::new(Clock),
    })?;
    let options = Options {
        server_url,
        dialer: Rc::new(dialer),
        machine_key: machine_key.clone(),
        capability_version: control::CAPABILITY_VERSION,
        rng: Box::new(rand_core::OsRng),
        force_noise_443: false,
    };
    let (commands, commands_in) = mpsc::channel(8);
    let (events_out, events) = mpsc::channel(64);
    let persisted = Persisted { node_key, ..Persisted::default() };
    let client = tokio::task::spawn_local(control::run(options, persisted, commands_in, events_out));

    let mut report = SelfReport {
        disco_key: DiscoPrivate::generate(&mut rand_core::OsRng).public(),
        ..SelfReport::default()
    };
    report.hostinfo.os = "linux".into();
    report.hostinfo.hostname = "join-example".into();
    report.hostinfo.backend_log_id = "0".repeat(64);
    report.hostinfo.net_info = Some(control::NetInfo { preferred_derp: 999, ..Default::default() });
    commands.send(Command::Report(Box::new(report.clone()))).await?;
    commands.send(Command::Login(Login { auth_key, ..Login::default() })).await?;

    tokio::task::spawn_local(show(events, key_file.clone(), machine_key));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        ended = client => {
            ended??;
            return Ok(());
        }
    }
    if key_file.is_none() {
        let (reply, done) = oneshot::channel();
        commands.send(Command::Logout { reply }).await?;
        println!("logout: {:?}", done.await?);
    }
    Ok(())
}

async fn show(mut events: mpsc::Receiver<Event>, key_file: Option<String>, machine_key: MachinePrivate) {
    let started = tokio::time::Instant::now();
    while let Some(event) = events.recv().await {
        let at = started.elapsed().as_millis();
        match event {
            Event::LoggedIn(done) => {
                println!("{at} ms: logged in, {:?}, {:?}", done.node_key.public(), done.user);
                if let Some(file) = &key_file {
                    let text = format!("{}\n{}\n", machine_key.to_text(), done.node_key.to_text());
                    println!("keys: {:?}", std::fs::write(file, text));
                }
            }
            Event::MapItem(MapItem::Peer(peer)) => println!("{at} ms: peer {} {:?}", peer.name, peer.online),
            Event::MapItem(MapItem::End(message)) => println!("{at} ms: {message:#?}"),
            Event::C2n { request, reply } => {
                println!("{at} ms: c2n {}", String::from_utf8_lossy(&request));
                let _ = reply.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
            }
            other => println!("{at} ms: {other:?}"),
        }
    }
}

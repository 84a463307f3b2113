//! The whole client against a control server in this process, in virtual time.
//!
//! The server's requests come to the test, which answers them by hand: what a test does not answer stays open.

mod ahead;
mod connect;
mod h2;
mod login;
mod map;
mod ping;
mod server;
mod update;

use crate::{Command, Event, Login, Options, Persisted, SelfReport, run};
use keys::{MachinePrivate, NodePrivate};
use server::{Seen, Server};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything that is waited for, in virtual time.
const LONG: Duration = Duration::from_secs(3600);

/// Runs `test` in virtual time: it jumps ahead whenever everything waits.
fn in_virtual_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// A client under test and its server.
struct Node {
    server: Rc<Server>,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    seen: mpsc::Receiver<Seen>,
}

fn report(hostname: &str) -> Command {
    let mut report = SelfReport::default();
    report.hostinfo.hostname = hostname.to_owned();
    Command::Report(Box::new(report))
}

fn key(first: u8) -> NodePrivate {
    NodePrivate::from_bytes([first; 32])
}

fn persisted(first: u8) -> Persisted {
    Persisted { node_key: key(first), ..Persisted::default() }
}

impl Node {
    fn start(url: &str, persisted: Persisted) -> Self {
        let (server, seen) = Server::new();
        let (commands, commands_in) = mpsc::channel(16);
        let (events_out, events) = mpsc::channel(4);
        let options = Options {
            server_url: url.to_owned(),
            dialer: server.clone(),
            machine_key: MachinePrivate::from_bytes([9; 32]),
            capability_version: crate::CAPABILITY_VERSION,
            rng: Box::new(rand_core::OsRng),
            force_noise_443: false,
        };
        tokio::task::spawn_local(async move {
            run(options, persisted, commands_in, events_out).await.expect("run");
        });
        Self { server, commands, events, seen }
    }

    /// A client that has told what it is and has been told to log in.
    async fn logging_in(persisted: Persisted, login: Login) -> Self {
        let node = Self::start("http://localhost", persisted);
        node.command(report("r1")).await;
        node.command(Command::Login(login)).await;
        node
    }

    /// A client that is logged in with key 1, its stream and first update answered.
    async fn following() -> (Self, server::Body) {
        let mut node = Self::logging_in(persisted(1), Login::default()).await;
        node.request("/machine/register").await.answer(r#"{"MachineAuthorized":true}"#).await;
        assert!(matches!(node.event().await, Event::LoggedIn(_)));
        let stream = node.map_stream().await;
        (node, stream)
    }

    /// Answers the update and the stream request that follow a login, in whichever order they come.
    async fn map_stream(&mut self) -> server::Body {
        let mut stream = None;
        for _ in 0..2 {
            let request = self.request("/machine/map").await;
            match request.json["Stream"].as_bool() {
                Some(true) => stream = Some(request.open().await),
                _ => request.answer("").await,
            }
        }
        loop {
            match self.event().await {
                Event::MapUp => break,
                Event::Trouble { error: None, .. }
                | Event::MapDown { error: crate::Error::StreamDropped } => {}
                other => panic!("{other:?}"),
            }
        }
        stream.expect("a stream request")
    }

    async fn command(&self, command: Command) {
        self.commands.send(command).await.expect("the client runs");
    }

    async fn event(&mut self) -> Event {
        timeout(LONG, self.events.recv()).await.expect("an event").expect("the client runs")
    }

    /// The next request, which must be for `path`.
    async fn request(&mut self, path: &str) -> Seen {
        let seen = timeout(LONG, self.seen.recv()).await.expect("a request").expect("the server runs");
        assert_eq!(seen.path, path);
        seen
    }

    /// No request and no event within `time`.
    async fn quiet_for(&mut self, time: Duration) {
        tokio::select! {
            event = self.events.recv() => panic!("{event:?}"),
            seen = self.seen.recv() => panic!("{:?}", seen.map(|seen| seen.path)),
            () = tokio::time::sleep(time) => {}
        }
    }
}

//! The front door: `/key`, the Noise upgrade and the "visit this URL" page, all over plain HTTP/1.1.

use crate::bytes_io::{Preceded, header, read_head};
use crate::machine;
use crate::world::World;
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::future::Future;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn serve(listener: TcpListener, world: Rc<World>) {
    while let Ok((stream, _)) = listener.accept().await {
        let world = world.clone();
        world.connected();
        tokio::task::spawn_local(async move {
            let kicked = world.control_kicked();
            tokio::select! {
                result = connection(stream, &world) => if let Err(error) = result {
                    log::debug!("control connection: {error:#}");
                },
                () = kicked => {}
            }
        });
    }
}

async fn connection(mut stream: TcpStream, world: &Rc<World>) -> Result<()> {
    stream.set_nodelay(true)?;
    let faults = world.faults();
    if faults.refuse {
        return Ok(());
    }
    if faults.stall {
        std::future::pending::<()>().await;
    }
    let (head, rest) = match read_head(&mut stream).await {
        // As Go's server does, to whoever speaks TLS to it for example.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return answer(&mut stream, "400 Bad Request", "text/plain", "400 Bad Request").await;
        }
        read => read?,
    };
    if faults.garbage {
        stream.write_all(b"\x00\xff\x17 nonsense \r\n\r\n").await?;
        return Ok(());
    }
    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
    match path.split('?').next().unwrap_or("") {
        "/key" => answer(&mut stream, "200 OK", "application/json", &world.key_json()).await,
        "/ts2021" => upgrade(stream, &head, rest, world).await,
        "/ping-me" => {
            world.note_head_ping();
            answer(&mut stream, "200 OK", "text/plain", "").await
        }
        path if path.starts_with("/register/") => {
            let known = world.approve_login(path.trim_start_matches("/register/"));
            let (status, text) = if known { ("200 OK", "approved") } else { ("404 Not Found", "unknown") };
            answer(&mut stream, status, "text/plain", text).await
        }
        _ => answer(&mut stream, "404 Not Found", "text/plain", "not found").await,
    }
}

async fn answer(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn upgrade(mut stream: TcpStream, head: &str, rest: Vec<u8>, world: &Rc<World>) -> Result<()> {
    let wanted = header(head, "Upgrade").is_some_and(|u| u == "tailscale-control-protocol");
    let handshake = header(head, "X-Tailscale-Handshake").and_then(|text| STANDARD.decode(text).ok());
    let Some(initiation) = handshake.filter(|_| wanted && head.starts_with("POST ")) else {
        return answer(&mut stream, "400 Bad Request", "text/plain", "missing Tailscale handshake header")
            .await;
    };
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n")
        .await?;
    let inner = Preceded::new(rest, stream);
    let (machine_key, version, mut noise) =
        world.identity.accept(&initiation, inner).await.context("Noise")?;
    let challenge = format!(r#"{{"nodeKeyChallenge":"chalpub:{}"}}"#, "5a".repeat(32));
    let mut early = b"\xff\xff\xffTS".to_vec();
    early.extend_from_slice(&(challenge.len() as u32).to_be_bytes());
    early.extend_from_slice(challenge.as_bytes());
    noise.write_all(&early).await?;
    let machine = Rc::new(machine::Machine::new(machine_key, version));
    h2(noise, machine, world.clone()).await
}

async fn h2<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    machine: Rc<machine::Machine>,
    world: Rc<World>,
) -> Result<()> {
    let service = hyper::service::service_fn(move |request| {
        let (machine, world) = (machine.clone(), world.clone());
        async move { machine::handle(request, &machine, &world).await }
    });
    hyper::server::conn::http2::Builder::new(LocalExecutor)
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// Runs the connection's tasks on the server's own thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

//! A DERP relay over TLS with a certificate that nobody is meant to verify.

use crate::bytes_io::{Preceded, header, read_head};
use crate::world::World;
use anyhow::{Context as _, Result, ensure};
use crypto_box::aead::Aead as _;
use crypto_box::{PublicKey, SalsaBox, SecretKey};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const MAGIC: &[u8] = b"DERP\xf0\x9f\x94\x91";
const QUEUE: usize = 512;

/// Number of the connection that last came with a key, and the queue of frames to it.
type Client = (u64, mpsc::Sender<Vec<u8>>);

/// The relay's key, certificate and connected clients.
pub(crate) struct Relay {
    secret: SecretKey,
    tls: tokio_rustls::TlsAcceptor,
    clients: RefCell<HashMap<[u8; 32], Client>>,
    connections: RefCell<u64>,
}

impl Relay {
    pub(crate) fn new(ip: IpAddr) -> Result<Rc<Self>> {
        let made = rcgen::generate_simple_self_signed(vec![ip.to_string(), "localhost".to_owned()])?;
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![made.cert.der().clone()], key)?;
        Ok(Rc::new(Self {
            secret: SecretKey::from(random::<32>()),
            tls: Arc::new(config).into(),
            clients: RefCell::default(),
            connections: RefCell::new(0),
        }))
    }
}

pub(crate) async fn serve(listener: TcpListener, relay: Rc<Relay>, world: Rc<World>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (relay, world) = (relay.clone(), world.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = connection(stream, &relay, &world).await {
                log::debug!("DERP connection: {error:#}");
            }
        });
    }
}

async fn connection(stream: TcpStream, relay: &Rc<Relay>, world: &World) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = relay.tls.accept(stream).await.context("TLS")?;
    let (head, rest) = read_head(&mut stream).await?;
    let path = head.split(' ').nth(1).unwrap_or("");
    if path != "/derp" || header(&head, "Upgrade").is_none() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
        return Ok(());
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n\r\n").await?;
    let (mut reader, mut writer) = tokio::io::split(Preceded::new(rest, stream));
    let hello = [MAGIC, relay.secret.public_key().as_bytes()].concat();
    write_frame(&mut writer, 0x01, &hello).await?;
    let (kind, body) = read_frame(&mut reader).await?;
    ensure!(kind == 0x02 && body.len() > 56, "no client info");
    let client: [u8; 32] = body[..32].try_into()?;
    let naclbox = SalsaBox::new(&PublicKey::from(client), &relay.secret);
    naclbox
        .decrypt(body[32..56].into(), &body[56..])
        .map_err(|_| anyhow::anyhow!("client info does not open"))?;
    let nonce = random::<24>();
    let info =
        naclbox.encrypt(&nonce.into(), &br#"{"version":2}"#[..]).map_err(|_| anyhow::anyhow!("seal"))?;
    write_frame(&mut writer, 0x03, &[&nonce[..], &info].concat()).await?;

    let (queue, mut outbox) = mpsc::channel::<Vec<u8>>(QUEUE);
    let number = {
        let mut connections = relay.connections.borrow_mut();
        *connections += 1;
        *connections
    };
    relay.clients.borrow_mut().insert(client, (number, queue.clone()));
    world.derp_connected(true);
    let writing = async {
        let mut keep_alive = tokio::time::interval(Duration::from_secs(60));
        keep_alive.tick().await;
        loop {
            tokio::select! {
                frame = outbox.recv() => {
                    let Some(mut bytes) = frame else { return Ok(()) };
                    while bytes.len() < 64 << 10 {
                        let Ok(more) = outbox.try_recv() else { break };
                        bytes.extend_from_slice(&more);
                    }
                    writer.write_all(&bytes).await?;
                }
                _ = keep_alive.tick() => writer.write_all(&frame(0x06, &[])).await?,
            }
            writer.flush().await?;
        }
    };
    let ended: Result<()> = tokio::select! {
        result = reading(&mut reader, relay, &client, &queue, world) => result,
        result = writing => result,
        () = world.derp_kicked() => Ok(()),
    };
    let mut clients = relay.clients.borrow_mut();
    if clients.get(&client).is_some_and(|(n, _)| *n == number) {
        clients.remove(&client);
    }
    world.derp_connected(false);
    ended
}

async fn reading<R: AsyncRead + Unpin>(
    reader: &mut R,
    relay: &Relay,
    client: &[u8; 32],
    queue: &mpsc::Sender<Vec<u8>>,
    world: &World,
) -> Result<()> {
    loop {
        let (kind, body) = read_frame(reader).await?;
        match kind {
            0x04 if body.len() > 32 => {
                let dst: [u8; 32] = body[..32].try_into()?;
                let target = relay.clients.borrow().get(&dst).map(|(_, queue)| queue.clone());
                let Some(target) = target else {
                    let _ = queue.try_send(frame(0x08, &[&dst[..], &[1]].concat()));
                    continue;
                };
                world.relayed(body.len() - 32);
                // A full queue loses the packet, as a relay does.
                let _ = target.try_send(frame(0x05, &[&client[..], &body[32..]].concat()));
            }
            0x12 => drop(queue.try_send(frame(0x13, &body))),
            _ => {}
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
    bytes
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out
}

async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, kind: u8, body: &[u8]) -> Result<()> {
    writer.write_all(&frame(kind, body)).await?;
    writer.flush().await?;
    Ok(())
}

async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    reader.read_exact(&mut head).await?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    ensure!(len <= 1 << 20, "frame of {len} bytes");
    let mut body = vec![0; len];
    reader.read_exact(&mut body).await?;
    Ok((head[0], body))
}

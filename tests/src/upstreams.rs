//! Name servers that are slow, broken or lie, and providers that speak DNS over HTTPS: what a resolver may meet.
//!
//! Each has an address of its own on one host of the lab. Leaves out: a good one, which is unbound ([`crate::names`] asks).

use crate::names;
use anyhow::{Context, Result};
use lab::{Certificate, Host};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What every good answer here says.
pub const TRUTH: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// What every lie says.
pub const LIE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

/// How long the slow one takes.
const SLOW: Duration = Duration::from_millis(1300);

/// How long the truth takes after lies: they come first.
const LATE: Duration = Duration::from_millis(200);

/// How a name server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Answers.
    Well,
    /// Answers late.
    Slow,
    /// Says SERVFAIL.
    Fails,
    /// Says REFUSED.
    Refuses,
    /// Says something that is no DNS.
    Garbage,
    /// Lies in every way at first, by UDP; then answers.
    Lies,
    /// Says by UDP that it did not fit, and all by TCP.
    Cuts,
    /// Says by UDP that it did not fit, and has no TCP.
    CutsOnly,
    /// Is silent by UDP and answers by TCP.
    ByTcp,
    /// Answers with more than was asked for, without a word.
    Large,
    /// Has no port open.
    Closed,
    /// Never says anything.
    Silent,
}

/// An answer to `query`: one address, or texts for who asks for texts, of `size` bytes at least.
pub(crate) fn answer(query: &[u8], address: Ipv4Addr, size: usize) -> Option<Vec<u8>> {
    let (_, end) = names::name(query, 12).ok()?;
    let kind = query.get(end + 1)?;
    let mut bytes = query.get(..end + 4)?.to_vec();
    bytes.get_mut(2..12)?.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    match kind {
        1 => {
            bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            bytes.extend(address.octets());
            bytes[7] = 1;
        }
        16 => {
            while bytes.len() < size.max(end + 5) {
                bytes.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 201, 200, bytes[7]]);
                bytes.extend([b'x'; 199]);
                bytes[7] += 1;
            }
        }
        _ => {}
    }
    Some(bytes)
}

/// A failure.
fn failure(query: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut bytes = answer(query, TRUTH, 0)?;
    let (_, end) = names::name(query, 12).ok()?;
    bytes.truncate(end + 4);
    bytes[7] = 0;
    bytes[3] |= code;
    Some(bytes)
}

/// Who was asked, by `udp` or `tcp`, and for which name.
type Asked = Arc<Mutex<Vec<(IpAddr, &'static str, String)>>>;

/// Name servers on a host; they end with it.
#[derive(Debug, Default)]
pub struct Upstreams {
    ended: Arc<AtomicBool>,
    asked: Asked,
}

impl Drop for Upstreams {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Gives a host an address that others reach through it.
///
/// # Errors
/// When a command fails.
pub fn address(host: &Host, at: Ipv4Addr, others: &[&Host]) -> Result<()> {
    let text = format!("{at}/32");
    host.run(&["ip", "address", "add", &text, "dev", "lo"])?;
    for other in others {
        other.run(&["ip", "route", "add", &text, "via", &host.ipv4.to_string()])?;
    }
    Ok(())
}

impl Upstreams {
    /// Starts one at an address that `host` has already.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn start(&self, host: &Host, at: Ipv4Addr, does: Does) -> Result<()> {
        if does == Does::Closed {
            return Ok(());
        }
        let to = SocketAddr::from((at, 53));
        let udp = host.inside(|| UdpSocket::bind(to))?.with_context(|| format!("{to}"))?;
        // From where no answer may come: another port, and another address.
        let other_port = host.inside(|| UdpSocket::bind((at, 0)))??;
        let other_address = host.inside(|| UdpSocket::bind((host.ipv4, 0)))??;
        udp.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (ended, asked) = (Arc::clone(&self.ended), Arc::clone(&self.asked));
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            let mut before: Option<(Vec<u8>, Instant)> = None;
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut room) else { continue };
                let query = &room[..length];
                note(&asked, at, "udp", query);
                if does == Does::Slow {
                    let (udp, query) = (udp.try_clone(), query.to_vec());
                    std::thread::spawn(move || {
                        std::thread::sleep(SLOW);
                        let answer = answer(&query, TRUTH, 0);
                        answer.zip(udp.ok()).map(|(answer, udp)| udp.send_to(&answer, from))
                    });
                    continue;
                }
                if does == Does::Lies {
                    // Not of one that still waits: nobody else could know its number, and who does may as well lie.
                    let over = before.as_ref().filter(|(_, at)| at.elapsed() > LATE * 2);
                    for lie in lies(query, over.map(|(query, _)| &**query)) {
                        let _ = udp.send_to(&lie, from);
                    }
                    if let Some(lie) = answer(query, LIE, 0) {
                        let _ = other_port.send_to(&lie, from);
                        let _ = other_address.send_to(&lie, from);
                    }
                    before = Some((query.to_vec(), lab::now()));
                    let (udp, query) = (udp.try_clone(), query.to_vec());
                    std::thread::spawn(move || {
                        std::thread::sleep(LATE);
                        let udp = udp.ok()?;
                        udp.send_to(&answer(&query, TRUTH, 0)?, from).ok()?;
                        // Too late by then.
                        udp.send_to(&answer(&query, LIE, 0)?, from).ok()
                    });
                    continue;
                }
                if let Some(bytes) = by_udp(query, does) {
                    let _ = udp.send_to(&bytes, from);
                }
            }
        });
        if does == Does::CutsOnly {
            return Ok(());
        }
        let tcp = host.inside(|| TcpListener::bind(to))??;
        tcp.set_nonblocking(true)?;
        let (ended, asked) = (Arc::clone(&self.ended), Arc::clone(&self.asked));
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = tcp.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || streamed(stream, does, |query| note(&asked, at, "tcp", query)));
            }
        });
        Ok(())
    }

    /// How often `at` was asked by `how` (`udp` or `tcp`) for names that begin so.
    pub fn asked(&self, at: Ipv4Addr, how: &str, name: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let at = IpAddr::from(at);
        asked.iter().filter(|(to, by, asked)| *to == at && *by == how && asked.starts_with(name)).count()
    }
}

fn note(asked: &Asked, at: Ipv4Addr, how: &'static str, query: &[u8]) {
    let name = names::name(query, 12).map(|(name, _)| name).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push((at.into(), how, name));
}

/// Answers with the wrong number, question or form, and one to the question before this one.
fn lies(query: &[u8], before: Option<&[u8]>) -> Vec<Vec<u8>> {
    let Some(lie) = answer(query, LIE, 0) else { return Vec::new() };
    let end = names::name(query, 12).map_or(12, |(_, end)| end);
    let changed = |at: usize, bits: u8| {
        let mut bytes = lie.clone();
        bytes[at] ^= bits;
        bytes
    };
    let mut all = vec![
        changed(0, 0x40),
        changed(1, 1),
        changed(2, 0x80),
        changed(13, 1),
        changed(end + 1, 4),
        changed(end + 3, 2),
        lie[..12].to_vec(),
    ];
    all.extend(before.and_then(|before| answer(before, LIE, 0)));
    all
}

fn by_udp(query: &[u8], does: Does) -> Option<Vec<u8>> {
    match does {
        Does::Fails => failure(query, 2),
        Does::Refuses => failure(query, 5),
        Does::Garbage => Some(query.iter().map(|byte| byte.wrapping_mul(7).wrapping_add(91)).collect()),
        Does::Cuts | Does::CutsOnly => {
            let mut bytes = failure(query, 0)?;
            bytes[2] |= 2;
            Some(bytes)
        }
        Does::Large => answer(query, TRUTH, 1100),
        Does::ByTcp | Does::Silent => None,
        _ => answer(query, TRUTH, 0),
    }
}

/// One question by a stream.
fn streamed(mut stream: TcpStream, does: Does, note: impl Fn(&[u8])) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query).ok()?;
    note(&query);
    let bytes = match does {
        Does::Silent => {
            std::thread::sleep(Duration::from_secs(15));
            return None;
        }
        Does::Slow => {
            std::thread::sleep(SLOW);
            answer(&query, TRUTH, 0)
        }
        Does::Cuts | Does::ByTcp => answer(&query, TRUTH, 3000),
        // The truth by TCP would end the wait before it comes by UDP.
        Does::Lies => {
            std::thread::sleep(LATE * 3);
            answer(&query, TRUTH, 0)
        }
        other => by_udp(&query, other),
    }?;
    stream.write_all(&[&(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat()).ok()
}

/// What a provider's HTTPS does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Https {
    /// Answers.
    Well,
    /// Takes questions and is silent.
    Silent,
    /// Hangs up before TLS.
    HangsUp,
    /// Answers one question and hangs up without a word.
    Once,
    /// Says 500.
    Fails,
}

const ALL: [Https; 5] = [Https::Well, Https::Silent, Https::HangsUp, Https::Once, Https::Fails];

/// A provider that speaks DNS over HTTPS: HTTP/1.1 by TLS.
#[derive(Debug, Default)]
pub struct Provider {
    does: AtomicU32,
    /// Connections that came.
    pub connections: AtomicU32,
    /// Questions that were answered.
    pub questions: AtomicU32,
    /// The path that was asked for last.
    pub path: Mutex<String>,
    ended: AtomicBool,
}

impl Provider {
    /// Starts it at `at`, which `host` has already.
    ///
    /// # Errors
    /// When the port is taken or the certificate is none.
    pub fn start(host: &Host, at: Ipv4Addr, certificate: &Certificate) -> Result<Arc<Self>> {
        let certificates = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?;
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(certificates, key)?;
        let config = Arc::new(config);
        let listener = host.inside(|| TcpListener::bind((at, 443)))??;
        listener.set_nonblocking(true)?;
        let provider = Arc::new(Self::default());
        let shared = Arc::clone(&provider);
        std::thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                std::thread::spawn(move || shared.serve(stream, config));
            }
        });
        Ok(provider)
    }

    /// What it does from now on.
    pub fn set(&self, does: Https) {
        self.does.store(does as u32, Ordering::Relaxed);
    }

    /// Ends it; connections end by themselves.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn does(&self) -> Https {
        let does = self.does.load(Ordering::Relaxed);
        ALL.into_iter().find(|one| *one as u32 == does).unwrap_or(Https::Well)
    }

    fn serve(&self, stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Option<()> {
        if self.does() == Https::HangsUp {
            return None;
        }
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let session = rustls::ServerConnection::new(config).ok()?;
        let mut stream = rustls::StreamOwned::new(session, stream);
        loop {
            let (head, query) = request(&mut stream)?;
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
            self.questions.fetch_add(1, Ordering::Relaxed);
            let reply = match self.does() {
                Https::Silent => {
                    std::thread::sleep(Duration::from_secs(15));
                    return None;
                }
                Https::Fails => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
                _ => {
                    let body = answer(&query, TRUTH, 0)?;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    [head.as_bytes(), &body].concat()
                }
            };
            stream.write_all(&reply).ok()?;
            stream.flush().ok()?;
            if self.does() == Https::Once {
                return None;
            }
        }
    }
}

/// One request: its head, and its body.
fn request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length:").and_then(|text| text.trim().parse().ok())
    })?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

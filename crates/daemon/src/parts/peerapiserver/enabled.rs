//! Where the PeerAPI listens, and who may come in: nodes of the tailnet, by the tunnel, so many at a time.
//!
//! Leaves out: what they are answered (`visit`), how many there may be (`places`).

use super::places::{Place, Places};
use super::visit::Visit;
use crate::node::Shared;
use http1::{Answer, LocalFuture, Request, Service};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("peerapiserver");

/// Connections that the kernel may hold for us: as many as may wait here, too.
const BACKLOG: u32 = 128;

/// What a visitor may take. A client keeps its connection for the next question; Go's for ten seconds or more.
const LIMITS: http1::Limits = http1::Limits {
    head_bytes: 8 << 10,
    head_time: Duration::from_secs(30),
    body_time: Duration::from_secs(5),
    keep_alive: true,
};

/// The longest visit.
const LONGEST: Duration = Duration::from_secs(600);

/// A node that offers nobody a connection must not spin.
const REST: Duration = Duration::from_millis(200);

/// All listeners.
#[derive(Default)]
pub struct PeerApi {
    listeners: Vec<Listener>,
    places: Places,
    /// What kept us from listening, as it was told.
    problem: Option<String>,
}

struct Listener {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerApi {
    /// Listens at exactly these addresses of the interface `device`, as far as the system lets us; where it does.
    pub fn apply(&mut self, shared: &Rc<Shared>, own: &[IpAddr], device: &str) -> Vec<SocketAddr> {
        self.listeners.retain(|listener| own.contains(&listener.at.ip()));
        let mut problem = None;
        for ip in own {
            if self.listeners.iter().any(|listener| listener.at.ip() == *ip) {
                continue;
            }
            match listen(*ip, device) {
                Ok((at, listener)) => {
                    let task = dial::spawn(welcome(shared.clone(), listener, self.places.clone()));
                    self.listeners.push(Listener { at, task });
                }
                Err(error) => problem = Some(format!("other nodes find no PeerAPI at {ip}: {error}")),
            }
        }
        if let Some(text) = problem.as_ref().filter(|text| self.problem.as_ref() != Some(text)) {
            log::warn!("{text}");
        }
        self.problem = problem;
        self.listeners.iter().map(|listener| listener.at).collect()
    }
}

/// The port that is tried first, second and so on: others of this kind can be told by it.
fn port(ip: IpAddr, attempt: u8) -> u16 {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let [.., a, b, c] = bytes;
    0x8000 | crc32(&[a.wrapping_add(attempt), b, c]) as u16
}

/// CRC-32 as Ethernet has it; bit by bit, for three bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 0 { 0 } else { 0xedb8_8320 };
        }
    }
    !crc
}

fn listen(ip: IpAddr, device: &str) -> io::Result<(SocketAddr, TcpListener)> {
    let mut last = None;
    for port in (0..5).map(|attempt| port(ip, attempt)).chain([0]) {
        let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // What comes by another interface under our address is nobody's of ours. Where this is forbidden, the sender's
        // address alone says who it is.
        let _ = socket.bind_device(Some(device.as_bytes()));
        match socket.bind(SocketAddr::new(ip, port)).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok((listener.local_addr()?, listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

async fn welcome(shared: Rc<Shared>, listener: TcpListener, places: Places) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Ok(to) = stream.local_addr() else { continue };
        let Some(visit) = Visit::new(shared.clone(), from.ip().to_canonical(), to) else { continue };
        let places = places.clone();
        dial::spawn(async move {
            if let Some(place) = places.wait(visit.id()).await {
                serve(stream, Guest { visit, place }).await;
            }
        });
    }
}

async fn serve(mut stream: TcpStream, guest: Guest) {
    let _ = stream.set_nodelay(true);
    let serving: LocalFuture<'_, _> = Box::pin(http1::serve(&mut stream, &guest, &LIMITS));
    tokio::select! {
        // An answer that is ready leaves first.
        biased;
        // Whatever it ends with, the visitor has been told.
        _ = tokio::time::timeout(LONGEST, serving) => {}
        () = guest.place.lost() => {}
    }
}

/// A visit in its place, which it may lose between two requests.
struct Guest {
    visit: Visit,
    place: Place,
}

impl Service for Guest {
    fn admit(&self, request: &Request) -> Result<usize, Answer> {
        self.place.busy();
        self.visit.admit(request).inspect_err(|_| self.place.idle())
    }

    fn refuse(&self, status: u16, why: &str) -> Answer {
        self.place.idle();
        self.visit.refuse(status, why)
    }

    fn answer(&self, request: Request) -> LocalFuture<'_, Answer> {
        Box::pin(async move {
            let answer = self.visit.answer(request).await;
            self.place.idle();
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_that_others_expect() {
        for (ip, ports) in [
            ("100.64.0.1", [58_436, 36_467, 45_098]),
            ("100.101.102.103", [59_395, 54_874, 48_237]),
            ("fd7a:115c:a1e0::1", [59_780, 33_715, 48_618]),
        ] {
            let ip = ip.parse().expect("address");
            assert_eq!([0, 1, 2].map(|attempt| port(ip, attempt)), ports, "{ip}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_passed_over() {
        let ip = "127.0.0.1".parse().expect("address");
        let (first, _held) = listen(ip, "lo").expect("listens");
        let (second, _held_too) = listen(ip, "lo").expect("listens");
        assert_eq!(first.port(), port(ip, 0));
        assert_eq!(second.port(), port(ip, 1));
        assert!(listen("192.0.2.1".parse().expect("address"), "lo").is_err(), "no address of ours");
    }
}

//! Where the PeerAPI listens, and who may come in: nodes of the tailnet, by the tunnel, a few at a time.
//!
//! Leaves out: what they are answered (`visit`).

use super::visit::Visit;
use crate::node::Shared;
use netmap::NodeId;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("peerapiserver");

/// Visits at once, of all nodes together and of one: its DNS questions come by a few.
const MOST: usize = 64;
const MOST_OF_ONE: usize = 8;

/// Connections that the kernel may hold for us.
const BACKLOG: u32 = 16;

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
    visits: Visits,
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
                    let task = dial::spawn(welcome(shared.clone(), listener, self.visits.clone()));
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

/// Who is here, once for each connection.
type Visits = Rc<RefCell<Vec<NodeId>>>;

/// One of the places that there are.
struct Place(Visits, NodeId);

impl Place {
    fn take(visits: &Visits, id: NodeId) -> Option<Self> {
        let mut all = visits.borrow_mut();
        let free = all.len() < MOST && all.iter().filter(|other| **other == id).count() < MOST_OF_ONE;
        free.then(|| {
            all.push(id);
            Self(visits.clone(), id)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.borrow_mut();
        if let Some(at) = all.iter().position(|id| *id == self.1) {
            all.swap_remove(at);
        }
    }
}

async fn welcome(shared: Rc<Shared>, listener: TcpListener, visits: Visits) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Ok(to) = stream.local_addr() else { continue };
        let Some(visit) = Visit::new(shared.clone(), from.ip().to_canonical(), to) else { continue };
        if let Some(place) = Place::take(&visits, visit.id()) {
            dial::spawn(serve(stream, visit, place));
        }
    }
}

async fn serve(mut stream: TcpStream, visit: Visit, _place: Place) {
    let _ = stream.set_nodelay(true);
    let serving: http1::LocalFuture<'_, _> = Box::pin(http1::serve(&mut stream, &visit, &LIMITS));
    // Whatever it ends with, the visitor has been told.
    let _ = tokio::time::timeout(LONGEST, serving).await;
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

    #[test]
    fn one_node_does_not_take_all_places() {
        let visits = Visits::default();
        let mut places: Vec<_> = (0..20).filter_map(|_| Place::take(&visits, NodeId(1))).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        places.extend((0..100).filter_map(|n| Place::take(&visits, NodeId(2 + n))));
        assert_eq!(places.len(), MOST);
        places.clear();
        assert!(visits.borrow().is_empty() && Place::take(&visits, NodeId(1)).is_some());
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

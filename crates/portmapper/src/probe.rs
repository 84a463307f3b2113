//! Who is there: all three protocols asked at once, a quarter of a second for the answers, or longer where none came in
//! that (protocol reference §5.1).

use crate::gateway::Gateway;
use crate::http::Place;
use crate::run::Disabled;
use crate::{pcp, pmp, ssdp};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// When there was an answer, others are waited for no longer than this.
const MORE: Duration = Duration::from_millis(50);
/// Descriptions that are remembered: a router may have several roots.
const PLACES: usize = 4;

/// Which protocols a router speaks; `None` = it was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// NAT-PMP.
    pub pmp: Option<bool>,
    /// PCP.
    pub pcp: Option<bool>,
    /// UPnP-IGD.
    pub upnp: Option<bool>,
}

impl Found {
    /// It speaks none of them.
    pub fn nothing(self) -> bool {
        ![self.pmp, self.pcp, self.upnp].contains(&Some(true))
    }
}

/// What a probe has found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probe {
    pub(crate) found: Found,
    /// The router's own address as NAT-PMP tells it.
    pub(crate) address: Option<Ipv4Addr>,
    /// Descriptions of UPnP devices on the router.
    pub(crate) places: Vec<Place>,
}

/// Asks, and waits so long for a first answer.
pub(crate) async fn probe(gateway: Gateway, disabled: Disabled, window: Duration) -> std::io::Result<Probe> {
    let Gateway { router, own } = gateway;
    // From our address there, so that the question to the group takes this way out.
    let socket = UdpSocket::bind((own, 0)).await?;
    dial::mark(&socket);
    let mut probe = Probe::default();
    let asked = |disabled: bool| (!disabled).then_some(false);
    probe.found = Found { pmp: asked(disabled.pmp), pcp: asked(disabled.pcp), upnp: asked(disabled.upnp) };
    if !disabled.pmp {
        socket.send_to(&pmp::ADDRESS_REQUEST, (router, pmp::PORT)).await?;
    }
    if !disabled.pcp {
        socket.send_to(&pcp::announce(own), (router, pmp::PORT)).await?;
    }
    if !disabled.upnp {
        let group = Ipv4Addr::from(ssdp::GROUP);
        for (target, to) in [(ssdp::ALL, router), (ssdp::ALL, group), (ssdp::GATEWAY, group)] {
            // A machine without multicast can still ask the router itself.
            let _ = socket.send_to(&ssdp::search(target), (to, ssdp::PORT)).await;
        }
    }
    let mut end = Instant::now() + window;
    let mut room = [0; 1500];
    while [probe.found.pmp, probe.found.pcp, probe.found.upnp].contains(&Some(false)) {
        match timeout_at(end, socket.recv_from(&mut room)).await {
            Ok(Ok((len, SocketAddr::V4(from)))) => {
                probe.take(router, from, room.get(..len).unwrap_or_default());
                if !probe.found.nothing() {
                    end = end.min(Instant::now() + MORE);
                }
            }
            // A port that is closed says so; the others may answer yet.
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(probe)
}

impl Probe {
    /// Takes a datagram. Only the router's own word counts.
    fn take(&mut self, router: Ipv4Addr, from: SocketAddrV4, datagram: &[u8]) {
        if *from.ip() != router {
            return;
        }
        if from.port() != pmp::PORT {
            let place = ssdp::location(datagram).and_then(|url| Place::at(router, url));
            if let Some(place) = place
                && self.found.upnp.is_some()
                && self.places.len() < PLACES
                && !self.places.contains(&place)
            {
                self.found.upnp = Some(true);
                self.places.push(place);
            }
            return;
        }
        match pmp::answer(datagram) {
            Some(pmp::Answer::Address { external }) if self.found.pmp.is_some() => {
                self.found.pmp = Some(true);
                self.address = Some(external).filter(|ip| !ip.is_unspecified());
            }
            // Refused: not here, or switched off.
            Some(_) => {}
            None => match pcp::answer(datagram) {
                Some(pcp::Answer::Announced) if self.found.pcp.is_some() => self.found.pcp = Some(true),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_router_counts() {
        let router = Ipv4Addr::new(192, 168, 1, 1);
        let asked = Found { pmp: Some(false), pcp: Some(false), upnp: Some(false) };
        let told = |ip: [u8; 4], port: u16, datagram: &[u8]| {
            let mut probe = Probe { found: asked, ..Probe::default() };
            probe.take(router, SocketAddrV4::new(ip.into(), port), datagram);
            (probe.found.pmp, probe.found.pcp, probe.found.upnp)
        };
        let ok = |pmp, pcp, upnp| (Some(pmp), Some(pcp), Some(upnp));
        let pmp = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7];
        let mut pcp = [0; 24];
        pcp[..2].copy_from_slice(&[2, 0x80]);
        let upnp = |host: &str| {
            format!("HTTP/1.1 200 OK\r\nST: x:InternetGatewayDevice:1\r\nLOCATION: http://{host}/d\r\n\r\n")
                .into_bytes()
        };
        assert_eq!(told([192, 168, 1, 1], 5351, &pmp), ok(true, false, false));
        assert_eq!(told([192, 168, 1, 9], 5351, &pmp), ok(false, false, false));
        assert_eq!(told([192, 168, 1, 1], 5351, &pcp), ok(false, true, false));
        pcp[3] = 2;
        assert_eq!(told([192, 168, 1, 1], 5351, &pcp), ok(false, false, false), "switched off");
        assert_eq!(told([192, 168, 1, 1], 1900, &upnp("192.168.1.1")), ok(false, false, true));
        assert_eq!(told([192, 168, 1, 1], 1900, &upnp("192.168.1.9")), ok(false, false, false));
    }
}

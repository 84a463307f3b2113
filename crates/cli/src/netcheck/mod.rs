//! What the network lets through and how far the relays are, found out by this process itself, as Go's tool does.
//!
//! Owns: sockets, STUN, the HTTPS fallback, the report. Leaves out: port mappers, ICMP, captive portals (never tried;
//! the report says so), and the daemon's own choice of its home relay.

mod https;
mod probe;
mod report;
mod stun;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use dial::Dial;
use localapi::types::{DerpMap, Time};
use probe::Sockets;
use tokio::net::UdpSocket;

pub(crate) use report::Report;

/// Makes reports; remembers the home of the last.
pub(crate) struct Netcheck {
    sockets: Sockets,
    dialer: fn() -> Result<Rc<dyn Dial>, String>,
    home: i64,
}

impl Netcheck {
    /// Opens a socket for each family; with `ip` only for its own. The second value says why there is none at all.
    pub(crate) async fn new(
        ip: Option<IpAddr>,
        port: u16,
        dialer: fn() -> Result<Rc<dyn Dial>, String>,
    ) -> (Self, Option<String>) {
        let mut problem = None;
        let mut sockets = Sockets { v4: None, v6: None };
        for family in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let place = match ip {
                None => family,
                Some(ip) if ip.is_ipv4() == family.is_ipv4() => ip,
                Some(_) => continue,
            };
            match bind(SocketAddr::new(place, port)) {
                Ok(socket) if family.is_ipv4() => sockets.v4 = Some(socket),
                Ok(socket) => sockets.v6 = Some(socket),
                Err(error) => {
                    problem = problem.or_else(|| Some(format!("cannot bind {place} port {port}: {error}")))
                }
            }
        }
        let problem = problem.filter(|_| sockets.v4.is_none() && sockets.v6.is_none());
        (Self { sockets, dialer, home: 0 }, problem)
    }

    /// A report of this moment, which is `now`. `note` is told every step.
    pub(crate) async fn report(&mut self, map: &DerpMap, now: Time, note: &mut dyn FnMut(&str)) -> Report {
        let mut report = Report::begun(now, os_has_ipv6());
        let names = probe::look_up(map).await;
        probe::run(&self.sockets, &probe::plan(map, &names), &mut report, note).await;
        if !report.udp {
            note("nothing came back over UDP; trying HTTPS");
            match (self.dialer)() {
                Ok(dialer) => {
                    let reached = tokio::task::LocalSet::new().run_until(https::measure(&dialer, map)).await;
                    for (region, took) in reached {
                        match took {
                            Ok(took) => report.reached(region, took),
                            Err(error) => note(&error),
                        }
                    }
                }
                Err(error) => note(&error),
            }
        }
        report.choose_home(map, self.home);
        self.home = report.preferred_derp;
        report
    }
}

/// A socket of one family only, so that the other can have the same port.
fn bind(place: SocketAddr) -> std::io::Result<UdpSocket> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if place.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &place)?;
    UdpSocket::from_std(socket.into())
}

/// Whether the system has IPv6 at all.
fn os_has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

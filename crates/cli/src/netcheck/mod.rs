//! What the network lets through and how far the relays are, found out by this process itself, as Go's tool does.
//!
//! Owns: sockets, name lookup and the moments for [`engine::netcheck`], which decides; the report in text and JSON.
//! Leaves out: port mappers, ICMP, captive portals (never tried; the report says so), and the daemon's own choice of its
//! home relay.

mod map;
mod report;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use dial::Dial;
use engine::netcheck::{ENOUGH, Names, Request, Step, unknown_names};
use engine::time::Mono;
use localapi::types::{DerpMap, Time};
use netmap::RegionId;
use rand_core::{OsRng, RngCore as _};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use report::Report;

/// For looking up the names of servers whose addresses the map does not tell.
const LOOKUP: Duration = Duration::from_secs(2);

/// Makes reports; remembers those before.
pub(crate) struct Netcheck {
    check: engine::netcheck::Netcheck,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    dialer: fn() -> Result<Rc<dyn Dial>, String>,
    home: RegionId,
    start: Instant,
}

impl Netcheck {
    /// Opens a socket for each family; with `ip` only for its own. The second value says why there is none at all.
    pub(crate) fn new(
        ip: Option<IpAddr>,
        port: u16,
        dialer: fn() -> Result<Rc<dyn Dial>, String>,
    ) -> (Self, Option<String>) {
        let mut problem = None;
        let (mut v4, mut v6) = (None, None);
        for family in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let place = match ip {
                None => family,
                Some(ip) if ip.is_ipv4() == family.is_ipv4() => ip,
                Some(_) => continue,
            };
            match bind(SocketAddr::new(place, port)) {
                Ok(socket) if family.is_ipv4() => v4 = Some(socket),
                Ok(socket) => v6 = Some(socket),
                Err(error) => {
                    problem = problem.or_else(|| Some(format!("cannot bind {place} port {port}: {error}")))
                }
            }
        }
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        let problem = problem.filter(|_| v4.is_none() && v6.is_none());
        let check = engine::netcheck::Netcheck::new(seed);
        (Self { check, v4, v6, dialer, home: RegionId::NONE, start: Instant::now() }, problem)
    }

    /// A report of this moment, which is `now`. With `patient` no region is given up early. `note` is told every step.
    pub(crate) async fn report(
        &mut self,
        map: &DerpMap,
        now: Time,
        patient: bool,
        note: &mut dyn FnMut(&str),
    ) -> Report {
        let map = map::plain(map);
        let names = look_up(&map).await;
        if self.check.last().is_some_and(|last| !last.udp) {
            // People want to see how far the relays are.
            self.check.network_changed();
        }
        let request = Request {
            map: &map,
            names: &names,
            v4: self.v4.is_some(),
            v6: self.v6.is_some(),
            udp: true,
            home: self.home,
            enough: if patient { usize::MAX } else { ENOUGH },
            hurry: false,
        };
        self.check.begin(&request, self.now());
        let (mut in4, mut in6) = ([0; 1500], [0; 1500]);
        loop {
            while let Some(step) = self.check.poll() {
                match step {
                    Step::Send { to, request } => self.send(to, &request, note).await,
                    Step::Heard { ours, took, region } => {
                        note(&format!("region {region} sees us as {ours}, after {took:?}"));
                    }
                    Step::AskHttps(regions) => self.ask_https(&map, &regions, note).await,
                    Step::Done(report) => {
                        self.home = report.preferred_derp;
                        return Report::new(&report, now, os_has_ipv6());
                    }
                    Step::Begin => {}
                }
            }
            let due = self.check.poll_timeout().map_or(self.start, |at| self.start + at.since(Mono::ZERO));
            let (len, datagram) = tokio::select! {
                Some(len) = receive(self.v4.as_ref(), &mut in4) => (len, &in4),
                Some(len) = receive(self.v6.as_ref(), &mut in6) => (len, &in6),
                () = sleep_until(due) => {
                    self.check.handle_timeout(self.now(), false);
                    continue;
                }
            };
            // What answers no request of ours is of no interest.
            let _ = self.check.handle_stun(datagram.get(..len).unwrap_or_default(), self.now());
        }
    }

    fn now(&self) -> Mono {
        Mono::ZERO + self.start.elapsed()
    }

    async fn send(&mut self, to: SocketAddr, request: &[u8], note: &mut dyn FnMut(&str)) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let result = match socket {
            Some(socket) => socket.send_to(request, to).await,
            None => Err(std::io::ErrorKind::Unsupported.into()),
        };
        match &result {
            Ok(_) => note(&format!("sent to {to}")),
            Err(error) => note(&format!("cannot send to {to}: {error}")),
        }
        self.check.sent(to, result.is_ok(), self.now());
    }

    async fn ask_https(&mut self, map: &netmap::DerpMap, regions: &[RegionId], note: &mut dyn FnMut(&str)) {
        note("nothing came back over UDP; trying HTTPS");
        let mut answers = Vec::new();
        match (self.dialer)() {
            Ok(dialer) => {
                let mut told = |region, measured| answers.push((region, measured));
                let asking = derp::measure(&dialer, map, regions, false, &mut told);
                tokio::task::LocalSet::new().run_until(asking).await;
            }
            Err(error) => {
                note(&error);
                answers.extend(regions.iter().map(|region| (*region, Err(String::new()))));
            }
        }
        for (region, measured) in answers {
            if let Err(error) = &measured
                && !error.is_empty()
            {
                note(error);
            }
            self.check.https_answer(region, measured.ok(), self.now());
        }
    }
}

/// Looks up the names of servers whose addresses `map` does not tell.
async fn look_up(map: &netmap::DerpMap) -> Names {
    let names: BTreeSet<Box<str>> = unknown_names(map).map(Box::from).collect();
    let mut running = JoinSet::new();
    for name in names {
        running.spawn(async move {
            let found = timeout(LOOKUP, tokio::net::lookup_host((&*name, 0))).await;
            let ips: Vec<IpAddr> = found.ok()?.ok()?.map(|addr| addr.ip()).collect();
            Some((name, ips))
        });
    }
    let mut found = Names::new();
    while let Some(result) = running.join_next().await {
        found.extend(result.ok().flatten());
    }
    found
}

/// The length of the next datagram; never, without a socket; `None` when something went wrong that has no bearing on the
/// others.
async fn receive(socket: Option<&UdpSocket>, room: &mut [u8]) -> Option<usize> {
    match socket {
        Some(socket) => socket.recv(room).await.ok(),
        None => std::future::pending().await,
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

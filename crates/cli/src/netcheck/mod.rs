//! What the network lets through and how far the relays are, found out by this process itself, as Go's tool does.
//!
//! Owns: sockets, name lookup and the moments for [`engine::netcheck`], which decides; the report in text and JSON.
//! Leaves out: port mappers, ICMP, captive portals (never tried; the report says so), and the daemon's own choice of its
//! home relay.

mod map;
mod report;

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use dial::Dial;
use engine::netcheck::{ENOUGH, Names, Request, Step, unknown_names};
use engine::time::Mono;
use localapi::types::{DerpMap, Time};
use netmap::RegionId;
use rand_core::{OsRng, RngCore as _};
use rustix::io::Errno;
use rustix::net::{SendFlags, sendto};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};

use crate::wait::{Cut, Limit, Waiter};
pub(crate) use report::Report;

type LocalFuture<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

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
    ///
    /// # Errors
    /// When `limit` ended it.
    pub(crate) fn report(
        &mut self,
        (waiter, limit): (&Waiter, &mut Limit),
        map: &DerpMap,
        now: Time,
        patient: bool,
        note: &mut dyn FnMut(&str),
    ) -> Result<Report, Cut> {
        let map = map::plain(map);
        let names = waiter.within(limit, look_up(&map))?;
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
        loop {
            while let Some(step) = self.check.poll() {
                match step {
                    Step::Send { to, request } => self.send(to, &request, note),
                    Step::Heard { ours, took, region } => {
                        note(&format!("region {region} sees us as {ours}, after {took:?}"));
                    }
                    Step::AskHttps(regions) => {
                        note("nothing came back over UDP; trying HTTPS");
                        for (region, measured) in self.ask_https((waiter, limit), &map, &regions)? {
                            if let Err(error) = &measured
                                && !error.is_empty()
                            {
                                note(error);
                            }
                            self.check.https_answer(region, measured.ok(), self.now());
                        }
                    }
                    Step::Done(report) => {
                        self.home = report.preferred_derp;
                        return Ok(Report::new(&report, now, os_has_ipv6()));
                    }
                    Step::Begin => {}
                }
            }
            match waiter.within(limit, self.receive())? {
                // What answers no request of ours is of no interest.
                Some(datagram) => drop(self.check.handle_stun(&datagram, self.now())),
                None => self.check.handle_timeout(self.now(), false),
            }
        }
    }

    fn now(&self) -> Mono {
        Mono::ZERO + self.start.elapsed()
    }

    /// The next datagram; `None` when something else is due.
    async fn receive(&self) -> Option<Vec<u8>> {
        let due = self.check.poll_timeout().map_or(self.start, |at| self.start + at.since(Mono::ZERO));
        let (mut in4, mut in6) = (vec![0; 1500], vec![0; 1500]);
        tokio::select! {
            Some(len) = receive(self.v4.as_ref(), &mut in4) => {
                in4.truncate(len);
                Some(in4)
            }
            Some(len) = receive(self.v6.as_ref(), &mut in6) => {
                in6.truncate(len);
                Some(in6)
            }
            () = sleep_until(due) => None,
        }
    }

    fn send(&mut self, to: SocketAddr, request: &[u8], note: &mut dyn FnMut(&str)) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let result = match socket {
            Some(socket) => sendto(socket, request, SendFlags::empty(), &to),
            None => Err(Errno::AFNOSUPPORT),
        };
        match result {
            Ok(_) => note(&format!("sent to {to}")),
            Err(error) => note(&format!("cannot send to {to}: {error}")),
        }
        self.check.sent(to, result.is_ok(), self.now());
    }

    /// How far `regions` are by HTTPS, or why nobody knows.
    fn ask_https(
        &self,
        (waiter, limit): (&Waiter, &mut Limit),
        map: &netmap::DerpMap,
        regions: &[RegionId],
    ) -> Result<Vec<(RegionId, derp::Measured)>, Cut> {
        let mut answers = Vec::new();
        match (self.dialer)() {
            Ok(dialer) => {
                let mut told = |region, measured| answers.push((region, measured));
                let asking: LocalFuture<'_> =
                    Box::pin(derp::measure(&dialer, map, regions, false, &mut told));
                waiter.within(limit, tokio::task::LocalSet::new().run_until(asking))?;
            }
            Err(error) => {
                answers.extend(regions.iter().map(|region| (*region, Err(String::new()))));
                if let Some((_, Err(first))) = answers.first_mut() {
                    *first = error;
                }
            }
        }
        Ok(answers)
    }
}

/// Looks up the names of servers whose addresses `map` does not tell, all at once.
async fn look_up(map: &netmap::DerpMap) -> Names {
    let mut names: Vec<&str> = unknown_names(map).collect();
    names.sort_unstable();
    names.dedup();
    // One each: they answer one question after the other.
    let system: Vec<_> = names.iter().map(|_| dial::Lookup::system()).collect();
    let looking = names.into_iter().zip(&system);
    let mut running: Vec<_> =
        looking.map(|(name, system)| (name, Box::pin(timeout(LOOKUP, system.resolve(name))))).collect();
    let mut found = Names::new();
    poll_fn(|cx| {
        running.retain_mut(|(name, looking)| {
            let Poll::Ready(answer) = looking.as_mut().poll(cx) else { return true };
            if let Ok(Ok(addrs)) = answer {
                found.insert(Box::from(*name), addrs);
            }
            false
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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

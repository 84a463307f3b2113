//! The life of a mapping: ask, renew at half time, give back (protocol reference §5.4).
//!
//! A router is probed when the network or the wanted port changes, and again when the caller looks at the network anew
//! ([`Want::looks`]) and there is no mapping; by itself only twice more, and with more time for an
//! answer, when nothing came of the first: a router that is busy, or a network that is just coming up, answers late, and UPnP
//! allows two seconds for it. A mapping that is looked at again after ten minutes is
//! renewed at once: a router that was restarted in between has forgotten it. So is one while the internet sees us at another
//! address than before ([`Want::seen`]): the router's own is asked for with each renewal.

use crate::gateway::default_gateway;
use crate::igd;
use crate::mapping::{By, Mapping, exchange, made, map_by_pcp, map_by_pmp};
use crate::probe::{Found, Probe, probe};
use crate::{Error, LEASE, Protocol, pcp, pmp};
use dial::Dial;
use rand_core::{OsRng, RngCore as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A mapping is taken to exist this long after the router last said so.
const TRUST: Duration = Duration::from_secs(10 * 60);
/// How long the first probes wait for an answer, and how long after the beginning of one the next follows if there is no
/// mapping. All later ones are like the first.
const PROBES: [(Duration, Option<Duration>); 3] = [
    (Duration::from_millis(250), Some(Duration::from_millis(750))),
    (Duration::from_millis(750), Some(Duration::from_millis(2000))),
    (Duration::from_millis(2100), None),
];
/// Least time between two probes, whoever looks.
const PROBE_PAUSE: Duration = Duration::from_secs(5);
/// Least time to the next try of a renewal that failed.
const RETRY: Duration = Duration::from_secs(30);

/// Protocols that are not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Disabled {
    /// NAT-PMP.
    pub pmp: bool,
    /// PCP.
    pub pcp: bool,
    /// UPnP-IGD.
    pub upnp: bool,
}

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// The UDP port to be forwarded to; 0 = none, and what there is is given back.
    pub port: u16,
    /// Counts changes of the network: each makes everything known void.
    pub network: u32,
    /// Counts looks at the network: each is a reason to try again.
    pub looks: u32,
    /// Where the internet saw us last; `None` = not known. Another one than before is a reason to renew what there is.
    pub seen: Option<Ipv4Addr>,
    /// What must not be used.
    pub disabled: Disabled,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// What the router speaks.
    pub found: Found,
    /// Where the internet reaches our port, and by whose favour.
    pub external: Option<(SocketAddrV4, Protocol)>,
}

/// Keeps a mapping for as long as `wants` has a sender, then gives it back. `told` hears of every change.
pub async fn run(dialer: &dyn Dial, mut wants: watch::Receiver<Want>, told: &mut dyn FnMut(State)) {
    let mut mapper =
        Mapper { dialer, state: State::default(), told, mapping: None, wanted_port: 0, failed: None };
    let mut last = Want::default();
    let mut probed: Option<Instant> = None;
    let mut probes = 0_usize;
    loop {
        let want = *wants.borrow_and_update();
        if want.port != last.port || want.network != last.network || want.disabled != last.disabled {
            mapper.release().await;
            (probed, probes) = (None, 0);
        }
        let now = Instant::now();
        if let Some(mapping) = &mut mapper.mapping
            && last.seen.is_some_and(|before| want.seen.is_some_and(|seen| seen != before))
        {
            mapping.renew = now;
        }
        last = Want { seen: want.seen.or(last.seen), ..want };
        let fresh = mapper.mapping.as_ref().is_some_and(|mapping| now < mapping.made + TRUST);
        let early = probed.is_some_and(|at| now < at + PROBE_PAUSE);
        let again = next_probe(probed, probes).is_some_and(|at| now >= at);
        if want.port != 0 && (mapper.is_due(now) || !(fresh || (early && !again))) {
            let (window, _) = PROBES.get(probes).unwrap_or(&PROBES[0]);
            probed = Some(now);
            probes = probes.saturating_add(1);
            mapper.map(want, *window).await;
        }
        let again = next_probe(probed, probes).filter(|_| want.port != 0);
        let due = mapper.mapping.as_ref().map_or(again, |mapping| Some(mapping.renew));
        let changed = tokio::select! {
            changed = wants.changed() => changed,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Ok(()),
        };
        if changed.is_err() {
            return mapper.release().await;
        }
    }
}

/// When another probe follows by itself after so many, if there is no mapping by then.
fn next_probe(probed: Option<Instant>, probes: usize) -> Option<Instant> {
    let (_, pause) = PROBES.get(probes.checked_sub(1)?)?;
    Some(probed? + (*pause)?)
}

struct Mapper<'a> {
    dialer: &'a dyn Dial,
    state: State,
    told: &'a mut dyn FnMut(State),
    mapping: Option<Mapping>,
    /// The external port that was had last, as peers know it, or was asked for in vain.
    wanted_port: u16,
    /// Why there is no mapping, as it was told last: each look fails anew.
    failed: Option<Error>,
}

impl Mapper<'_> {
    fn is_due(&self, now: Instant) -> bool {
        self.mapping.as_ref().is_some_and(|mapping| mapping.renew <= now)
    }

    fn tell(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            (self.told)(state);
        }
    }

    /// Renews what there is, or makes anew.
    async fn map(&mut self, want: Want, window: Duration) {
        if let Some(mapping) = &self.mapping {
            match self.again(mapping, want.port).await {
                Ok(renewed) => return self.keep(renewed),
                Err(error) => log::debug!("port mapping not renewed: {error}"),
            }
        }
        let made = self.anew(want, window).await;
        self.settle(made);
    }

    /// What came of asking anew.
    fn settle(&mut self, made: Result<Option<Mapping>, Error>) {
        match made {
            Ok(Some(mapping)) => return self.keep(mapping),
            Ok(None) => {}
            Err(error) => {
                if self.failed.as_ref() != Some(&error) {
                    log::info!("no port mapping: {error}");
                    self.failed = Some(error);
                }
            }
        }
        self.lose(Instant::now());
    }

    fn keep(&mut self, mapping: Mapping) {
        let external = Some((mapping.external, mapping.by.protocol()));
        if self.state.external != external {
            log::info!("{} forwards {} to us", mapping.by.protocol().name(), mapping.external);
        }
        self.wanted_port = mapping.external.port();
        self.failed = None;
        self.mapping = Some(mapping);
        self.tell(State { external, ..self.state });
    }

    /// Nothing came of it: what there is holds as long as the router has said.
    fn lose(&mut self, now: Instant) {
        match &mut self.mapping {
            Some(mapping) if now < mapping.made + mapping.lease => {
                let left = (mapping.made + mapping.lease).duration_since(now);
                mapping.renew = now + (left / 2).max(RETRY);
            }
            _ => {
                self.mapping = None;
                self.tell(State { external: None, ..self.state });
            }
        }
    }

    async fn again(&self, mapping: &Mapping, port: u16) -> Result<Mapping, Error> {
        let Mapping { gateway, external, by, .. } = mapping;
        match by {
            By::Pmp => map_by_pmp(*gateway, port, external.port(), None).await,
            By::Pcp(nonce) => map_by_pcp(*gateway, port, *external, *nonce).await,
            By::Upnp(control) => {
                let mapped = igd::renew(self.dialer, *gateway, control, port, external.port()).await?;
                Ok(made(*gateway, port, mapped.external, By::Upnp(mapped.control), LEASE))
            }
        }
    }

    /// Looks who is there and asks: NAT-PMP first, PCP where only that is spoken, UPnP last.
    async fn anew(&mut self, want: Want, window: Duration) -> Result<Option<Mapping>, Error> {
        let Some(gateway) = default_gateway() else {
            self.mapping = None;
            self.tell(State::default());
            return Ok(None);
        };
        let Probe { found, address, places } = probe(gateway, want.disabled, window).await?;
        self.tell(State { found, ..self.state });
        let (port, wanted) = (want.port, self.wanted_port);
        let mut failed = None;
        if found.pmp == Some(true) {
            match map_by_pmp(gateway, port, wanted, address).await {
                Ok(mapping) => return Ok(Some(mapping)),
                Err(error) => failed = Some(error),
            }
        }
        if found.pcp == Some(true) {
            let mut nonce = pcp::Nonce::default();
            OsRng.fill_bytes(&mut nonce);
            let suggested = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, wanted);
            match map_by_pcp(gateway, port, suggested, nonce).await {
                Ok(mapping) => return Ok(Some(mapping)),
                Err(error) => failed = Some(error),
            }
        }
        if found.upnp == Some(true) {
            let wanted = self.chosen_port();
            let mapped = igd::map(self.dialer, gateway, &places, port, wanted).await?;
            return Ok(Some(made(gateway, port, mapped.external, By::Upnp(mapped.control), LEASE)));
        }
        failed.map_or(Ok(None), Err)
    }

    /// The port to ask a router for that does not choose. The same each time: one that answers too late has forwarded it
    /// all the same, and the next try is to find that instead of having a second one forwarded.
    fn chosen_port(&mut self) -> u16 {
        if self.wanted_port == 0 {
            self.wanted_port = igd::random_port();
        }
        self.wanted_port
    }

    async fn release(&mut self) {
        self.failed = None;
        // First: after a change of the network it is the former one's, and nobody is to be told of it any more.
        self.tell(State::default());
        if let Some(Mapping { gateway, internal, external, by, .. }) = self.mapping.take() {
            let given_back = match &by {
                By::Pmp => {
                    let request = pmp::map_request(internal, 0, 0);
                    exchange(gateway, &request, &|datagram| pmp::answer(datagram).map(drop)).await
                }
                By::Pcp(nonce) => {
                    let request = pcp::map_request(gateway.own, internal, external, 0, nonce);
                    exchange(gateway, &request, &|datagram| pcp::answer(datagram).map(drop)).await
                }
                By::Upnp(control) => igd::delete(self.dialer, gateway, control, external.port()).await,
            };
            if let Err(error) = given_back {
                log::debug!("port mapping not given back: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Gateway;
    use dial::{BoxStream, LocalFuture, Target};
    use std::cell::RefCell;
    use std::io;

    /// Keeps what this thread logs.
    struct Lines;

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    impl log::Log for Lines {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.level() <= log::Level::Info
        }
        fn log(&self, record: &log::Record<'_>) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
        fn flush(&self) {}
    }

    /// NAT-PMP needs no connections.
    struct Nobody;

    impl Dial for Nobody {
        fn dial<'a>(&'a self, _: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
            Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
        }
    }

    #[test]
    fn a_router_that_answers_too_late_is_asked_for_the_same_port_again() {
        let (dialer, told) = (&Nobody, &mut |_| {});
        let mut mapper =
            Mapper { dialer, state: State::default(), told, mapping: None, wanted_port: 0, failed: None };
        let first = mapper.chosen_port();
        mapper.settle(Err(Error::Silent));
        assert!(first >= 1024 && mapper.chosen_port() == first);
    }

    #[tokio::test]
    async fn a_refusal_is_told_once() {
        assert!(log::set_logger(&Lines).is_ok());
        log::set_max_level(log::LevelFilter::Info);
        let (dialer, told) = (&Nobody, &mut |_| {});
        let mut mapper =
            Mapper { dialer, state: State::default(), told, mapping: None, wanted_port: 0, failed: None };
        let refused = |why: &str| Err(Error::Refused(why.to_owned()));
        let five_times = |mapper: &mut Mapper<'_>, why: &str| {
            for _ in 0..5 {
                mapper.settle(refused(why));
                // Nobody was there for a moment: the next refusal is the same still.
                mapper.settle(Ok(None));
            }
            LINES.take()
        };
        assert_eq!(five_times(&mut mapper, "a"), ["no port mapping: refused: a"]);
        assert_eq!(five_times(&mut mapper, "b"), ["no port mapping: refused: b"]);
        // A mapping, or another port or network, makes it news again.
        let local = Ipv4Addr::LOCALHOST;
        let gateway = Gateway { router: local, own: local };
        let external = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 4097);
        mapper.settle(Ok(Some(made(gateway, 41641, external, By::Pmp, LEASE))));
        assert_eq!(LINES.take(), ["NAT-PMP forwards 198.51.100.1:4097 to us"]);
        assert_eq!(five_times(&mut mapper, "b"), ["no port mapping: refused: b"]);
        mapper.mapping = None;
        mapper.release().await;
        assert_eq!(five_times(&mut mapper, "b"), ["no port mapping: refused: b"]);
    }
}

//! The TUN interface: opening it as `--tun` says, keeping it as the backend wants it, packets in and out.
//!
//! Leaves out: how the kernel is told (`router`), what happens to packets (`engine`).

use super::USERSPACE;
use super::reader::Reader;
use super::writer::Writer;
use crate::backend::{RouterConfig, TAILNET};
use crate::parts::iptables;
use engine::lines::batch::Run;
use ipnet::IpNet;
use router::{Config, Error, Layout, Router, Tun};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("osrouter");

/// Upstream's MTU: it fits every path that carries IPv6 at all.
const MTU: u32 = 1280;

/// Bytes of a large packet at most: what becomes of it, with 32 bytes around each of its packets and the same headers in
/// front of all, fits into one datagram.
const LARGEST: u32 = 60_000;

/// Says where routes are put: `main`, `policy` or `auto`.
const LAYOUT: &str = "TS_DEBUG_ROUTE_LAYOUT";

/// What an exit node is good for where routes have to be in the main table.
const NO_EXIT: &str = "the chosen exit node is not used: this kernel follows no policy rules, so that packets of the \
                       tunnel itself would be led into it; traffic to the internet goes out as ever";

/// Below this IPv4 itself does not work everywhere, above it no batch has room.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=9000;

/// The interface as the run loop has it.
pub struct Interface {
    tun: Arc<Tun>,
    router: Router,
    rules: iptables::Rules,
    mtu: u32,
    /// What was applied last, without a problem.
    applied: Option<RouterConfig>,
}

/// The interface as a packet thread has it.
#[derive(Clone)]
pub struct Packets {
    tun: Arc<Tun>,
    mtu: usize,
    reader: Reader,
    writer: Writer,
}

/// Where addresses of ours are.
fn ranges() -> Vec<IpNet> {
    TAILNET.iter().filter_map(|range| range.parse().ok()).collect()
}

/// Tries the names in order; `None` if userspace networking's turn comes first.
///
/// # Errors
/// Why the last one did not work, and what to do.
pub fn open(names: &[String]) -> Result<Option<(Interface, Packets)>, String> {
    let mut failed = None;
    for name in names.iter().filter(|name| !name.is_empty()) {
        if name == USERSPACE {
            if let Some(error) = failed {
                log::warn!("{error}; going on with --tun={USERSPACE}");
            }
            return Ok(None);
        }
        match open_one(name) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.map_or_else(|| "--tun names no interface".to_owned(), |error| error.to_string());
    Err(format!("{error}; or start with --tun={USERSPACE}"))
}

fn open_one(name: &str) -> Result<(Interface, Packets), Error> {
    let mtu = mtu(std::env::var("TS_DEBUG_MTU").ok().as_deref());
    let tun = Arc::new(Tun::open(name)?);
    let mut router = Router::open(tun.name(), &ranges())?;
    if !router.has_ipv6() {
        log::info!("this machine has no IPv6: {} gets IPv4 only", tun.name());
    }
    let (reader, writer) = (Reader::new(&tun), Writer::new(tun.takes_large()));
    if reader.cuts() {
        router.limit_large(LARGEST);
    }
    let packets = Packets { tun: tun.clone(), mtu: mtu as usize, reader, writer };
    let mut interface = Interface { tun, router, rules: iptables::Rules::default(), mtu, applied: None };
    // Away with what a killed run may have left on an interface that outlived it.
    for problem in interface.apply(&RouterConfig::default()) {
        log::warn!("{problem}");
    }
    Ok((interface, packets))
}

fn mtu(wanted: Option<&str>) -> u32 {
    let Some(wanted) = wanted.filter(|text| !text.is_empty()) else { return MTU };
    let number = wanted.parse().ok().filter(|mtu| MTU_RANGE.contains(mtu));
    number.unwrap_or_else(|| {
        let (least, most) = (MTU_RANGE.start(), MTU_RANGE.end());
        log::warn!("TS_DEBUG_MTU={wanted:?} is no number from {least} to {most}; using {MTU}");
        MTU
    })
}

/// The main table, which every kernel follows, unless an exit node needs more, or somebody says so.
fn layout(wanted: Option<&str>, config: &RouterConfig) -> Layout {
    match wanted {
        Some("auto") => Layout::Auto,
        Some("policy") => Layout::Policy,
        Some("main") => Layout::Main,
        _ if config.leads_out() => Layout::Auto,
        _ => Layout::Main,
    }
}

/// Removes what former runs have left on the interfaces named.
///
/// # Errors
/// What could not be removed.
pub fn cleanup(names: &[String]) -> Result<(), String> {
    for name in names.iter().filter(|name| !name.is_empty() && *name != USERSPACE) {
        router::cleanup(name, &ranges()).map_err(|error| format!("clean up {name}: {error}"))?;
    }
    iptables::cleanup().map_err(|error| format!("clean up the packet filter: {error}"))
}

impl Interface {
    /// As the system calls it.
    pub fn name(&self) -> &str {
        self.tun.name()
    }

    /// Whether it can have IPv6.
    pub const fn has_ipv6(&self) -> bool {
        self.router.has_ipv6()
    }

    /// Brings addresses and routes to `config`; what does not work is tried again next time, and returned.
    pub fn apply(&mut self, config: &RouterConfig) -> Vec<String> {
        if self.applied.as_ref() == Some(config) {
            return Vec::new();
        }
        let mut wanted = Config {
            mtu: self.mtu,
            up: true,
            addresses: config.addresses.clone(),
            routes: config.routes.clone(),
            shut: config.shut.clone(),
            around: config.around.clone(),
            layout: layout(std::env::var(LAYOUT).ok().as_deref(), config),
        };
        let mut texts = Vec::new();
        let mut problems = Vec::new();
        if wanted.layout != Layout::Main {
            problems = self.router.apply(&wanted);
        }
        let loops = config.leads_out()
            && (wanted.layout == Layout::Main || self.router.layout() == Some(Layout::Main));
        if loops || wanted.layout == Layout::Main {
            if loops {
                // Nothing would keep the tunnel's own packets out of it.
                wanted.routes.retain(|net| net.prefix_len() != 0);
                wanted.shut.clear();
                texts.push(NO_EXIT.to_owned());
            }
            problems = self.router.apply(&wanted);
        }
        texts.extend(problems.iter().map(ToString::to_string));
        texts.extend(self.rules.apply(self.tun.name(), self.router.has_ipv6(), config));
        self.applied = texts.is_empty().then(|| config.clone());
        texts
    }

    /// Removes what was set.
    pub fn close(self) {
        let name = self.tun.name();
        let mut problems = self.rules.close();
        problems.extend(self.router.close().iter().map(ToString::to_string));
        for problem in problems {
            log::warn!("{name}: {problem}");
        }
    }
}

impl Packets {
    /// Bytes of the largest packet.
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }

    /// Reads one packet; `WouldBlock` when there is none now. An empty one is one that could not be taken.
    ///
    /// # Errors
    /// What the kernel says; other than `WouldBlock` it means that the interface is gone.
    pub fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(&self.tun, room).map_err(Into::into)
    }

    /// Whether the next packet was cut out of the same large one as the last.
    pub const fn in_large(&self) -> bool {
        self.reader.in_large()
    }

    /// Writes packets, neighbours of one TCP stream as one; how many the kernel took.
    pub fn write(&mut self, run: Run<'_>) -> usize {
        self.writer.write(&self.tun, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtu_from_the_environment() {
        assert_eq!(mtu(None), 1280);
        assert_eq!(mtu(Some("")), 1280);
        assert_eq!(mtu(Some("1400")), 1400);
        assert_eq!(mtu(Some("20")), 1280);
        assert_eq!(mtu(Some("x")), 1280);
    }

    #[test]
    fn where_routes_are_put() {
        let plain = RouterConfig::default();
        let out = RouterConfig { routes: vec!["::/0".parse().expect("net")], ..RouterConfig::default() };
        for (text, layouts) in [
            ("", [Layout::Main, Layout::Auto]),
            ("x", [Layout::Main, Layout::Auto]),
            ("main", [Layout::Main; 2]),
            ("policy", [Layout::Policy; 2]),
            ("auto", [Layout::Auto; 2]),
        ] {
            assert_eq!([&plain, &out].map(|config| layout(Some(text), config)), layouts, "{text}");
        }
        assert_eq!(layout(None, &out), Layout::Auto);
    }

    #[test]
    fn names_in_order() {
        let names = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert!(matches!(open(&names("userspace-networking,tailscale0")), Ok(None)));
        assert!(matches!(open(&names("no/name,userspace-networking")), Ok(None)));
        let error = open(&names("no/name")).err().expect("an error");
        assert!(error.contains("no/name") && error.contains("--tun=userspace-networking"), "{error}");
        assert!(open(&names("")).is_err());
    }
}

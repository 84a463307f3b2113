//! The TUN interface: opening it as `--tun` says, packets in and out.
//!
//! Leaves out: keeping it as the backend wants it (`keeping`), what happens to packets (`engine`).

pub use super::keeping::Interface;

use super::USERSPACE;
use super::owner::Owner;
use super::reader::Reader;
use super::writer::Writer;
use crate::backend::TAILNET;
use crate::parts::iptables;
use engine::lines::batch::Run;
use ipnet::IpNet;
use router::{Error, Router, Tun};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("osrouter");

/// Upstream's MTU: it fits every path that carries IPv6 at all.
const MTU: u32 = 1280;

/// Bytes of a large packet at most: what becomes of it, with 32 bytes around each of its packets and the same headers in
/// front of all, fits into one datagram.
const LARGEST: u32 = 60_000;

/// Below this IPv4 itself does not work everywhere, above it no batch has room.
const MTU_RANGE: std::ops::RangeInclusive<u32> = 576..=9000;

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
    let owner = Owner::of(std::env::var(Owner::VARIABLE).ok().as_deref())?;
    let mut failed = None;
    for name in names.iter().filter(|name| !name.is_empty()) {
        if name == USERSPACE {
            if let Some(error) = failed {
                log::warn!("{error}; going on with --tun={USERSPACE}");
            }
            return Ok(None);
        }
        match open_one(name, owner) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.map_or_else(|| "--tun names no interface".to_owned(), |error| error.to_string());
    Err(format!("{error}; or start with --tun={USERSPACE}"))
}

fn open_one(name: &str, owner: Owner) -> Result<(Interface, Packets), Error> {
    let mtu = mtu(crate::flags::variable("TS_DEBUG_MTU").as_deref());
    let tun = Arc::new(Tun::open(name)?);
    let mut router = Router::open(tun.name(), &ranges())?;
    if !router.has_ipv6() {
        log::info!("IPv6 is not there or switched off for {}: it gets IPv4 only", tun.name());
    }
    let (reader, writer) = (Reader::new(&tun), Writer::new(tun.takes_large()));
    if reader.cuts() {
        router.limit_large(LARGEST);
    }
    let packets = Packets { tun: tun.clone(), mtu: mtu as usize, reader, writer };
    Ok((Interface::new(tun, router, mtu, owner), packets))
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
    fn names_in_order() {
        let names = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
        assert!(matches!(open(&names("userspace-networking,tailscale0")), Ok(None)));
        assert!(matches!(open(&names("no/name,userspace-networking")), Ok(None)));
        let error = open(&names("no/name")).err().expect("an error");
        assert!(error.contains("no/name") && error.contains("--tun=userspace-networking"), "{error}");
        assert!(open(&names("")).is_err());
    }
}

//! Where a node's UDP socket may be reached, in as few bytes as the addresses have.
//!
//! A `SocketAddr` takes 32 bytes, and a node of a large tailnet has half a dozen of them that are hardly ever looked
//! at: here an IPv4 one takes 7 and an IPv6 one 19. Scope and flow label, which mean nothing on another machine, are
//! not kept. Copies share one list.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A list of addresses and ports, in the order given.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// For each the length of the address, the address, and the port with its high byte first.
    packed: Arc<[u8]>,
}

impl Endpoints {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let mut rest = &*self.packed;
        std::iter::from_fn(move || {
            let addr: IpAddr = match *rest.split_off_first()? {
                4 => Ipv4Addr::from(take::<4>(&mut rest)?).into(),
                _ => Ipv6Addr::from(take::<16>(&mut rest)?).into(),
            };
            Some(SocketAddr::new(addr, u16::from_be_bytes(take::<2>(&mut rest)?)))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The first one.
    pub fn first(&self) -> Option<SocketAddr> {
        self.iter().next()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

impl FromIterator<SocketAddr> for Endpoints {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(all: I) -> Self {
        let mut packed = Vec::new();
        for at in all {
            match at.ip() {
                IpAddr::V4(ip) => {
                    packed.push(4);
                    packed.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    packed.push(16);
                    packed.extend(ip.octets());
                }
            }
            packed.extend(at.port().to_be_bytes());
        }
        // The list that is empty takes no memory.
        if packed.is_empty() { Self::default() } else { Self { packed: packed.into() } }
    }
}

impl<const N: usize> From<[SocketAddr; N]> for Endpoints {
    fn from(all: [SocketAddr; N]) -> Self {
        all.into_iter().collect()
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_went_in_comes_out(all: Vec<(IpAddr, u16)>) {
            let all: Vec<SocketAddr> = all.into_iter().map(SocketAddr::from).collect();
            let packed: Endpoints = all.iter().copied().collect();
            prop_assert_eq!((packed.is_empty(), packed.first()), (all.is_empty(), all.first().copied()));
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), all);
        }
    }

    #[test]
    fn few_bytes() {
        let some: Endpoints = [([1, 2, 3, 4], 5).into(), ([0u16; 8], 6).into()].into();
        assert_eq!((some.packed.len(), format!("{some:?}").as_str()), (26, "[1.2.3.4:5, [::]:6]"));
    }
}

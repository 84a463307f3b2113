//! NAT-PMP messages (RFC 6886, protocol reference §5.2).

use std::net::Ipv4Addr;

/// Where routers listen, for PCP as well.
pub const PORT: u16 = 5351;

/// The request for the router's own address.
pub const ADDRESS_REQUEST: [u8; 2] = [0, 0];

const MAP_UDP: u8 = 1;
const ANSWER: u8 = 0x80;

/// A request to forward an external UDP port, `suggested` if that can be had (0 = any), to our `internal` one for so
/// many seconds; 0 gives it back.
pub fn map_request(internal: u16, suggested: u16, lifetime: u32) -> [u8; 12] {
    let ([a, b], [c, d], [e, f, g, h]) =
        (internal.to_be_bytes(), suggested.to_be_bytes(), lifetime.to_be_bytes());
    [0, MAP_UDP, 0, 0, a, b, c, d, e, f, g, h]
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The router's address.
    Address {
        /// As the internet sees it.
        external: Ipv4Addr,
    },
    /// A forwarded port.
    Mapped {
        /// Our own port.
        internal: u16,
        /// The router's port.
        external: u16,
        /// Seconds.
        lifetime: u32,
    },
    /// It speaks the protocol but refuses.
    Refused(u16),
}

/// Reads an answer; `None` if it is none.
pub fn answer(datagram: &[u8]) -> Option<Answer> {
    let [0, op, high, low, _, _, _, _, rest @ ..] = datagram else { return None };
    let result = u16::from_be_bytes([*high, *low]);
    match (*op, result, rest) {
        (0x80 | 0x81, 1.., _) => Some(Answer::Refused(result)),
        (ANSWER, 0, [a, b, c, d, ..]) => Some(Answer::Address { external: Ipv4Addr::new(*a, *b, *c, *d) }),
        (0x81, 0, [a, b, c, d, e, f, g, h, ..]) => Some(Answer::Mapped {
            internal: u16::from_be_bytes([*a, *b]),
            external: u16::from_be_bytes([*c, *d]),
            lifetime: u32::from_be_bytes([*e, *f, *g, *h]),
        }),
        _ => None,
    }
}

/// What a refusal means.
pub const fn reason(result: u16) -> &'static str {
    match result {
        1 => "the router does not speak this version",
        2 => "port mapping is switched off in the router",
        3 => "the router has no address itself",
        4 => "the router has no room for more",
        5 => "the router does not know the request",
        _ => "the router gives no known reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6886 §3.2 and §3.3.
    #[test]
    fn golden() {
        assert_eq!(map_request(41641, 0, 7200), [0, 1, 0, 0, 0xa2, 0xa9, 0, 0, 0, 0, 0x1c, 0x20]);
        let address = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7];
        assert_eq!(answer(&address), Some(Answer::Address { external: [203, 0, 113, 7].into() }));
        let mapped = [0, 129, 0, 0, 0, 0, 0, 9, 0xa2, 0xa9, 0x10, 0x01, 0, 0, 0x0e, 0x10];
        let want = Answer::Mapped { internal: 41641, external: 4097, lifetime: 3600 };
        assert_eq!(answer(&mapped), Some(want));
        assert_eq!(answer(&[0, 128, 0, 2, 0, 0, 0, 9]), Some(Answer::Refused(2)));
        for cut in 0..12 {
            assert_eq!(answer(&address[..cut]), None);
        }
        assert_eq!(answer(&[2, 128, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]), None, "another version");
        assert_eq!(answer(&[0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]), None, "a request");
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>) {
            let _ = answer(&bytes);
        }
    }
}

//! PCP messages (RFC 6887, protocol reference §5.3).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

const VERSION: u8 = 2;
const ANSWER: u8 = 0x80;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const UDP: u8 = 17;

/// Names a mapping for as long as it lives: only who knows it can renew it or give it back.
pub type Nonce = [u8; 12];

/// Asks whether anybody is there who speaks PCP. `own` is our address.
pub fn announce(own: Ipv4Addr) -> [u8; 24] {
    header(ANNOUNCE, 0, own)
}

/// A request to forward an external UDP port, that of `suggested` if it can be had (0 = any), to our `internal` one for
/// so many seconds; 0 gives it back.
pub fn map_request(
    own: Ipv4Addr,
    internal: u16,
    suggested: SocketAddrV4,
    lifetime: u32,
    nonce: &Nonce,
) -> [u8; 60] {
    let mut out = [0; 60];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        let start = at;
        at += bytes.len();
        if let Some(place) = out.get_mut(start..at) {
            place.copy_from_slice(bytes);
        }
    };
    put(&header(MAP, lifetime, own));
    put(nonce);
    put(&[UDP, 0, 0, 0]);
    put(&internal.to_be_bytes());
    put(&suggested.port().to_be_bytes());
    put(&suggested.ip().to_ipv6_mapped().octets());
    out
}

fn header(op: u8, lifetime: u32, own: Ipv4Addr) -> [u8; 24] {
    let mut out = [0; 24];
    let (head, rest) = out.split_at_mut(8);
    let [a, b, c, d] = lifetime.to_be_bytes();
    head.copy_from_slice(&[VERSION, op, 0, 0, a, b, c, d]);
    rest.copy_from_slice(&own.to_ipv6_mapped().octets());
    out
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Somebody is there.
    Announced,
    /// A forwarded port.
    Mapped {
        /// Of the request.
        nonce: Nonce,
        /// Our own port.
        internal: u16,
        /// The router's address and port.
        external: SocketAddrV4,
        /// Seconds.
        lifetime: u32,
    },
    /// It speaks the protocol but refuses.
    Refused(u8),
}

/// Reads an answer; `None` if it is none, or one about anything but UDP over IPv4.
pub fn answer(datagram: &[u8]) -> Option<Answer> {
    let (head, body) = datagram.split_first_chunk::<24>()?;
    let [VERSION, op, _, result, a, b, c, d, ..] = *head else { return None };
    match (op, result) {
        (0x80 | 0x81, 1..) => Some(Answer::Refused(result)),
        (ANSWER, 0) => Some(Answer::Announced),
        (0x81, 0) => {
            let (nonce, rest) = body.split_first_chunk::<12>()?;
            let ([UDP, _, _, _, e, f, g, h], rest) = rest.split_first_chunk::<8>()? else { return None };
            let ip = Ipv6Addr::from(*rest.first_chunk::<16>()?).to_ipv4_mapped()?;
            Some(Answer::Mapped {
                nonce: *nonce,
                internal: u16::from_be_bytes([*e, *f]),
                external: SocketAddrV4::new(ip, u16::from_be_bytes([*g, *h])),
                lifetime: u32::from_be_bytes([a, b, c, d]),
            })
        }
        _ => None,
    }
}

/// What a refusal means.
pub const fn reason(result: u8) -> &'static str {
    match result {
        1 => "the router does not speak this version",
        2 => "port mapping is switched off in the router",
        3 => "the router finds the request malformed",
        4 | 5 | 9 => "the router does not know the request",
        7 | 10 => "the router has no address or room for more",
        8 => "the router has no room for more",
        11 => "the router cannot give this port",
        12 => "there is another NAT between us and the router",
        _ => "the router gives no known reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        let own = Ipv4Addr::new(192, 168, 1, 9);
        let mut want = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 9];
        assert_eq!(announce(own).to_vec(), want);
        want[1] = 1;
        want[4..8].copy_from_slice(&[0, 0, 0x1c, 0x20]);
        want.extend_from_slice(&[7; 12]);
        want.extend_from_slice(&[17, 0, 0, 0, 0xa2, 0xa9, 0, 0]);
        want.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        assert_eq!(map_request(own, 41641, any, 7200, &[7; 12]).to_vec(), want);

        let mut reply = want;
        reply[1] = 0x81;
        reply[42..44].copy_from_slice(&4097_u16.to_be_bytes());
        reply[56..60].copy_from_slice(&[203, 0, 113, 7]);
        let external = SocketAddrV4::new([203, 0, 113, 7].into(), 4097);
        let mapped = Answer::Mapped { nonce: [7; 12], internal: 41641, external, lifetime: 7200 };
        assert_eq!(answer(&reply), Some(mapped));
        for cut in 0..reply.len() {
            assert_eq!(answer(&reply[..cut]), None, "{cut}");
        }
        reply[3] = 2;
        assert_eq!(answer(&reply), Some(Answer::Refused(2)));
        (reply[3], reply[36]) = (0, 6);
        assert_eq!(answer(&reply), None, "TCP");
        reply[1] = 1;
        assert_eq!(answer(&reply), None, "a request");
    }

    proptest! {
        #[test]
        fn anything(mut bytes: Vec<u8>, like: bool) {
            if like && bytes.len() > 3 {
                bytes[..2].copy_from_slice(&[2, 0x81]);
                bytes[3] = 0;
            }
            let _ = answer(&bytes);
        }
    }
}

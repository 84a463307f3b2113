//! STUN binding requests and their answers, as DERP servers take and give them (protocol reference §4.1).
//!
//! Owns: the bytes. Leaves out: which server is asked when, and whose answer it is ([`super::Netcheck`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ties an answer to its request; random, so that nobody off the path can make one up.
pub type Transaction = [u8; 12];

/// Length of a request.
pub const REQUEST: usize = 40;

/// The longest answer that is looked at. Servers write 32 to 60 bytes; some add their name.
const LONGEST: usize = 1280;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_RESPONSE: [u8; 2] = [1, 1];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// What some old servers write instead.
const XOR_MAPPED_ADDRESS_ALT: u16 = 0x8020;
const SOFTWARE: [u8; 4] = [0x80, 0x22, 0, 8];
const FINGERPRINT: u16 = 0x8028;
/// Servers answer nobody who does not call himself this.
const NAME: &[u8; 8] = b"tailnode";
/// "STUN": what the checksum is mixed with.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// A request.
pub fn request(transaction: &Transaction) -> [u8; REQUEST] {
    let mut out = [0; REQUEST];
    let mut end = 0;
    let mut put = |bytes: &[u8]| {
        let start = end;
        end += bytes.len();
        if let Some(place) = out.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        crc32(out.get(..end).unwrap_or_default())
    };
    put(&BINDING_REQUEST);
    put(&[0, 20]);
    put(&COOKIE);
    put(transaction);
    put(&SOFTWARE);
    let sum = put(NAME) ^ FINGERPRINT_MASK;
    put(&[0x80, 0x28, 0, 4]);
    put(&sum.to_be_bytes());
    out
}

/// The transaction of an answer, and the address from which its request came; `None` if `datagram` is none, is cut
/// short, is longer than any server's or has a fingerprint that is wrong.
pub fn response(datagram: &[u8]) -> Option<(Transaction, SocketAddr)> {
    let (head, body) = datagram.split_at_checked(HEADER).filter(|_| datagram.len() <= LONGEST)?;
    let (kind, rest) = head.split_at_checked(2)?;
    let (length, rest) = rest.split_at_checked(2)?;
    let (cookie, transaction) = rest.split_at_checked(4)?;
    if kind != BINDING_RESPONSE || cookie != COOKIE {
        return None;
    }
    let transaction: Transaction = transaction.try_into().ok()?;
    let all = body.get(..usize::from(number(length)?))?;
    let mut attributes = all;
    let (mut mixed, mut plain) = (None, None);
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let (kind, length) = (number(head.get(..2)?)?, usize::from(number(head.get(2..)?)?));
        let value = rest.get(..length)?;
        match kind {
            XOR_MAPPED_ADDRESS | XOR_MAPPED_ADDRESS_ALT if mixed.is_none() => {
                let mut mask = [0; 16];
                let source = COOKIE.iter().chain(&transaction);
                mask.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
                mixed = Some(address(value, &mask)?);
            }
            MAPPED_ADDRESS => plain = address(value, &[0; 16]),
            FINGERPRINT => {
                let before = HEADER + (all.len() - attributes.len());
                let sum = crc32(datagram.get(..before)?) ^ FINGERPRINT_MASK;
                if value != sum.to_be_bytes() {
                    return None;
                }
            }
            _ => {}
        }
        // Values are padded to four bytes.
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((transaction, mixed.or(plain)?))
}

/// Family, port and address, each combined with `mask`.
fn address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let family = *value.get(1)?;
    let port = number(value.get(2..4)?)? ^ number(mask.get(..2)?)?;
    let mut bytes = [0; 16];
    let given = value.get(4..)?;
    bytes.iter_mut().zip(given).zip(mask).for_each(|((to, from), mask)| *to = from ^ mask);
    let ip = match family {
        1 if given.len() >= 4 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        2 if given.len() >= 16 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    // Servers that hear both families by one socket write IPv4 as it looks there.
    Some(SocketAddr::new(ip.to_canonical(), port))
}

fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// CRC-32 of IEEE 802.3; a table would be longer than what is ever summed.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The answer of a server to `request`, for the address `from`, in the attribute `kind` mixed with `mask`.
    fn answer(request: &[u8], kind: u16, mask: &[u8], from: SocketAddr, fingerprint: bool) -> Vec<u8> {
        let (family, ip) = match from.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let plain = [&from.port().to_be_bytes()[..], &ip].concat();
        // Port and address are masked from the same start.
        let masks = mask.iter().take(2).chain(mask);
        let mut value = vec![0, family];
        value.extend(plain.iter().zip(masks).map(|(a, b)| a ^ b));
        let length = value.len() as u16 + 12 + if fingerprint { 8 } else { 0 };
        let mut out = [&BINDING_RESPONSE[..], &length.to_be_bytes(), &request[4..20]].concat();
        // Something unknown of one byte, padded.
        out.extend_from_slice(&[0x80, 0x99, 0, 1, 7, 0, 0, 0]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(&value);
        if fingerprint {
            let sum = crc32(&out) ^ FINGERPRINT_MASK;
            out.extend_from_slice(&[0x80, 0x28, 0, 4]);
            out.extend_from_slice(&sum.to_be_bytes());
        }
        out
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
    }

    #[test]
    fn checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    /// Protocol reference §14.
    #[test]
    fn golden_request() {
        let transaction: Transaction = std::array::from_fn(|n| n as u8);
        let want = "00010014 2112a442 000102030405060708090a0b 80220008 7461696c6e6f6465 80280004 8aabad90";
        assert_eq!(request(&transaction).to_vec(), hex(want));
    }

    /// RFC 5769 §2.2 and §2.3: answers with SOFTWARE, MESSAGE-INTEGRITY and FINGERPRINT.
    #[test]
    fn golden_responses() {
        let v4 = hex(
            "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008 0001a147
             e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96",
        );
        let v6 = hex(
            "01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014 0002a147
             0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004
             c8fb0b4c",
        );
        let transaction: Transaction = v4[8..20].try_into().unwrap();
        assert_eq!(response(&v4), Some((transaction, "192.0.2.1:32853".parse().unwrap())));
        let far = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
        assert_eq!(response(&v6), Some((transaction, far.parse().unwrap())));
    }

    #[test]
    fn there_and_back() {
        let transaction = *b"twelve bytes";
        let request = request(&transaction);
        let mask = request[4..20].to_vec();
        for from in ["192.0.2.7:41641", "[2001:db8::7]:3478"] {
            let from: SocketAddr = from.parse().unwrap();
            for (kind, mask) in [(0x20, &mask[..]), (0x8020, &mask), (1, &[0; 16])] {
                for fingerprint in [false, true] {
                    let mut answer = answer(&request, kind, mask, from, fingerprint);
                    assert_eq!(response(&answer), Some((transaction, from)), "{kind:#x}");
                    for cut in 0..answer.len() {
                        assert_eq!(response(&answer[..cut]), None, "{cut}");
                    }
                    if fingerprint {
                        *answer.last_mut().unwrap() ^= 1;
                        assert_eq!(response(&answer), None, "wrong fingerprint");
                    }
                }
            }
        }
        assert_eq!(response(&request), None, "a request is no answer");
        let dual = answer(&request, 0x20, &mask, "[::ffff:192.0.2.7]:9".parse().unwrap(), false);
        assert_eq!(response(&dual), Some((transaction, "192.0.2.7:9".parse().unwrap())));
    }

    #[test]
    fn giants() {
        let request = request(b"twelve bytes");
        let mut answer = answer(&request, 0x20, &request[4..20], "192.0.2.7:1".parse().unwrap(), false);
        answer.resize(LONGEST, 0);
        assert!(response(&answer).is_some(), "what follows the message is not looked at");
        answer.push(0);
        assert_eq!(response(&answer), None);
    }

    proptest! {
        #[test]
        fn anything(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), like: bool) {
            if like && bytes.len() >= HEADER {
                let length = (bytes.len() - HEADER) as u16;
                bytes[..2].copy_from_slice(&BINDING_RESPONSE);
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&COOKIE);
            }
            if let Some((transaction, _)) = response(&bytes) {
                prop_assert_eq!(&bytes[8..20], &transaction);
            }
        }
    }
}

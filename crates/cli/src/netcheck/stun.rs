//! STUN binding requests and their answers, as DERP servers take and give them (protocol reference §4.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ties an answer to its request; random, so that nobody off the path can make one up.
pub(super) type Transaction = [u8; 12];

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_RESPONSE: [u8; 2] = [1, 1];
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// What some old servers write instead.
const XOR_MAPPED_ADDRESS_ALT: u16 = 0x8020;
/// Servers answer nobody who does not call himself this.
const SOFTWARE: &[u8; 8] = b"tailnode";
/// "STUN": what the checksum is mixed with.
const FINGERPRINT_MASK: u32 = 0x5354_554e;

/// A request.
pub(super) fn request(transaction: &Transaction) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&BINDING_REQUEST);
    out.extend_from_slice(&20u16.to_be_bytes());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out.extend_from_slice(&[0x80, 0x22, 0, 8]);
    out.extend_from_slice(SOFTWARE);
    let fingerprint = crc32(&out) ^ FINGERPRINT_MASK;
    out.extend_from_slice(&[0x80, 0x28, 0, 4]);
    out.extend_from_slice(&fingerprint.to_be_bytes());
    out
}

/// The transaction of an answer, and the address from which its request came; `None` if `datagram` is none.
pub(super) fn response(datagram: &[u8]) -> Option<(Transaction, SocketAddr)> {
    let (head, body) = datagram.split_at_checked(20)?;
    let (kind, rest) = head.split_at_checked(2)?;
    let (length, rest) = rest.split_at_checked(2)?;
    let (cookie, transaction) = rest.split_at_checked(4)?;
    if kind != BINDING_RESPONSE || cookie != COOKIE {
        return None;
    }
    let transaction: Transaction = transaction.try_into().ok()?;
    let mut attributes = body.get(..usize::from(number(length)?))?;
    let mut plain = None;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let (kind, length) = (number(head.get(..2)?)?, usize::from(number(head.get(2..)?)?));
        let value = rest.get(..length)?;
        match kind {
            XOR_MAPPED_ADDRESS | XOR_MAPPED_ADDRESS_ALT => {
                let mask = [&COOKIE[..], &transaction].concat();
                return Some((transaction, address(value, &mask)?));
            }
            MAPPED_ADDRESS => plain = address(value, &[0; 16]),
            _ => {}
        }
        // Values are padded to four bytes.
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some((transaction, plain?))
}

/// Family, port and address, each combined with `mask` (16 bytes).
fn address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let family = *value.get(1)?;
    let port = number(value.get(2..4)?)? ^ number(mask.get(..2)?)?;
    let bytes: Vec<u8> = value.get(4..)?.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        2 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// CRC-32 of IEEE 802.3; a table would be longer than the 32 bytes that are ever summed.
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

    /// Answers `request` as a server does, for the address `from`, with the given attribute.
    fn answer(request: &[u8], kind: u16, mask: &[u8], from: SocketAddr) -> Vec<u8> {
        let (family, ip) = match from.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let plain = [&from.port().to_be_bytes()[..], &ip].concat();
        // Port and address are masked from the same start.
        let masks = mask.iter().take(2).chain(mask);
        let mut value = vec![0, family];
        value.extend(plain.iter().zip(masks).map(|(a, b)| a ^ b));
        let mut out =
            [&BINDING_RESPONSE[..], &(value.len() as u16 + 12).to_be_bytes(), &request[4..20]].concat();
        // Something unknown of five bytes, padded.
        out.extend_from_slice(&[0x80, 0x99, 0, 1, 7, 0, 0, 0]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(&value);
        out
    }

    #[test]
    fn checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn there_and_back() {
        let transaction = *b"twelve bytes";
        let request = request(&transaction);
        assert_eq!(request.len(), 40);
        assert_eq!(request[2..4], [0, 20]);
        let mask = request[4..20].to_vec();
        for from in ["192.0.2.7:41641", "[2001:db8::7]:3478"] {
            let from: SocketAddr = from.parse().unwrap();
            for (kind, mask) in [(0x20, &mask[..]), (0x8020, &mask), (1, &[0; 16])] {
                let answer = answer(&request, kind, mask, from);
                assert_eq!(response(&answer), Some((transaction, from)), "{kind:#x}");
                for cut in 0..answer.len() {
                    assert_eq!(response(&answer[..cut]), None, "{cut}");
                }
            }
        }
        assert_eq!(response(&request), None);
    }
}

//! A STUN server in the least form: it answers binding requests of nodes and nobody else's (protocol reference §4.1).

use std::net::{IpAddr, SocketAddr};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The answer to a datagram; `None` if it is no request that relays answer.
pub fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let head = [0x00, 0x01, 0x00, 0x14];
    let software = b"\x80\x22\x00\x08tailnode";
    let print = (crc32(request.get(..32)?) ^ 0x5354_554e).to_be_bytes();
    let genuine = request.len() == 40
        && request[..4] == head
        && request[4..8] == COOKIE
        && request[20..32] == *software
        && request[32..36] == [0x80, 0x28, 0x00, 0x04]
        && request[36..] == print;
    if !genuine {
        return None;
    }
    let id = &request[8..20];
    let port = (from.port() ^ 0x2112).to_be_bytes();
    let mask = [&COOKIE, id].concat();
    let (family, address) = match from.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let address: Vec<u8> = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let length = 4 + address.len() as u8;
    let mut out = vec![0x01, 0x01, 0x00, length + 4];
    out.extend([&COOKIE, id, &[0x00, 0x20, 0x00, length, 0x00, family], &port, &address].concat());
    Some(out)
}

/// A request as nodes send it.
pub fn request(id: [u8; 12]) -> Vec<u8> {
    let mut out = vec![0x00, 0x01, 0x00, 0x14];
    out.extend([&COOKIE[..], &id, b"\x80\x22\x00\x08tailnode"].concat());
    let print = crc32(&out) ^ 0x5354_554e;
    out.extend([0x80, 0x28, 0x00, 0x04]);
    out.extend(print.to_be_bytes());
    out
}

/// The id and the address in an answer of [`answer`].
pub fn read_answer(bytes: &[u8]) -> Option<([u8; 12], SocketAddr)> {
    if bytes.get(..2)? != [0x01, 0x01] || bytes.get(4..8)? != COOKIE {
        return None;
    }
    let id: [u8; 12] = bytes.get(8..20)?.try_into().ok()?;
    let port = u16::from_be_bytes(bytes.get(26..28)?.try_into().ok()?) ^ 0x2112;
    let mask = [&COOKIE[..], &id].concat();
    let plain: Vec<u8> = bytes.get(28..)?.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let ip = match *bytes.get(25)? {
        1 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
    };
    Some((id, SocketAddr::new(ip, port)))
}

/// The checksum of Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_books() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn answers_nodes_only() {
        for from in ["203.0.113.7:4711", "[2001:db8::7]:4711"].map(|text| text.parse().unwrap()) {
            let request = request([7; 12]);
            let answer = answer(&request, from).unwrap();
            assert_eq!(read_answer(&answer), Some(([7; 12], from)));
            for n in 0..40 {
                let mut bytes = request.clone();
                bytes[n] ^= 1;
                assert_eq!(super::answer(&bytes, from), None, "byte {n}");
            }
            assert_eq!(super::answer(&request[..39], from), None);
        }
    }
}

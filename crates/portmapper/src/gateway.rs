//! The router in front of this machine, from the kernel's table of IPv4 routes (protocol reference §5.1).

use std::io::Read as _;
use std::net::{Ipv4Addr, UdpSocket};

/// Bytes of the table that are read, a thousand lines of 128: a machine with more has other things to do than ask for ports.
const MOST: u64 = 1000 * 128;

const UP: u32 = 1;
const HAS_GATEWAY: u32 = 2;

/// The router, and us as it sees us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// The router's address.
    pub router: Ipv4Addr,
    /// Our address towards it.
    pub own: Ipv4Addr,
}

/// The way out, if it leads through a router with a private address: others have nothing to forward.
pub fn default_gateway() -> Option<Gateway> {
    // Of this thread: threads can be in networks of their own.
    let mut table = String::new();
    let file = std::fs::File::open("/proc/thread-self/net/route").ok()?;
    file.take(MOST).read_to_string(&mut table).ok()?;
    let router = in_table(&table).filter(Ipv4Addr::is_private)?;
    // The system says from which address it would send; nothing is sent.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((router, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(own) if !own.is_unspecified() => Some(Gateway { router, own }),
        _ => None,
    }
}

/// The first default route through a router in the table as the kernel writes it.
fn in_table(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let destination = fields.next()?;
        let gateway = u32::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let through = flags & (UP | HAS_GATEWAY) == UP | HAS_GATEWAY && destination == "00000000";
        // Four bytes as they lie in memory.
        through.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let line = |iface: &str, destination: u32, gateway: [u8; 4], flags: &str| {
            let gateway = u32::from_ne_bytes(gateway);
            format!("{iface}\t{destination:08X}\t{gateway:08X}\t{flags}\t0\t0\t0\t00000000\t0\t0\t0\n")
        };
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            .to_owned();
        let table = head.clone()
            + &line("eth1", 0, [10, 0, 0, 1], "0002")
            + &line("eth1", 0, [0, 0, 0, 0], "0001")
            + &line("eth0", 0x0a, [10, 0, 0, 1], "0003")
            + &line("eth0", 0, [192, 168, 1, 1], "0003")
            + &line("eth1", 0, [192, 168, 2, 1], "0003");
        assert_eq!(in_table(&table), Some([192, 168, 1, 1].into()));
        assert_eq!(in_table(&head), None);
        assert_eq!(in_table("Iface\neth0 00000000 xyz\n\n"), None);
        let cut = head + "eth0\t00000000\t0101A8";
        assert_eq!(in_table(&cut), None, "the last line may be cut off");
    }
}

//! A table of names and their addresses, both ways, in three allocations.
//!
//! A tailnet may have ten thousand nodes and the machine few megabytes: a name and its two addresses take some eighty
//! bytes here. It never changes; a new netmap makes a new table, and a login makes one while everybody waits: so rows are
//! sorted by a number and not by text, and whoever asks for the name of an address between the least and the greatest has
//! all of them looked at.

use crate::name;
use std::net::IpAddr;

/// Names and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    /// All names, one behind the other.
    text: Box<str>,
    /// Sorted by hash; those of one hash by name.
    rows: Box<[Row]>,
    /// All addresses, in the order of the rows.
    addresses: Box<[IpAddr]>,
    /// The least and the greatest of IPv4 and of IPv6: most addresses that are asked for lie elsewhere.
    ends: [Option<(IpAddr, IpAddr)>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    hash: u32,
    start: u32,
    first: u32,
    count: u16,
    len: u8,
    subdomains: bool,
}

/// One name of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a> {
    /// Its addresses, in the order given.
    pub addresses: &'a [IpAddr],
    /// Every name below it has the same addresses.
    pub subdomains: bool,
}

/// A table in the making.
#[derive(Debug, Default)]
pub struct Builder {
    text: String,
    rows: Vec<Row>,
    addresses: Vec<IpAddr>,
}

impl Builder {
    /// One with room for so many names of so many bytes together, and as many addresses: nothing is moved while it grows.
    pub fn with_room(names: usize, bytes: usize, addresses: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            rows: Vec::with_capacity(names),
            addresses: Vec::with_capacity(addresses),
        }
    }

    /// Adds a name. What is no name is left out; of two equal ones the later has all addresses of both.
    pub fn add(&mut self, name: &str, subdomains: bool, addresses: impl Iterator<Item = IpAddr>) {
        let Some(name) = name::canonical(name) else { return };
        let (start, first) = (self.text.len() as u32, self.addresses.len());
        self.addresses.extend(addresses.take(usize::from(u16::MAX)));
        let count = (self.addresses.len() - first) as u16;
        self.text.push_str(&name);
        let (hash, len) = (hash(name.as_bytes()), name.len() as u8);
        self.rows.push(Row { hash, start, first: first as u32, count, len, subdomains });
    }

    /// The table.
    pub fn finish(self) -> Hosts {
        let Self { text, mut rows, addresses } = self;
        let text = text.into_boxed_str();
        rows.sort_unstable_by(|a, b| {
            let by_name = || name_of(&text, a).cmp(name_of(&text, b)).then(a.start.cmp(&b.start));
            a.hash.cmp(&b.hash).then_with(by_name)
        });
        let mut all = Vec::with_capacity(addresses.len());
        let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
        for row in rows {
            let own = of(&addresses, &row);
            match merged.last_mut() {
                Some(last) if name_of(&text, last) == name_of(&text, &row) => {
                    last.count = last.count.saturating_add(row.count);
                    last.subdomains |= row.subdomains;
                }
                _ => merged.push(Row { first: all.len() as u32, ..row }),
            }
            all.extend_from_slice(own);
        }
        let ends = [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|family: fn(&IpAddr) -> bool| {
            let least = all.iter().copied().filter(family).min()?;
            Some((least, all.iter().copied().filter(family).max()?))
        });
        Hosts { text, rows: merged.into_boxed_slice(), addresses: all.into_boxed_slice(), ends }
    }
}

fn name_of<'a>(text: &'a str, row: &Row) -> &'a str {
    let start = row.start as usize;
    text.get(start..start + usize::from(row.len)).unwrap_or_default()
}

fn of<'a>(addresses: &'a [IpAddr], row: &Row) -> &'a [IpAddr] {
    let first = row.first as usize;
    addresses.get(first..first + usize::from(row.count)).unwrap_or_default()
}

/// FNV-1a. Names come from control: whoever can make them collide can only make a table slow to make.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Hosts {
    /// What a name has.
    pub fn find(&self, name: &[u8]) -> Option<Host<'_>> {
        let hash = hash(name);
        let order =
            |row: &Row| row.hash.cmp(&hash).then_with(|| name_of(&self.text, row).as_bytes().cmp(name));
        let at = self.rows.binary_search_by(order).ok()?;
        let row = self.rows.get(at)?;
        Some(Host { addresses: of(&self.addresses, row), subdomains: row.subdomains })
    }

    /// The name that has an address; of several the first by alphabet.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.ends.iter().flatten().find(|(least, greatest)| (least..=greatest).contains(&&address))?;
        let all = self.addresses.iter().zip(0u32..).filter(|(one, _)| **one == address);
        let row =
            |at: u32| self.rows.get(self.rows.partition_point(|row| row.first + u32::from(row.count) <= at));
        all.filter_map(|(_, at)| row(at)).map(|row| name_of(&self.text, row)).min()
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| name_of(&self.text, row))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn both_ways() {
        let mut table = Builder::default();
        table.add("zeta.tail1.ts.net.", false, [ip("100.64.0.2"), ip("fd7a:115c:a1e0::2")].into_iter());
        table.add("Alpha.Tail1.ts.net", true, [ip("100.64.0.1")].into_iter());
        table.add("a..b", false, [ip("100.64.0.9")].into_iter());
        table.add("none.tail1.ts.net", false, std::iter::empty());
        let table = table.finish();
        assert_eq!(
            table.find(b"zeta.tail1.ts.net").expect("found").addresses,
            [ip("100.64.0.2"), ip("fd7a:115c:a1e0::2")]
        );
        assert!(table.find(b"alpha.tail1.ts.net").expect("found").subdomains);
        assert!(table.find(b"none.tail1.ts.net").expect("found").addresses.is_empty());
        assert_eq!(table.find(b"beta.tail1.ts.net"), None);
        assert_eq!(table.name_of(ip("fd7a:115c:a1e0::2")), Some("zeta.tail1.ts.net"));
        assert_eq!(table.name_of(ip("100.64.0.1")), Some("alpha.tail1.ts.net"));
        assert_eq!([table.name_of(ip("100.64.0.9")), table.name_of(ip("::1"))], [None, None]);
        assert_eq!(table.names().count(), 3);
        let [first, last] = ["100.64.0.1", "100.64.0.2"].map(ip);
        let alone = ip("fd7a:115c:a1e0::2");
        assert_eq!(table.ends, [Some((first, last)), Some((alone, alone))]);
        assert!(Hosts::default().is_empty() && Hosts::default().find(b"").is_none());
    }

    #[test]
    fn one_name_given_twice_has_both() {
        let mut table = Builder::default();
        table.add("svc.corp", false, [ip("10.0.0.2")].into_iter());
        table.add("other.corp", false, [ip("10.0.0.3")].into_iter());
        table.add("SVC.corp.", false, [ip("10.0.0.1")].into_iter());
        let table = table.finish();
        assert_eq!(table.find(b"svc.corp").expect("found").addresses, [ip("10.0.0.2"), ip("10.0.0.1")]);
        assert_eq!(table.name_of(ip("10.0.0.1")), Some("svc.corp"));
        assert_eq!(table.name_of(ip("10.0.0.3")), Some("other.corp"));
    }

    #[test]
    fn every_one_of_many_is_found() {
        let address = |n: u32| IpAddr::from((0x6440_0000 + n).to_be_bytes());
        let mut table = Builder::default();
        for n in (0..5000).rev() {
            table.add(&format!("n{n}.tail1.ts.net"), false, [address(n)].into_iter());
        }
        let table = table.finish();
        for n in 0..5000 {
            let name = format!("n{n}.tail1.ts.net");
            assert_eq!(table.find(name.as_bytes()).expect("found").addresses, [address(n)]);
            assert_eq!(table.name_of(address(n)), Some(name.as_str()));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is about real time")]
    fn addresses_of_elsewhere_cost_nothing() {
        let mut table = Builder::default();
        let addresses = (0..100_000u32).map(|n| IpAddr::from((0x6440_0000 + n).to_be_bytes()));
        for (n, address) in addresses.enumerate() {
            table.add(&format!("n{n}.tail1.ts.net"), false, [address].into_iter());
        }
        let table = table.finish();
        let began = std::time::Instant::now();
        for n in 0..4_000u32 {
            for elsewhere in [0xc0a8_0000 + n, 0x0a00_0000 + n] {
                assert_eq!(table.name_of(IpAddr::from(elsewhere.to_be_bytes())), None);
            }
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

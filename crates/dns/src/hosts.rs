//! A table of names and their addresses, both ways, in four allocations.
//!
//! A tailnet may have ten thousand nodes and the machine few megabytes: a name and its two addresses take some ninety
//! bytes here. It never changes; a new netmap makes a new table.

use crate::name;
use std::net::IpAddr;

/// Names and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    /// All names, one behind the other.
    text: Box<str>,
    /// Sorted by name.
    rows: Box<[Row]>,
    /// All addresses, those of one name together.
    addresses: Box<[IpAddr]>,
    /// Indices of `addresses` with their rows, sorted by address.
    reverse: Box<[(u32, u32)]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
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
        self.rows.push(Row { start, first: first as u32, count, len: name.len() as u8, subdomains });
    }

    /// The table.
    pub fn finish(self) -> Hosts {
        let Self { text, mut rows, addresses } = self;
        let text = text.into_boxed_str();
        rows.sort_unstable_by(|a, b| name_of(&text, a).cmp(name_of(&text, b)).then(a.start.cmp(&b.start)));
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
        let mut reverse: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (index, row) in merged.iter().enumerate() {
            reverse.extend((row.first..row.first + u32::from(row.count)).map(|at| (at, index as u32)));
        }
        reverse.sort_unstable_by_key(|(at, row)| (all.get(*at as usize).copied(), *row));
        Hosts {
            text,
            rows: merged.into_boxed_slice(),
            addresses: all.into_boxed_slice(),
            reverse: reverse.into_boxed_slice(),
        }
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

impl Hosts {
    /// What a name has.
    pub fn find(&self, name: &[u8]) -> Option<Host<'_>> {
        let at = self.rows.binary_search_by(|row| name_of(&self.text, row).as_bytes().cmp(name)).ok()?;
        let row = self.rows.get(at)?;
        Some(Host { addresses: of(&self.addresses, row), subdomains: row.subdomains })
    }

    /// The name that has an address; of several the first by alphabet.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let value = |index: u32| self.addresses.get(index as usize).copied();
        let at = self.reverse.partition_point(|(index, _)| value(*index) < Some(address));
        let (index, row) = *self.reverse.get(at)?;
        (value(index) == Some(address))
            .then(|| self.rows.get(row as usize).map(|row| name_of(&self.text, row)))?
    }

    /// All names, sorted.
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
}

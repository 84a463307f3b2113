//! What we answer ourselves, and in which order it is looked for (protocol reference §9.2).
//!
//! Pure: bytes in, bytes out, or the list of whom to ask. A name that could be of this tailnet never leaves the
//! machine: what lies in a zone of ours and is not known does not exist.

use crate::config::{Resolver, Step};
use crate::message::{self, Code, Fault, Query, Reply, flag, kind};
use crate::name::{self, Name};
use crate::{Transport, reverse, via};
use netmap::{SERVICE_V4, SERVICE_V6};
use std::net::IpAddr;
use std::rc::Rc;

/// Seconds that an answer may be kept. Short: asking us again costs nothing.
const TTL: u32 = 5;
/// Seconds that it may be remembered that there is nothing.
const NEGATIVE_TTL: u32 = 10;
/// The name of quad-100's addresses.
const SERVICE_NAME: &str = "magicdns.localhost-tailscale-daemon";

/// What becomes of a query.
#[derive(Debug)]
pub enum Answer<'a> {
    /// This goes back.
    Reply(Vec<u8>),
    /// These are asked; there is at least one ([`crate::forward::Forwarder::forward`]).
    Ask(&'a Rc<[Step]>),
    /// Nothing goes back: it was no query.
    Silence,
}

/// What we know of a name.
enum Known<'a> {
    /// It has these addresses; only those of one kind may count.
    Addresses { all: &'a [IpAddr], only: Only },
    /// It has this one.
    Address(IpAddr),
    /// It is the name of the address asked for.
    Name(&'a str),
    /// It exists without an address.
    Nothing,
    /// It does not exist.
    Missing,
    /// Others have to be asked.
    Elsewhere,
}

/// Which addresses of a name are shown.
#[derive(Clone, Copy, PartialEq)]
enum Only {
    Both,
    V4,
    V6,
}

impl Resolver {
    /// What becomes of the bytes of a query. `now` is the wall clock in seconds: the serial number of our zones.
    pub fn answer(&self, bytes: &[u8], transport: Transport, now: u32) -> Answer<'_> {
        self.answer_to(bytes, transport, now, true)
    }

    /// The same for those whom the default resolvers are not for: what is neither about names of ours nor about a zone with
    /// resolvers of its own is refused.
    pub fn answer_covered(&self, bytes: &[u8], transport: Transport, now: u32) -> Answer<'_> {
        self.answer_to(bytes, transport, now, false)
    }

    fn answer_to(&self, bytes: &[u8], transport: Transport, now: u32, everything: bool) -> Answer<'_> {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(Fault::NoQuery) => return Answer::Silence,
            Err(Fault::NoQuestion | Fault::Cut | Fault::Name) => {
                return Answer::Reply(Reply::new(bytes, &[], Code::FormErr, flags_of_ours(bytes)).finish());
            }
        };
        let known = self.known(&query);
        if matches!(known, Known::Elsewhere) {
            if let Some(reply) = no_query(&query) {
                return Answer::Reply(reply);
            }
            let below =
                |suffix: &str| !suffix.is_empty() && name::is_below(query.name.bytes(), suffix.as_bytes());
            return match everything || self.routes.iter().any(|route| below(&route.suffix)) {
                true => self.elsewhere(&query),
                false => Answer::Reply(failure(&query, Code::Refused)),
            };
        }
        let mut reply = self.reply(&query, &known, now);
        if transport == Transport::Udp {
            message::mark_truncated(&mut reply, message::size(bytes));
        }
        Answer::Reply(reply)
    }

    /// The answer to a name that we know or know not to exist.
    fn reply(&self, query: &Query<'_>, known: &Known<'_>, now: u32) -> Vec<u8> {
        let asked = flags_of_ours(query.bytes);
        let reply = |code| Reply::new(query.bytes, query.question(), code, asked);
        let refused = matches!(query.kind, kind::NS | kind::SOA | kind::AXFR | kind::HINFO);
        if !query.is_ordinary() || (refused && matches!(known, Known::Addresses { .. })) {
            return reply(Code::NotImp).finish();
        }
        let address = match known {
            Known::Name(host) => {
                let mut reply = reply(Code::Success);
                reply.pointer(host, TTL);
                return reply.finish();
            }
            Known::Address(address) => Some(*address),
            Known::Addresses { all, only } => pick(all, *only, query.kind),
            Known::Nothing | Known::Missing | Known::Elsewhere => None,
        };
        if let Some(address) = address {
            let mut reply = reply(Code::Success);
            reply.address(address, TTL);
            return reply.finish();
        }
        let missing = matches!(known, Known::Missing);
        let mut reply = reply(if missing { Code::NxDomain } else { Code::Success });
        if (missing || matches!(query.kind, kind::A | kind::AAAA | kind::ALL))
            && let Some(zone) = self.zone(&query.name)
        {
            let text = query.name.bytes().len();
            // The root is the byte behind the last label.
            let offset = if zone == 0 { text + usize::from(text > 0) } else { text - zone };
            reply.authority(offset, now, NEGATIVE_TTL);
        }
        reply.finish()
    }

    /// Looks for a name, in upstream's order.
    fn known(&self, query: &Query<'_>) -> Known<'_> {
        let name = &query.name;
        let text = name.bytes();
        if query.kind == kind::PTR {
            if reverse::is_browsing(text) {
                return Known::Elsewhere;
            }
            if let Some(host) = reverse::address(text).and_then(|address| self.host_of(address)) {
                return Known::Name(host);
            }
        }
        if text.ends_with(b".onion") {
            return Known::Missing;
        }
        if text == SERVICE_NAME.as_bytes() {
            match query.kind {
                kind::A => return Known::Address(SERVICE_V4.into()),
                kind::AAAA => return Known::Address(SERVICE_V6.into()),
                _ => {}
            }
        }
        if matches!(query.kind, kind::A | kind::AAAA | kind::ALL)
            && let Some(address) = via::address(text)
        {
            return if query.kind == kind::A { Known::Nothing } else { Known::Address(address.into()) };
        }
        if let Some(found) = self.lookup(text, false) {
            return found;
        }
        let mut front = text;
        while let Some(parent) = name::parent(front) {
            front = parent;
            if let Some(found) = self.lookup(parent, true) {
                return found;
            }
        }
        if self.zone(name).is_some() { Known::Missing } else { Known::Elsewhere }
    }

    /// A name in the tables; `whole` asks for those only whose subdomains have the same addresses.
    fn lookup(&self, name: &[u8], whole: bool) -> Option<Known<'_>> {
        let config = &self.config;
        let wanted = |host: &crate::hosts::Host<'_>| !whole || host.subdomains;
        if !config.records.is_empty()
            && let Some(host) = config.records.find(name).filter(wanted)
        {
            return Some(Known::Addresses { all: host.addresses, only: Only::Both });
        }
        let host = if name.is_empty() || name.contains(&b'.') {
            config.nodes.find(name)
        } else {
            // What a search domain could complete.
            config.nodes.find(Name::parse(name)?.below(config.magic.as_ref()?.as_bytes())?.bytes())
        };
        let host = host.filter(wanted)?;
        if host.addresses.is_empty() {
            return None;
        }
        let only = if config.only_v6 {
            Only::V6
        } else if !config.nodes_aaaa && host.addresses.iter().any(IpAddr::is_ipv4) {
            Only::V4
        } else {
            Only::Both
        };
        Some(Known::Addresses { all: host.addresses, only })
    }

    /// The name that an address has here.
    fn host_of(&self, address: IpAddr) -> Option<&str> {
        let of =
            |address| self.config.records.name_of(address).or_else(|| self.config.nodes.name_of(address));
        if crate::is_service(address) {
            return Some(SERVICE_NAME);
        }
        reverse::embedded_v4(address).and_then(of).or_else(|| of(address))
    }

    /// How many bytes of a name are the zone of ours that it lies in.
    fn zone(&self, name: &Name) -> Option<usize> {
        let text = name.bytes();
        let listed =
            self.local.iter().find(|zone| name::is_below(text, zone.as_bytes())).map(|zone| zone.len());
        let computed = || {
            reverse::zone(text).filter(|_| self.config.reverse).filter(|zone| {
                // Control may have named somebody else for it.
                !self.config.routes.iter().any(|(suffix, _)| suffix.as_bytes() == *zone)
            })
        };
        listed.or_else(|| computed().map(<[u8]>::len))
    }

    /// What becomes of a query that is not for us.
    fn elsewhere(&self, query: &Query<'_>) -> Answer<'_> {
        if let Some(reply) = browsing(query) {
            return Answer::Reply(reply);
        }
        match self.steps(query.name.bytes()) {
            Some(steps) if !steps.is_empty() => Answer::Ask(steps),
            _ => Answer::Reply(failure(query, Code::ServFail)),
        }
    }
}

/// The answer to who looks for services: nobody is ever asked for them.
pub fn browsing(query: &Query<'_>) -> Option<Vec<u8>> {
    let set = flags_of_ours(query.bytes) & flag::RECURSION_AVAILABLE;
    reverse::is_browsing(query.name.bytes())
        .then(|| Reply::new(query.bytes, query.question(), Code::NxDomain, set).finish())
}

/// The answer to an operation that is no query (UPDATE, NOTIFY): nothing of the kind is done for anybody, nor passed on under
/// this node's address.
pub fn no_query(query: &Query<'_>) -> Option<Vec<u8>> {
    (!query.is_ordinary()).then(|| failure(query, Code::NotImp))
}

/// The answer that says that nobody could be reached.
pub fn failure(query: &Query<'_>, code: Code) -> Vec<u8> {
    Reply::new(query.bytes, query.question(), code, flag::AUTHORITATIVE).finish()
}

/// Flags of what we know ourselves: who wants recursion is told that there is some.
fn flags_of_ours(query: &[u8]) -> u16 {
    let wanted = message::flags(query) & flag::RECURSION_DESIRED != 0;
    flag::AUTHORITATIVE | if wanted { flag::RECURSION_AVAILABLE } else { 0 }
}

/// The address that answers a question of a kind: the first that may be shown.
fn pick(all: &[IpAddr], only: Only, asked: u16) -> Option<IpAddr> {
    let shown = |address: &&IpAddr| match address {
        IpAddr::V4(_) => only != Only::V6 && matches!(asked, kind::A | kind::ALL),
        IpAddr::V6(_) => only != Only::V4 && matches!(asked, kind::AAAA | kind::ALL),
    };
    all.iter().find(shown).copied()
}

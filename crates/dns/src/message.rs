//! The wire form, as far as a stub resolver needs it: a header, the first question, the size named by EDNS, and
//! answers written by [`Reply`].
//!
//! A forwarded message is never taken apart and put together again: its raw bytes travel on.
//! Leaves out: compression in what is read (a first question has nothing to point at), and every kind of record that
//! we never write.

use crate::name::{self, Name};
use std::net::IpAddr;

/// Bytes of a header.
pub const HEADER: usize = 12;
/// Largest message that is accepted or passed on, in bytes.
pub const LARGEST: usize = 4095;
/// Largest datagram for somebody who does not say more, in bytes.
pub const PLAIN_SIZE: u16 = 512;

/// Bits of the second 16-bit word.
pub mod flag {
    /// This is a response.
    pub const RESPONSE: u16 = 0x8000;
    /// The four bits of the operation.
    pub const OPCODE: u16 = 0x7800;
    /// Said by the one who knows.
    pub const AUTHORITATIVE: u16 = 0x0400;
    /// Did not fit.
    pub const TRUNCATED: u16 = 0x0200;
    /// Asks to find out.
    pub const RECURSION_DESIRED: u16 = 0x0100;
    /// Would find out.
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    /// Authentic data and checking disabled: echoed.
    pub const SECURITY: u16 = 0x0030;
}

/// Response codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// No error.
    Success = 0,
    /// The question could not be read.
    FormErr = 1,
    /// Something failed on the way.
    ServFail = 2,
    /// There is no such name.
    NxDomain = 3,
    /// Not done here.
    NotImp = 4,
    /// Not for you.
    Refused = 5,
}

/// Kinds of records, by number.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Host information.
    pub const HINFO: u16 = 13;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// Transfer of a zone.
    pub const AXFR: u16 = 252;
    /// Everything.
    pub const ALL: u16 = 255;

    /// Kinds that people ask for by name (LocalAPI `dns-query`).
    const NAMES: [(&str, u16); 14] = [
        ("A", A),
        ("AAAA", AAAA),
        ("ALL", ALL),
        ("CNAME", 5),
        ("HINFO", HINFO),
        ("MINFO", 14),
        ("MX", 15),
        ("NS", NS),
        ("OPT", OPT),
        ("PTR", PTR),
        ("SOA", SOA),
        ("SRV", 33),
        ("TXT", 16),
        ("WKS", 11),
    ];

    /// The number of a kind, whatever the case of its name.
    pub fn by_name(name: &str) -> Option<u16> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind)
    }
}

/// Why bytes are no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No header, or a response: nobody is answered.
    NoQuery,
    /// The header announces no question.
    NoQuestion,
    /// They end too early.
    Cut,
    /// The name is longer than names are, or is compressed.
    Name,
}

/// A 16-bit number at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number of a message; 0 when there is none.
pub fn id(message: &[u8]) -> u16 {
    word(message, 0).unwrap_or(0)
}

/// Gives a message another number.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
}

/// The flags; 0 when there are none.
pub fn flags(message: &[u8]) -> u16 {
    word(message, 2).unwrap_or(0)
}

/// The response code; what is too short refuses.
pub fn code(message: &[u8]) -> u8 {
    if message.len() < HEADER { Code::Refused as u8 } else { (flags(message) & 0xf) as u8 }
}

/// A query whose first question has been read.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The name asked for, in lower case.
    pub name: Name,
    /// The kind of record asked for.
    pub kind: u16,
    /// Where the first question ends.
    pub question_end: usize,
}

impl<'a> Query<'a> {
    /// Reads header and first question; what follows is nobody's business here.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.len() < HEADER || flags(bytes) & flag::RESPONSE != 0 {
            return Err(Fault::NoQuery);
        }
        if word(bytes, 4) == Some(0) {
            return Err(Fault::NoQuestion);
        }
        let (name, taken) = Name::read(bytes.get(HEADER..).unwrap_or_default())?;
        let kind = word(bytes, HEADER + taken).ok_or(Fault::Cut)?;
        word(bytes, HEADER + taken + 2).ok_or(Fault::Cut)?;
        Ok(Self { bytes, name, kind, question_end: HEADER + taken + 4 })
    }

    /// The first question as it was asked.
    pub fn question(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.question_end).unwrap_or_default()
    }

    /// Whether the operation is the ordinary one.
    pub fn is_ordinary(&self) -> bool {
        flags(self.bytes) & flag::OPCODE == 0
    }
}

/// The EDNS record, when it is the last thing of the message, of version 0 and without options: where its size stands.
fn edns(message: &[u8]) -> Option<usize> {
    let start = message.len().checked_sub(11).filter(|start| *start >= HEADER)?;
    let record: &[u8; 11] = message.get(start..)?.first_chunk()?;
    let known = record[0] == 0
        && u16::from_be_bytes([record[1], record[2]]) == kind::OPT
        && record[6] == 0
        && record[9..] == [0, 0];
    (known && word(message, 10) != Some(0)).then_some(start + 3)
}

/// The largest datagram that the asker takes.
pub fn size(query: &[u8]) -> u16 {
    edns(query).and_then(|at| word(query, at)).unwrap_or(PLAIN_SIZE)
}

/// Where a message names a larger size than we pass on, names ours.
pub fn clamp_size(message: &mut [u8]) {
    if let Some(at) = edns(message)
        && word(message, at).is_some_and(|size| usize::from(size) > LARGEST)
        && let Some(place) = message.get_mut(at..at + 2)
    {
        place.copy_from_slice(&(LARGEST as u16).to_be_bytes());
    }
}

/// Marks an answer that is larger than the asker takes in a datagram; nothing is cut off.
pub fn mark_truncated(reply: &mut [u8], largest: u16) {
    if reply.len() > usize::from(largest) {
        set_truncated(reply);
    }
}

/// Marks a message as truncated.
pub fn set_truncated(message: &mut [u8]) {
    if let Some(byte) = message.get_mut(2) {
        *byte |= (flag::TRUNCATED >> 8) as u8;
    }
}

/// A query that wants recursion.
pub fn query(id: u16, name: &Name, kind: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + name::LONGEST + 6);
    for word in [id, flag::RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    name::write(&mut bytes, name.bytes());
    for word in [kind, INTERNET] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// An answer in the making: header and question of the query, then records.
#[derive(Debug)]
pub struct Reply {
    bytes: Vec<u8>,
}

/// Class `IN`.
const INTERNET: u16 = 1;
/// A pointer to the name of the question.
const ASKED_NAME: u16 = 0xc000 | HEADER as u16;

impl Reply {
    /// Begins an answer. Echoes number, operation and wishes; `set` is set besides.
    pub fn new(query: &[u8], question: &[u8], code: Code, set: u16) -> Self {
        let echoed = flags(query) & (flag::OPCODE | flag::RECURSION_DESIRED | flag::SECURITY);
        let mut bytes = Vec::with_capacity(HEADER + question.len() + 64);
        for word in
            [id(query), flag::RESPONSE | echoed | set | code as u16, u16::from(!question.is_empty()), 0, 0, 0]
        {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(question);
        Self { bytes }
    }

    /// Appends a record; `count` is where the header counts its section.
    fn record(&mut self, count: usize, name: u16, kind: u16, ttl: u32, data: &[u8]) {
        for word in [name, kind, INTERNET] {
            self.bytes.extend_from_slice(&word.to_be_bytes());
        }
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        // Never more than a name and some numbers.
        self.bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(data);
        if let Some(low) = self.bytes.get_mut(count + 1) {
            *low = low.wrapping_add(1);
        }
    }

    /// The name that was asked for has this address.
    pub fn address(&mut self, address: IpAddr, ttl: u32) {
        match address {
            IpAddr::V4(v4) => self.record(6, ASKED_NAME, kind::A, ttl, &v4.octets()),
            IpAddr::V6(v6) => self.record(6, ASKED_NAME, kind::AAAA, ttl, &v6.octets()),
        }
    }

    /// The address that was asked for has this name.
    pub fn pointer(&mut self, name: &str, ttl: u32) {
        let mut data = Vec::with_capacity(name.len() + 2);
        name::write(&mut data, name.as_bytes());
        self.record(6, ASKED_NAME, kind::PTR, ttl, &data);
    }

    /// The zone of what does not exist. It begins `offset` bytes into the name that was asked for; all times are
    /// `ttl` seconds (RFC 2308).
    pub fn authority(&mut self, offset: usize, serial: u32, ttl: u32) {
        // The text has a dot where the wire has a length, so that offsets are the same. A name ends before 2^14.
        let zone = ASKED_NAME + offset.min(name::LONGEST) as u16;
        let pointers = u32::from(zone) << 16 | u32::from(zone);
        let data = [pointers, serial, ttl, ttl, ttl, ttl].map(u32::to_be_bytes);
        self.record(8, zone, kind::SOA, ttl, data.as_flattened());
    }

    /// The finished answer.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

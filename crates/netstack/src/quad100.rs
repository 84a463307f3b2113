//! The first service: DNS at 100.100.100.100 and its IPv6 twin, by UDP and TCP (protocol reference §9.1).
//!
//! Owns: queries out of datagrams and streams, answers back to where they belong, and how many may be under way.
//! Leaves out: what a query means. Whoever owns this takes queries until there is none, and answers each, with nothing
//! if there is nothing to say.

use crate::cut::cut;
use crate::{ConnId, Limits, News, Read, Stack};
use datapath::drop::DropReason;
use datapath::time::Mono;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The port.
const DNS: u16 = 53;
/// Queries that wait for an answer at once. Twice as many as are ever forwarded (protocol reference §9.1): what needs nobody
/// else is answered even when everything that was forwarded waits.
const MOST: usize = 512;
/// Of one connection.
const MOST_OF_ONE: usize = 16;
/// Longest query by TCP, in bytes.
const LONGEST: usize = 4096;
/// Answers of a connection that are not sent yet: while there are more bytes of them, nothing more is read.
const BACKLOG: usize = 8 << 10;
/// Answers of a connection that wait at most, in bytes: two of the longest. Who asks for more and takes nothing is gone, or
/// every query read before the first answer came could be owed 64 KiB.
const MOST_WAITING: usize = 2 * (2 + u16::MAX as usize);
/// A connection that asks nothing for so long is closed; a query that has begun must be whole by then.
const IDLE: Duration = Duration::from_secs(45);

/// What connections may take. Windows of half a packet or more: queries are short, answers of 64 KiB rare.
const LIMITS: Limits = Limits { connections: 32, receive: 2048, send: 4096 };

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The DNS message as it came.
    pub bytes: Vec<u8>,
    /// Who asks.
    pub from: SocketAddr,
    /// Where the answer goes.
    pub back: Back,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// By UDP.
    Datagram {
        /// The address of ours that was asked.
        from: SocketAddr,
        /// Who asked.
        to: SocketAddr,
    },
    /// By the connection that it came by.
    Stream(ConnId),
}

impl Back {
    /// Whether the answer may be as long as a stream's.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream(_))
    }
}

#[derive(Debug)]
struct Stream {
    id: ConnId,
    from: SocketAddr,
    /// What has come and is no whole query yet.
    inbox: Vec<u8>,
    /// What is to go out.
    outbox: VecDeque<u8>,
    /// Queries that are owed an answer.
    owed: usize,
    /// When it began or ended a query last, or said that there will be none. Not every byte counts, or one now and then
    /// would keep the place for ever.
    heard: Mono,
    /// The peer will ask nothing more.
    ended: bool,
}

/// The service.
pub struct Quad100 {
    stack: Stack,
    streams: Vec<Stream>,
    queries: VecDeque<Query>,
    /// Queries that are owed an answer.
    owed: usize,
}

impl Quad100 {
    /// At these addresses, for packets of up to `mtu` bytes; `seed` is random.
    pub fn new(addresses: &[IpAddr], mtu: usize, seed: u64) -> Self {
        let stack = Stack::new(addresses, &[DNS], &[DNS], mtu, seed, LIMITS);
        Self { stack, streams: Vec::new(), queries: VecDeque::new(), owed: 0 }
    }

    /// Takes a packet to one of the addresses; call [`Self::poll`] after one or several.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle(&mut self, packet: &[u8], now: Mono) -> Result<(), DropReason> {
        let News { datagram, opened } = self.stack.handle(packet, now)?;
        if let Some(datagram) = datagram {
            if self.owed >= MOST || datagram.payload.len() > LONGEST {
                return Err(DropReason::RingFull);
            }
            self.owed += 1;
            let back = Back::Datagram { from: datagram.to, to: datagram.from };
            let bytes = datagram.payload.to_vec();
            self.queries.push_back(Query { bytes, from: datagram.from, back });
        }
        if let Some(id) = opened
            && let Some(from) = self.stack.remote(id)
        {
            self.streams.push(Stream {
                id,
                from,
                inbox: Vec::new(),
                outbox: VecDeque::new(),
                owed: 0,
                heard: now,
                ended: false,
            });
        }
        Ok(())
    }

    /// The next query.
    pub fn next_query(&mut self) -> Option<Query> {
        let query = self.queries.pop_front();
        if query.is_none() {
            self.queries = VecDeque::new();
        }
        query
    }

    /// The answer to a query; every one is to be answered once, with nothing if there is none. [`Self::poll`] after it.
    pub fn answer(&mut self, back: Back, answer: Option<&[u8]>) {
        self.owed = self.owed.saturating_sub(1);
        match back {
            Back::Datagram { from, to } => {
                // What finds no place is lost as any datagram may be.
                if let Some(answer) = answer
                    && self.stack.send_datagram(from, to, answer) == Err(DropReason::TooLarge)
                    && let Some(answer) = cut(answer)
                {
                    let _ = self.stack.send_datagram(from, to, &answer);
                }
            }
            Back::Stream(id) => {
                let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return };
                stream.owed = stream.owed.saturating_sub(1);
                if let Some((answer, len)) =
                    answer.and_then(|answer| Some((answer, u16::try_from(answer.len()).ok()?)))
                {
                    if stream.outbox.len() + 2 + answer.len() > MOST_WAITING {
                        self.stack.abort(id);
                        // Now and not with the next turn: more answers may come before it.
                        return self.streams.retain(|stream| stream.id != id);
                    }
                    stream.outbox.reserve_exact(2 + answer.len());
                    stream.outbox.extend(len.to_be_bytes());
                    stream.outbox.extend(answer);
                }
            }
        }
    }

    /// The next packet that goes to the machine. To be taken until there is none.
    pub fn next_packet(&mut self) -> Option<Vec<u8>> {
        self.stack.next_packet()
    }

    /// Moves what streams have received and are to send, and runs timers.
    pub fn poll(&mut self, now: Mono) {
        let Self { stack, streams, queries, owed } = self;
        for stream in streams.iter_mut() {
            stream.write(stack);
            stream.read(stack, queries, owed, now);
            let quiet = stream.owed == 0 && stream.outbox.is_empty();
            if now.since(stream.heard) >= IDLE {
                // Even if it is owed something, if only a goodbye: whoever takes nothing for so long is gone.
                stack.abort(stream.id);
            } else if stream.ended && quiet {
                stack.close(stream.id);
            }
        }
        stack.poll(now);
        streams.retain(|stream| stack.is_open(stream.id));
    }

    /// Bytes that are held for answers which wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.streams.iter().map(|stream| stream.outbox.capacity()).sum()
    }

    /// When [`Self::poll`] is due.
    pub fn poll_timeout(&mut self, now: Mono) -> Option<Mono> {
        let idle = self.streams.iter().map(|stream| stream.heard + IDLE).min();
        [idle, self.stack.poll_timeout(now)].into_iter().flatten().min()
    }
}

impl Stream {
    fn write(&mut self, stack: &mut Stack) {
        loop {
            let (first, _) = self.outbox.as_slices();
            let taken = if first.is_empty() { 0 } else { stack.write(self.id, first) };
            if taken == 0 {
                return;
            }
            self.outbox.drain(..taken);
            if self.outbox.is_empty() {
                self.outbox = VecDeque::new();
            }
        }
    }

    fn read(&mut self, stack: &mut Stack, queries: &mut VecDeque<Query>, owed: &mut usize, now: Mono) {
        while self.owed < MOST_OF_ONE && *owed < MOST && self.outbox.len() < BACKLOG {
            if let Some(bytes) = self.whole() {
                self.owed += 1;
                *owed += 1;
                self.heard = now;
                queries.push_back(Query { bytes, from: self.from, back: Back::Stream(self.id) });
                continue;
            }
            if self.wanted() == 0 {
                return stack.abort(self.id);
            }
            let begins = self.inbox.is_empty();
            let most = (LONGEST + 2).saturating_sub(self.inbox.len());
            match stack.read(self.id, &mut self.inbox, most) {
                Read::Bytes(0) => return,
                Read::Bytes(_) if begins => self.heard = now,
                Read::Bytes(_) => {}
                Read::End if self.ended => return,
                Read::End => return (self.heard, self.ended) = (now, true),
                Read::Gone => return,
            }
        }
    }

    /// The first query in the inbox, if it is there whole.
    fn whole(&mut self) -> Option<Vec<u8>> {
        let wanted = self.wanted();
        let bytes = self.inbox.get(2..wanted)?.to_vec();
        self.inbox.drain(..wanted);
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        Some(bytes)
    }

    /// How long the inbox must be to hold a query; zero if it never will.
    fn wanted(&self) -> usize {
        match self.inbox.first_chunk::<2>().map(|len| usize::from(u16::from_be_bytes(*len))) {
            None => 2 + 1,
            Some(len @ 1..=LONGEST) => 2 + len,
            Some(_) => 0,
        }
    }
}

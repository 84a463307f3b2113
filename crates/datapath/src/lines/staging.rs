//! Packets that wait for a session: a bounded store in one allocation, oldest given up first.
//!
//! Bytes lie in chains of 256-byte chunks, so that packets of any size fill it without gaps. Every packet is in two
//! lists: its peer's queue (in order of arrival) and the order of age of all.
//! Leaves out: when to ask for a handshake, counting what is given up.

const CHUNK: usize = 256;
const NIL: u16 = u16::MAX;

/// A peer's waiting packets; only meaningful to the [`Staging`] that filled it.
#[derive(Debug)]
pub(super) struct Queue {
    first: u16,
    last: u16,
    len: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self { first: NIL, last: NIL, len: 0 }
    }
}

impl Queue {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Debug, Clone, Copy)]
struct Staged {
    /// Whose: bits of a peer's slot.
    owner: u32,
    len: u32,
    /// First chunk.
    chunk: u16,
    /// Next of the same queue, or next free place.
    next: u16,
    older: u16,
    newer: u16,
}

/// The store.
#[derive(Debug)]
pub(super) struct Staging {
    bytes: Box<[u8]>,
    /// Next chunk of a chain.
    chunks: Box<[u16]>,
    free_chunk: u16,
    free_chunks: usize,
    packets: Box<[Staged]>,
    free_packet: u16,
    oldest: u16,
    newest: u16,
}

impl Staging {
    /// Room for `bytes`, rounded down to chunks, at most 16 MiB.
    pub(super) fn new(bytes: usize) -> Self {
        let count = (bytes / CHUNK).min(usize::from(NIL));
        let link = |n: usize| if n + 1 < count { (n + 1) as u16 } else { NIL };
        let staged = |n| Staged { owner: 0, len: 0, chunk: NIL, next: link(n), older: NIL, newer: NIL };
        let first = if count == 0 { NIL } else { 0 };
        Self {
            bytes: vec![0; count * CHUNK].into(),
            chunks: (0..count).map(link).collect(),
            free_chunk: first,
            free_chunks: count,
            packets: (0..count).map(staged).collect(),
            free_packet: first,
            oldest: NIL,
            newest: NIL,
        }
    }

    /// Memory that a store of `bytes` takes.
    pub(super) const fn heap_bytes(bytes: usize) -> usize {
        bytes / CHUNK * (CHUNK + size_of::<u16>() + size_of::<Staged>())
    }

    /// Whether a packet of `len` bytes could ever be stored.
    pub(super) fn holds(&self, len: usize) -> bool {
        len.div_ceil(CHUNK).max(1) <= self.chunks.len()
    }

    /// Whether a packet of `len` bytes can be stored now.
    pub(super) fn fits(&self, len: usize) -> bool {
        len.div_ceil(CHUNK).max(1) <= self.free_chunks
    }

    /// Whose packet is the oldest of all.
    pub(super) fn oldest_owner(&self) -> Option<u32> {
        self.packets.get(usize::from(self.oldest)).map(|staged| staged.owner)
    }

    /// Appends a packet to a queue; false when it does not fit.
    pub(super) fn push(&mut self, queue: &mut Queue, owner: u32, packet: &[u8]) -> bool {
        if !self.fits(packet.len()) {
            return false;
        }
        let at = self.free_packet;
        let Some(free) = self.packets.get(usize::from(at)) else { return false };
        self.free_packet = free.next;
        let chunk = self.write(packet);
        let staged =
            Staged { owner, len: packet.len() as u32, chunk, next: NIL, older: self.newest, newer: NIL };
        self.change(at, |place| *place = staged);
        self.change(self.newest, |place| place.newer = at);
        self.newest = at;
        if self.oldest == NIL {
            self.oldest = at;
        }
        self.change(queue.last, |place| place.next = at);
        if queue.is_empty() {
            queue.first = at;
        }
        queue.last = at;
        queue.len += 1;
        true
    }

    /// Length of a queue's first packet.
    pub(super) fn front_len(&self, queue: &Queue) -> Option<usize> {
        self.packets.get(usize::from(queue.first)).map(|staged| staged.len as usize)
    }

    /// Takes a queue's first packet out, into `to` as far as that reaches. False when the queue is empty.
    pub(super) fn pop(&mut self, queue: &mut Queue, to: &mut [u8]) -> bool {
        let at = queue.first;
        let Some(&staged) = self.packets.get(usize::from(at)) else { return false };
        self.read_and_free(staged, to);
        self.change(staged.older, |place| place.newer = staged.newer);
        self.change(staged.newer, |place| place.older = staged.older);
        if self.oldest == at {
            self.oldest = staged.newer;
        }
        if self.newest == at {
            self.newest = staged.older;
        }
        queue.first = staged.next;
        queue.len = queue.len.saturating_sub(1);
        if staged.next == NIL {
            queue.last = NIL;
        }
        let free = self.free_packet;
        self.change(at, |place| place.next = free);
        self.free_packet = at;
        true
    }

    /// The caller has asked [`fits`](Self::fits).
    fn write(&mut self, packet: &[u8]) -> u16 {
        let first = self.free_chunk;
        let mut last = NIL;
        for n in 0..packet.len().div_ceil(CHUNK).max(1) {
            let piece = packet.get(n * CHUNK..packet.len().min((n + 1) * CHUNK)).unwrap_or_default();
            let at = usize::from(self.free_chunk);
            if let Some(to) = self.bytes.get_mut(at * CHUNK..at * CHUNK + piece.len()) {
                to.copy_from_slice(piece);
            }
            last = self.free_chunk;
            self.free_chunk = self.chunks.get(at).copied().unwrap_or(NIL);
            self.free_chunks = self.free_chunks.saturating_sub(1);
        }
        if let Some(end) = self.chunks.get_mut(usize::from(last)) {
            *end = NIL;
        }
        first
    }

    fn read_and_free(&mut self, staged: Staged, to: &mut [u8]) {
        let len = (staged.len as usize).min(to.len());
        let mut pieces = to.get_mut(..len).unwrap_or_default().chunks_mut(CHUNK);
        let mut chunk = staged.chunk;
        while let Some(next) = self.chunks.get_mut(usize::from(chunk)) {
            if let Some(piece) = pieces.next() {
                let at = usize::from(chunk) * CHUNK;
                if let Some(from) = self.bytes.get(at..at + piece.len()) {
                    piece.copy_from_slice(from);
                }
            }
            let after = *next;
            *next = self.free_chunk;
            self.free_chunk = chunk;
            self.free_chunks += 1;
            chunk = after;
        }
    }

    fn change(&mut self, at: u16, change: impl FnOnce(&mut Staged)) {
        if let Some(place) = self.packets.get_mut(usize::from(at)) {
            change(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Three queues in one store, against plain vectors.
        #[test]
        fn behaves_like_queues(
            chunks in 0usize..9,
            steps in proptest::collection::vec((0u32..3, proptest::option::of(0usize..900)), 0..120),
        ) {
            let mut store = Staging::new(chunks * CHUNK);
            let mut queues: [Queue; 3] = Default::default();
            let mut model: VecDeque<(u32, Vec<u8>)> = VecDeque::new();
            for (n, (owner, push)) in steps.into_iter().enumerate() {
                let queue = &mut queues[owner as usize];
                if let Some(len) = push {
                    let packet = vec![n as u8; len];
                    let used: usize = model.iter().map(|(_, packet)| packet.len().div_ceil(CHUNK).max(1)).sum();
                    let fits = used + len.div_ceil(CHUNK).max(1) <= chunks;
                    prop_assert_eq!(store.push(queue, owner, &packet), fits);
                    if fits {
                        model.push_back((owner, packet));
                    }
                } else {
                    let at = model.iter().position(|(whose, _)| *whose == owner);
                    let want = at.and_then(|at| model.remove(at)).map(|(_, packet)| packet);
                    prop_assert_eq!(store.front_len(queue), want.as_ref().map(Vec::len));
                    let mut packet = vec![0; store.front_len(queue).unwrap_or(3)];
                    prop_assert_eq!(store.pop(queue, &mut packet), want.is_some());
                    if let Some(want) = want {
                        prop_assert_eq!(packet, want);
                    }
                }
                prop_assert_eq!(store.oldest_owner(), model.front().map(|(whose, _)| *whose));
                for owner in 0..3u32 {
                    let count = model.iter().filter(|(whose, _)| *whose == owner).count();
                    prop_assert_eq!(queues[owner as usize].len(), count);
                }
            }
        }
    }
}

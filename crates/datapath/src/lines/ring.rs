//! A bounded ring of records between two threads: one pushes, one pops, neither ever waits.
//!
//! A record is sixteen bytes of head and up to [`u32::MAX`] bytes of body, laid end to end in a ring of bytes. A
//! record that does not fit whole is refused (the caller counts [`RingFull`](crate::drop::DropReason::RingFull));
//! one that is only half written is not visible yet.
//! Leaves out: what heads mean (see [`super::record`]), waking the other side.

use rtrb::chunks::ReadChunk;
use rtrb::{Consumer, Producer, RingBuffer};

const HEAD: usize = 16;

/// The fixed part of a record; what the fields mean is between the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// What kind of record.
    pub kind: u32,
    /// First word of its meaning.
    pub a: u32,
    /// Second word of its meaning.
    pub b: u32,
}

/// The pushing end.
#[derive(Debug)]
pub struct RecordProducer(Producer<u8>);

/// The popping end.
#[derive(Debug)]
pub struct RecordConsumer(Consumer<u8>);

/// A ring of `bytes` bytes, heads included.
pub fn records(bytes: usize) -> (RecordProducer, RecordConsumer) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (RecordProducer(producer), RecordConsumer(consumer))
}

impl RecordProducer {
    /// Appends a record whose body is the parts in order. False, and nothing appended, when it does not fit.
    pub fn push(&mut self, head: Head, parts: &[&[u8]]) -> bool {
        self.push_sparing(0, head, parts)
    }

    /// The same for a record that may not take the last `spare` bytes of room.
    pub fn push_sparing(&mut self, spare: usize, head: Head, parts: &[&[u8]]) -> bool {
        let Some(body) = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len())) else {
            return false;
        };
        let (Some(total), Ok(len)) = (body.checked_add(HEAD), u32::try_from(body)) else { return false };
        if self.0.slots() < total.saturating_add(spare) {
            return false;
        }
        let mut bytes = [0u8; HEAD];
        for (place, word) in bytes.chunks_exact_mut(4).zip([len, head.kind, head.a, head.b]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        // The pieces become visible one by one; the popping end waits for the last of them.
        let mut whole = self.0.push_entire_slice(&bytes).is_ok();
        for part in parts {
            whole &= self.0.push_entire_slice(part).is_ok();
        }
        whole
    }
}

/// A record at the front of a ring. It stays there until [`Record::consume`].
#[derive(Debug)]
pub struct Record<'a> {
    /// Its head.
    pub head: Head,
    chunk: ReadChunk<'a, u8>,
    len: usize,
}

impl RecordConsumer {
    /// Bytes that can be popped now; what was pushed before this call is in it.
    pub fn pending(&self) -> usize {
        self.0.slots()
    }

    /// The record at the front, if a whole one is there.
    pub fn front(&mut self) -> Option<Record<'_>> {
        let chunk = self.0.read_chunk(HEAD).ok()?;
        let mut words = [0u32; 4];
        let (first, second) = chunk.as_slices();
        let mut bytes = first.iter().chain(second);
        for word in &mut words {
            let mut quad = [0u8; 4];
            for (place, byte) in quad.iter_mut().zip(&mut bytes) {
                *place = *byte;
            }
            *word = u32::from_ne_bytes(quad);
        }
        let [len, kind, a, b] = words;
        let len = len as usize;
        let chunk = self.0.read_chunk(len.checked_add(HEAD)?).ok()?;
        Some(Record { head: Head { kind, a, b }, chunk, len })
    }

    /// Moves the record at the front into `body` (cleared first), if a whole one is there.
    pub fn pop(&mut self, body: &mut Vec<u8>) -> Option<Head> {
        let record = self.front()?;
        let head = record.head;
        body.clear();
        let (first, second) = record.body();
        body.extend_from_slice(first);
        body.extend_from_slice(second);
        record.consume();
        Some(head)
    }
}

impl Record<'_> {
    /// Bytes of the body.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the record takes up in the ring.
    pub fn footprint(&self) -> usize {
        self.len + HEAD
    }

    /// The body, in two pieces where it runs over the end of the ring.
    pub fn body(&self) -> (&[u8], &[u8]) {
        let (first, second) = self.chunk.as_slices();
        match first.split_at_checked(HEAD) {
            Some((_, rest)) => (rest, second),
            None => (second.get(HEAD - first.len()..).unwrap_or_default(), &[]),
        }
    }

    /// Copies the body from `offset` on into `to`; false when it has fewer bytes than that.
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> bool {
        let (first, second) = self.body();
        match offset.checked_add(to.len()) {
            Some(end) if end <= self.len => (),
            _ => return false,
        }
        let (first, second) = match first.split_at_checked(offset) {
            Some((_, rest)) => (rest, second),
            None => (second.get(offset - first.len()..).unwrap_or_default(), &[][..]),
        };
        let cut = first.len().min(to.len());
        let (head, tail) = to.split_at_mut(cut);
        let (Some(from), Some(rest)) = (first.get(..cut), second.get(..tail.len())) else { return false };
        head.copy_from_slice(from);
        tail.copy_from_slice(rest);
        true
    }

    /// Removes the record from the ring.
    pub fn consume(self) {
        self.chunk.commit_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn refuses_what_does_not_fit_whole() {
        let (mut tx, mut rx) = records(40);
        let head = Head { kind: 1, a: 2, b: 3 };
        assert!(!tx.push(head, &[&[0; 25]]));
        assert!(tx.push(head, &[&[1; 12], &[2; 12]]));
        assert!(!tx.push(head, &[]));
        let mut body = Vec::new();
        assert_eq!(rx.pop(&mut body), Some(head));
        assert_eq!(body, [[1; 12], [2; 12]].concat());
        assert_eq!(rx.pop(&mut body), None);
    }

    #[test]
    fn a_record_without_its_body_is_not_visible() {
        let (mut tx, mut rx) = records(64);
        let mut head = [0u8; HEAD];
        head[..4].copy_from_slice(&5u32.to_ne_bytes());
        tx.0.push_entire_slice(&head).expect("room");
        assert!(rx.front().is_none());
        tx.0.push_entire_slice(b"hell").expect("room");
        assert!(rx.front().is_none());
        tx.0.push_entire_slice(b"o").expect("room");
        assert_eq!(rx.front().map(|record| record.len()), Some(5));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Head, Vec<u8>, usize),
        Pop,
        CopyFront(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let head = any::<(u32, u32, u32)>().prop_map(|(kind, a, b)| Head { kind, a, b });
        prop_oneof![
            3 => (head, proptest::collection::vec(any::<u8>(), 0..90), 0usize..90)
                .prop_map(|(head, body, cut)| Step::Push(head, body, cut)),
            2 => Just(Step::Pop),
            1 => (0usize..100, 0usize..100).prop_map(|(offset, len)| Step::CopyFront(offset, len)),
        ]
    }

    proptest! {
        /// Whatever the sizes and however often the ring wraps: records come out whole, in order, or were refused.
        #[test]
        fn behaves_like_a_queue(size in 16usize..220, steps in proptest::collection::vec(step(), 1..200)) {
            let (mut tx, mut rx) = records(size);
            let mut model: VecDeque<(Head, Vec<u8>)> = VecDeque::new();
            for step in steps {
                let used: usize = model.iter().map(|(_, body)| body.len() + HEAD).sum();
                prop_assert_eq!(rx.pending(), used);
                match step {
                    Step::Push(head, body, cut) => {
                        let fits = used + body.len() + HEAD <= size;
                        let (left, right) = body.split_at(cut.min(body.len()));
                        prop_assert_eq!(tx.push(head, &[left, right]), fits);
                        if fits {
                            model.push_back((head, body));
                        }
                    }
                    Step::Pop => {
                        let mut body = vec![7; 3];
                        let head = rx.pop(&mut body);
                        prop_assert_eq!(head.map(|head| (head, body)), model.pop_front());
                    }
                    Step::CopyFront(offset, len) => {
                        let Some((_, body)) = model.front() else {
                            prop_assert!(rx.front().is_none());
                            continue;
                        };
                        let record = rx.front().expect("a record");
                        let mut copy = vec![0; len];
                        let want = body.get(offset..offset + len);
                        prop_assert_eq!(record.copy_to(offset, &mut copy), want.is_some());
                        if let Some(want) = want {
                            prop_assert_eq!(&copy[..], want);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn between_two_threads() {
        let (mut tx, mut rx) = records(700);
        let writer = std::thread::spawn(move || {
            for n in 0..20_000u32 {
                let body = vec![n as u8; (n % 97) as usize];
                while !tx.push(Head { kind: n, a: 0, b: !n }, &[&body]) {
                    std::thread::yield_now();
                }
            }
        });
        let mut body = Vec::new();
        for n in 0..20_000u32 {
            let head = loop {
                match rx.pop(&mut body) {
                    Some(head) => break head,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(head, Head { kind: n, a: 0, b: !n });
            assert_eq!(body, vec![n as u8; (n % 97) as usize]);
        }
        writer.join().expect("writer");
    }
}

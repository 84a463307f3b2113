//! Bytes that nobody in his right mind sends: no panic, and no answer larger than a question allows.

mod common;

use common::{Asked, config, forwarding, resolver};
use dns::message::{self, Query};
use dns::{Answer, Transport};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use proptest::prelude::*;

/// What an answer of ours can be at most: header, question, one record with a name, all of full length.
const MOST: usize = 12 + 259 + 12 + 255;

/// Every reply is read by the oracle, belongs to its query and is small.
fn judge(bytes: &[u8]) {
    let (closed, open) = (resolver(config()), forwarding("192.0.2.1"));
    for transport in [Transport::Udp, Transport::Tcp] {
        for resolver in [&closed, &open] {
            match resolver.answer(bytes, transport, 1) {
                Answer::Reply(reply) => {
                    assert!(reply.len() <= MOST, "{}", reply.len());
                    let read = Message::from_vec(&reply).expect("the oracle reads it");
                    assert_eq!(read.metadata.id, message::id(bytes));
                    assert!(read.answers.len() <= 1 && read.authorities.len() <= 1);
                }
                Answer::Ask(steps) => assert!(!steps.is_empty()),
                Answer::Silence => assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
            }
        }
    }
    let mut copy = bytes.to_vec();
    message::clamp_size(&mut copy);
    message::set_id(&mut copy, 1);
    assert!(copy.len() == bytes.len() && message::size(&copy) <= 4095);
}

proptest! {
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        judge(&bytes);
    }

    #[test]
    fn random_bodies_behind_a_header(body in proptest::collection::vec(any::<u8>(), 0..400), counts in any::<[u8; 8]>()) {
        let mut bytes = vec![1, 2, 1, 0];
        bytes.extend(counts);
        bytes.extend(body);
        judge(&bytes);
    }

    #[test]
    fn good_queries_with_a_few_bytes_changed(
        name in "[a-c_.-]{0,20}(\\.tail1\\.ts\\.net|\\.in-addr\\.arpa|\\.onion|)",
        kind in any::<u16>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        if let Some(name) = dns::name::canonical(&name) {
            let mut bytes = Asked::new("x.", RecordType::from(kind)).bytes();
            let tail = bytes.split_off(12);
            for label in name.split('.').filter(|label| !label.is_empty()) {
                bytes.push(label.len() as u8);
                bytes.extend(label.bytes());
            }
            bytes.extend(&tail[2..]);
            judge(&bytes);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                judge(&bytes);
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            judge(&bytes);
        }
    }

    /// An answer with anything changed in number or question is nobody's.
    #[test]
    fn answers_that_are_not_ours(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        more in proptest::collection::vec(any::<u8>(), 0..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let asked = Asked::new("www.example.com.", RecordType::A).bytes();
        let end = asked.len();
        let mut bytes = [&asked[..], &more].concat();
        bytes[2] |= 0x80;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(end.min(12) + cut.index(bytes.len()));
        let ours = bytes.len() >= end
            && bytes[..2] == asked[..2]
            && bytes[2] & 0x80 != 0
            && bytes[4..6] != [0, 0]
            && bytes[12..end - 4].eq_ignore_ascii_case(&asked[12..end - 4])
            && bytes[end - 4..end] == asked[end - 4..];
        let bare = bytes.len() >= 12 && bytes[..2] == asked[..2] && bytes[4..12] == [0; 8] && bytes[3] & 15 != 0;
        let verdict = dns::race::judge(&asked, end, &bytes);
        prop_assert!(ours || bare || verdict == dns::race::Verdict::Foreign, "{:?}", bytes);
        prop_assert!(!ours || verdict != dns::race::Verdict::Foreign, "{:?}", bytes);
    }

    /// What the oracle can read as a query, we read alike.
    #[test]
    fn both_read_the_same_question(labels in proptest::collection::vec("[a-zA-Z0-9_-]{1,63}", 0..6), kind in 1_u16..300) {
        let name = labels.join(".") + ".";
        if let Ok(wire) = hickory_proto::rr::Name::from_ascii(&name) {
            let bytes = Asked::new(&wire.to_string(), RecordType::from(kind)).bytes();
            let query = Query::parse(&bytes).expect("reads");
            prop_assert_eq!(query.kind, kind);
            let lower = name.to_lowercase();
            prop_assert_eq!(query.name.bytes(), lower.trim_end_matches('.').as_bytes());
            prop_assert_eq!(query.question_end, bytes.len());
        }
    }
}

/// A pointer in a question has nothing to point at; a name of pointers only would be endless.
#[test]
fn loops_of_compression() {
    for pointer in [0_u16, 2, 12, 13, 14, 20, 0x3fff] {
        for front in [&b""[..], b"\x01a", b"\x01a\x01b"] {
            let pointer = (0xc000 | pointer).to_be_bytes();
            judge(&[&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], front, &pointer, &[0, 1, 0, 1]].concat());
        }
    }
}

/// Names of every length up to more than there may be, of labels of every length.
#[test]
fn names_of_every_length() {
    for length in 1..=63_usize {
        for count in 0..130 {
            let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for _ in 0..count {
                bytes.push(length as u8);
                bytes.extend(std::iter::repeat_n(b'a', length));
            }
            bytes.extend([0, 0, 1, 0, 1]);
            let fits = count * (length + 1) < 255;
            assert_eq!(Query::parse(&bytes).is_ok(), fits, "{count} of {length}");
            if count % 16 == 0 {
                judge(&bytes);
            }
        }
    }
}

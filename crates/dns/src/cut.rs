//! What is left of a forwarded answer that is too long for the asker's datagram: enough to make him ask again by TCP.
//!
//! Leaves out: the mark alone, which [`mark_truncated`](crate::message::mark_truncated) makes by a size that it may not know.

use crate::message::{HEADER, LARGEST, PLAIN_SIZE, kind, set_truncated, word};

/// The bit of an EDNS record's flags that asks for signatures (RFC 3225), which is echoed.
const WANTS_SIGNATURES: u8 = 0x80;

/// The EDNS record of a query, whatever its options: its first nine bytes. Nothing comes between it and the question.
fn asked_edns(query: &[u8], question_end: usize) -> Option<&[u8; 9]> {
    let record: &[u8; 9] = query.get(question_end..)?.first_chunk()?;
    let next = word(query, 4) == Some(1) && query.get(6..10)? == [0; 4] && word(query, 10) != Some(0);
    (next && record[0] == 0 && record[1..3] == kind::OPT.to_be_bytes()).then_some(record)
}

/// Where an answer is larger than the asker takes in a datagram, leaves header and question of it, marked as truncated, with an
/// EDNS record of ours if the asker sent one (RFC 6891 §6.1.1). Who names less than 512 bytes takes 512 (§6.2.3).
/// `question_end` is where the query's first question ends; the answer is one to it.
pub(crate) fn cut(reply: &mut Vec<u8>, query: &[u8], question_end: usize) {
    let edns = asked_edns(query, question_end);
    let size = edns.map_or(PLAIN_SIZE, |record| u16::from_be_bytes([record[3], record[4]]).max(PLAIN_SIZE));
    let Some(question) = query.get(HEADER..question_end) else { return };
    if reply.len() <= usize::from(size).min(LARGEST) {
        return;
    }
    // Number and flags.
    reply.truncate(4);
    set_truncated(reply);
    for count in [1, 0, 0, u16::from(edns.is_some())] {
        reply.extend_from_slice(&count.to_be_bytes());
    }
    reply.extend_from_slice(question);
    if let Some(record) = edns {
        // Of the root, our size, version 0, no options.
        reply.push(0);
        for word in [kind::OPT, LARGEST as u16, 0, u16::from(record[7] & WANTS_SIGNATURES) << 8, 0] {
            reply.extend_from_slice(&word.to_be_bytes());
        }
    }
}

//! An answer that is too long for its datagram, as one that says so: header and question, for who asks to come back by TCP.
//!
//! Owns: where the question of a DNS message ends. Leaves out: every other meaning, and EDNS, which is left away with the rest.

/// Bytes of a header.
const HEADER: usize = 12;
/// The bit of the third byte that says "truncated".
const TRUNCATED: u8 = 2;

/// Header and question of `answer`, marked as truncated; the header alone if no single question can be read.
pub(crate) fn cut(answer: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; HEADER] = answer.first_chunk()?;
    let question = (header[4..6] == [0, 1]).then(|| question(answer)).flatten();
    let mut cut = header.to_vec();
    cut.truncate(4);
    if let Some(flags) = cut.get_mut(2) {
        *flags |= TRUNCATED;
    }
    cut.extend_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    cut.extend_from_slice(question.unwrap_or_default());
    Some(cut)
}

/// The first question: a name without pointers, kind and class.
fn question(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => return message.get(HEADER..at + 5),
            length @ 1..64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

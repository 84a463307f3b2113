//! Netlink attributes: writing them one by one behind a head, and reading them.
//!
//! Leaves out what they mean. The codec's types for whole messages would bring every kind of link, tunnel and
//! expression into the binary; a writer of bytes is all that is needed.

use netlink_packet_core::{Emitable, NlasIterator};

/// The bit that says that a value is attributes itself.
pub(crate) const NESTED: u16 = 0x8000;

const HEADER: usize = 4;

/// A message's body in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    /// Starts with `head`.
    pub(crate) fn new(head: &dyn Emitable) -> Self {
        let mut bytes = vec![0; head.buffer_len()];
        head.emit(&mut bytes);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn add(&mut self, kind: u16, value: &[u8]) {
        let at = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(at);
    }

    /// Starts an attribute that holds others; give what is returned to [`Self::close`].
    pub(crate) fn open(&mut self, kind: u16) -> usize {
        let at = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    /// Ends an attribute.
    pub(crate) fn close(&mut self, at: usize) {
        let len = self.0.len().saturating_sub(at) as u16;
        if let Some(place) = self.0.get_mut(at..at + 2) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.0.resize(self.0.len().next_multiple_of(HEADER), 0);
    }
}

/// Calls `each` with kind (without the bit [`NESTED`]) and value of every attribute after a head of `head` bytes.
pub(crate) fn attributes(payload: &[u8], head: usize, each: &mut dyn FnMut(u16, &[u8])) {
    let rest = payload.get(head..).unwrap_or_default();
    for attribute in NlasIterator::new(rest).map_while(Result::ok) {
        each(attribute.kind() & !NESTED, attribute.value());
    }
}

/// A number in the machine's byte order.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut body = Body::default();
        body.add(1, b"abc");
        let nest = body.open(2 | NESTED);
        body.add(3, &7_u32.to_ne_bytes());
        body.close(nest);
        assert_eq!(body.0.len(), 8 + 12);
        let mut seen = Vec::new();
        attributes(&body.0, 0, &mut |kind, value| seen.push((kind, value.to_vec())));
        assert_eq!(seen[0], (1, b"abc".to_vec()));
        assert_eq!(seen[1].0, 2);
        let mut inner = None;
        attributes(&seen[1].1, 0, &mut |kind, value| inner = Some((kind, number(value))));
        assert_eq!(inner, Some((3, Some(7))));
        // Cut short anywhere: fewer attributes, no panic.
        for end in 0..body.0.len() {
            attributes(&body.0[..end], 0, &mut |_, _| {});
        }
    }
}

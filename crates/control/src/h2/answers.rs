//! What the server sends in answer to a request: HEADERS, CONTINUATION and DATA.

use super::frame::{self, *};
use super::hpack::Fault;
use super::requests::End;
use super::session::{Broken, Session, wrong};

/// Longest header block as it is sent, in bytes, and in frames.
pub(super) const BLOCK: usize = 16 << 10;
const BLOCK_FRAMES: u32 = 16;

/// The head of an answer: what of it anybody asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// HTTP status.
    pub(crate) status: u16,
    /// `Date`, or empty.
    pub(crate) date: String,
    /// `Retry-After`, or empty.
    pub(crate) retry_after: String,
}

/// A header block of which more is to come.
pub(super) struct Block {
    pub(super) stream: u32,
    bytes: Vec<u8>,
    frames: u32,
    /// The stream ends with it.
    last: bool,
}

impl Session {
    /// Takes a HEADERS frame.
    pub(super) fn headers(&mut self, head: frame::Head, payload: &[u8]) -> Result<(), Broken> {
        let mut bytes = payload;
        if head.has(PADDED) {
            let cut = bytes
                .split_first()
                .and_then(|(&padding, rest)| rest.get(..rest.len().checked_sub(usize::from(padding))?));
            let Some(cut) = cut else { return wrong("more padding than frame") };
            bytes = cut;
        }
        if head.has(WITH_PRIORITY) {
            let Some(cut) = bytes.get(5..) else { return wrong("a priority cut short") };
            bytes = cut;
        }
        self.block =
            Some(Block { stream: head.stream, bytes: Vec::new(), frames: 0, last: head.has(END_STREAM) });
        self.more_headers(head, bytes)
    }

    /// Takes the next piece of a header block, and with the last one what the block says.
    pub(super) fn more_headers(&mut self, head: frame::Head, bytes: &[u8]) -> Result<(), Broken> {
        let Some(mut block) = self.block.take() else { return Ok(()) };
        block.frames += 1;
        if block.bytes.len() + bytes.len() > BLOCK || block.frames > BLOCK_FRAMES {
            return Err(Broken(ENHANCE_YOUR_CALM, "headers that are too long"));
        }
        block.bytes.extend_from_slice(bytes);
        if !head.has(END_HEADERS) {
            self.block = Some(block);
            return Ok(());
        }
        let mut answer = Head::default();
        let each = &mut |name: &[u8], value: &[u8]| {
            let value = String::from_utf8_lossy(value);
            match name {
                b":status" if value.len() == 3 => answer.status = value.parse().unwrap_or_default(),
                b"date" => answer.date = value.into_owned(),
                b"retry-after" => answer.retry_after = value.into_owned(),
                _ => {}
            }
        };
        self.decoder.decode(&block.bytes, each).map_err(|fault| match fault {
            Fault::Malformed => Broken(COMPRESSION_ERROR, "headers that are no headers"),
            Fault::TooLong => Broken(ENHANCE_YOUR_CALM, "headers that are too long"),
        })?;
        let Some(request) = self.stream(block.stream) else { return Ok(()) };
        if request.end.is_some() {
            return wrong("headers behind an answer");
        }
        match (&request.head, answer.status) {
            // Before the answer there may be others about it.
            (None, 100..200) if !block.last => return Ok(()),
            (None, 200..) => request.head = Some(answer),
            (Some(_), 0) if block.last => {}
            _ => return wrong("an answer without a status, or in pieces"),
        }
        match block.last {
            true => request.finish(End::Whole),
            false => request.wake(),
        }
        Ok(())
    }

    /// Counts a DATA frame against the windows.
    pub(super) fn begin_data(&mut self, head: frame::Head) -> Result<(), Broken> {
        let length = head.length as u32;
        let mut room = self.room.checked_sub(length);
        if let Some(request) = self.stream(head.stream) {
            if request.head.is_none() || request.end.is_some() {
                return wrong("data before or behind an answer");
            }
            match request.room.checked_sub(length) {
                Some(left) => request.room = left,
                None => room = None,
            }
        }
        self.room = room.ok_or(Broken(FLOW_CONTROL_ERROR, "more data than there is room for"))?;
        self.data_left = (!head.has(PADDED)).then_some(head.length);
        match head.has(PADDED) && head.length == 0 {
            true => Err(Broken(FRAME_SIZE_ERROR, "padding of no length")),
            false => Ok(()),
        }
    }

    /// The next bytes of a DATA frame.
    pub(super) fn data(&mut self, head: frame::Head, now: &[u8]) -> Result<(), Broken> {
        let mut body = now;
        let left = match (self.data_left, now.split_first()) {
            (Some(left), _) => left,
            (None, Some((&padding, rest))) => {
                body = rest;
                match (head.length - 1).checked_sub(usize::from(padding)) {
                    Some(left) => left,
                    None => return wrong("more padding than frame"),
                }
            }
            (None, None) => return Ok(()),
        };
        let body = body.get(..left).unwrap_or(body);
        self.data_left = Some(left - body.len());
        let mut nobodys = now.len();
        if let Some(request) = self.stream(head.stream) {
            request.push(body);
            nobodys -= body.len();
            // Padding is read by being skipped.
            request.read += nobodys as u32;
        }
        self.read += nobodys as u32;
        self.tell_room();
        Ok(())
    }
}

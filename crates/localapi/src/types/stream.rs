//! Writes a status one peer at a time, so that the document is never in memory as a whole.

use super::notify::Notify;
use super::status::{PeerStatus, Status};
use gojson::{Indent, append};

/// Produces the text of a [`Status`] in three steps: everything before the peers, each peer, the rest.
#[derive(Debug)]
pub struct StatusWriter {
    indent: Indent,
    rest: Vec<u8>,
    started: bool,
}

impl StatusWriter {
    /// Appends the part before the peers to `out`. `head.peer` is not looked at.
    pub fn begin(head: &mut Status, indent: Indent, out: &mut Vec<u8>) -> Self {
        head.peer.clear();
        let mut text = Vec::new();
        append(&mut text, head, indent, 0);
        // The last match is the member itself: what follows it (users, version) holds no raw JSON, and inside
        // a string the quotes would be escaped.
        let empty: &[u8] = if indent == Indent::None { b"\"Peer\":null" } else { b"\"Peer\": null" };
        let at = text.windows(empty.len()).rposition(|window| window == empty).unwrap_or(0);
        let rest = text.split_off((at + empty.len()).min(text.len()));
        text.truncate(text.len().saturating_sub(b"null".len()));
        out.append(&mut text);
        Self { indent, rest, started: false }
    }

    /// Appends one peer to `out`.
    pub fn peer(&mut self, peer: &PeerStatus, out: &mut Vec<u8>) {
        out.push(if self.started { b',' } else { b'{' });
        self.started = true;
        self.line(2, out);
        append(out, &peer.public_key, Indent::None, 0);
        out.extend_from_slice(if self.indent == Indent::None { b":" } else { b": " });
        append(out, peer, self.indent, 2);
    }

    /// Appends the rest to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if self.started {
            self.line(1, out);
            out.push(b'}');
        } else {
            out.extend_from_slice(b"null");
        }
        out.append(&mut self.rest);
    }

    fn line(&self, depth: usize, out: &mut Vec<u8>) {
        let indent: &[u8] = match self.indent {
            Indent::None => return,
            Indent::Tab => b"\t",
            Indent::TwoSpaces => b"  ",
        };
        out.push(b'\n');
        for _ in 0..depth {
            out.extend_from_slice(indent);
        }
    }
}

/// Produces one line of the bus whose `InitialStatus` is written peer by peer.
#[derive(Debug)]
pub struct NotifyStatusWriter(StatusWriter);

impl NotifyStatusWriter {
    /// Appends the part before the peers to `out`. `notify.initial_status` is not looked at.
    pub fn begin(notify: &mut Notify, head: &mut Status, out: &mut Vec<u8>) -> Self {
        notify.initial_status = None;
        append(out, notify, Indent::None, 0);
        // A notification always has members, so what is cut is the brace that closes it.
        out.truncate(out.len().saturating_sub(1));
        out.extend_from_slice(b",\"InitialStatus\":");
        Self(StatusWriter::begin(head, Indent::None, out))
    }

    /// Appends one peer to `out`.
    pub fn peer(&mut self, peer: &PeerStatus, out: &mut Vec<u8>) {
        self.0.peer(peer, out);
    }

    /// Appends the rest and the newline to `out`.
    pub fn finish(self, out: &mut Vec<u8>) {
        self.0.finish(out);
        out.extend_from_slice(b"}\n");
    }
}

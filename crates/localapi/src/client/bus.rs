//! The bus: one message a line, as long as the daemon keeps the connection.

use super::call::BodyStream;
use crate::error::Error;
use crate::types::Notify;
use bytes::BytesMut;

/// The longest message: a whole map of a large tailnet.
const MAX_LINE: usize = 64 << 20;

/// A subscription to the bus; dropping it ends it.
#[derive(Debug)]
pub struct BusWatcher {
    stream: BodyStream,
    pending: BytesMut,
    /// How much of `pending` is known to hold no newline.
    searched: usize,
}

impl BusWatcher {
    pub(super) fn new(stream: BodyStream) -> Self {
        Self { stream, pending: BytesMut::new(), searched: 0 }
    }

    /// The next message; `None` when the daemon has closed the bus. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Notify>, Error> {
        while let Some(line) = self.next_line().await? {
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return gojson::from_slice(&line).map(Some).map_err(|error| self.failure(error.to_string()));
            }
        }
        Ok(None)
    }

    /// The next message as the daemon wrote it, for showing it unread.
    pub async fn next_line(&mut self) -> Result<Option<BytesMut>, Error> {
        loop {
            let fresh = self.pending.get(self.searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let length = self.searched.saturating_add(at).saturating_add(1);
                self.searched = 0;
                return Ok(Some(self.pending.split_to(length)));
            }
            self.searched = self.pending.len();
            let Some(data) = self.stream.next().await? else {
                self.searched = 0;
                let rest = self.pending.split();
                return Ok((!rest.is_empty()).then_some(rest));
            };
            if data.len() > MAX_LINE.saturating_sub(self.pending.len()) {
                return Err(self.failure(format!("a message is larger than {MAX_LINE} bytes")));
            }
            self.pending.extend_from_slice(&data);
        }
    }

    fn failure(&self, cause: String) -> Error {
        Error::Decode { path: self.stream.path().to_owned(), cause }
    }
}

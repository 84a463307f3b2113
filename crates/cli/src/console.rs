//! The two streams of a command. A write that fails is remembered and becomes the exit status.

use std::io::{ErrorKind, Write};

use crate::render::plain;

/// Standard output for results, standard error for everything else.
pub(crate) struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    failed: Option<std::io::Error>,
}

impl<'a> Console<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, failed: None }
    }

    /// Writes `text` to standard output, in one write, without what a terminal would obey.
    pub(crate) fn say(&mut self, text: &str) {
        self.say_bytes(plain::text(text).as_bytes());
    }

    /// The same for JSON, as it is.
    pub(crate) fn say_json(&mut self, json: &str) {
        self.say_bytes(json.as_bytes());
    }

    /// The same for bytes of any kind, as they are.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// Writes `text` to standard error, in one write, without what a terminal would obey.
    pub(crate) fn note(&mut self, text: &str) {
        // Nobody is left to tell when this fails.
        let _ = self.err.write_all(plain::text(text).as_bytes()).and_then(|()| self.err.flush());
    }

    /// Whether the reader of standard output has gone away.
    pub(crate) fn deaf(&self) -> bool {
        self.failed.is_some()
    }

    /// The exit status, given the one that the command would have.
    pub(crate) fn finish(mut self, status: i32) -> i32 {
        let Some(error) = self.failed.take() else { return status };
        // `tailscale status | head` is no mistake worth a line.
        if error.kind() != ErrorKind::BrokenPipe {
            self.note(&format!("cannot write the output: {error}\n"));
        }
        status.max(1)
    }
}

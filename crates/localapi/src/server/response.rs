//! Answers: whole, or streamed through a bounded channel.

use crate::types::{Indent, Map, to_go_json};
use bytes::Bytes;
use gojson::Value;
use http1::Content;
use tokio::sync::mpsc;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; empty = none.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body. What happens when the channel of a stream is full is the sender's choice: the daemon never waits for
    /// a reader.
    pub body: Content,
}

impl Response {
    /// `status` without a body.
    pub const fn empty(status: u16) -> Self {
        Self { status, content_type: "", headers: Vec::new(), body: Content::Full(Bytes::new()) }
    }

    /// 200 with text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self { content_type: TEXT, body: Content::Full(text.into()), ..Self::empty(200) }
    }

    /// 200 with JSON and the newline that Go's encoder puts after it.
    pub fn json(value: &dyn Value, indent: Indent) -> Self {
        let mut text = to_go_json(value, indent);
        text.push('\n');
        Self { content_type: JSON, body: Content::Full(text.into()), ..Self::empty(200) }
    }

    /// 200 with JSON that is produced bit by bit.
    pub fn stream(chunks: mpsc::Receiver<Bytes>) -> Self {
        Self { content_type: JSON, body: Content::Stream(chunks), ..Self::empty(200) }
    }

    /// An error in plain text.
    pub fn error(status: u16, text: &str) -> Self {
        Self { status, ..Self::text(format!("{text}\n")) }
    }

    /// An error as `{"Error":"…"}`: settings and preference checks.
    pub fn error_json(status: u16, text: &str) -> Self {
        Self { status, ..Self::json(&Map::from([("Error", text)]), Indent::None) }
    }

    /// 500 with `{"error":"…"}`: pings and exit-node suggestions.
    pub fn failure_json(text: &str) -> Self {
        Self { status: 500, ..Self::json(&Map::from([("error", text)]), Indent::None) }
    }

    /// 404 as for an unknown endpoint: what a build without the feature answers.
    pub fn not_found() -> Self {
        Self::error(404, "404 page not found")
    }
}

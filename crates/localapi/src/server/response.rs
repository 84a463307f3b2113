//! Answers: whole, or streamed through a bounded channel.

use crate::types::{Indent, to_go_json};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Full(Bytes),
    /// As it comes; the sender finds the channel closed once the client is gone. What happens when the channel
    /// is full is the sender's choice: the daemon never waits for a reader.
    Stream(mpsc::Receiver<Bytes>),
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; empty = none.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

impl Response {
    /// `status` without a body.
    pub const fn empty(status: u16) -> Self {
        Self { status, content_type: "", headers: Vec::new(), body: Body::Full(Bytes::new()) }
    }

    /// 200 with text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self { content_type: TEXT, body: Body::Full(text.into()), ..Self::empty(200) }
    }

    /// 200 with JSON and the newline that Go's encoder puts after it.
    pub fn json<T: Serialize + ?Sized>(value: &T, indent: Indent) -> Self {
        let mut text = to_go_json(value, indent);
        text.push('\n');
        Self { content_type: JSON, body: Body::Full(text.into()), ..Self::empty(200) }
    }

    /// 200 with JSON that is produced bit by bit.
    pub fn stream(chunks: mpsc::Receiver<Bytes>) -> Self {
        Self { content_type: JSON, body: Body::Stream(chunks), ..Self::empty(200) }
    }

    /// An error in plain text.
    pub fn error(status: u16, text: &str) -> Self {
        Self { status, ..Self::text(format!("{text}\n")) }
    }

    /// An error as `{"Error":"…"}`: settings and preference checks.
    pub fn error_json(status: u16, text: &str) -> Self {
        Self { status, ..Self::json(&std::collections::BTreeMap::from([("Error", text)]), Indent::None) }
    }

    /// 500 with `{"error":"…"}`: pings and exit-node suggestions.
    pub fn failure_json(text: &str) -> Self {
        Self { status: 500, ..Self::json(&std::collections::BTreeMap::from([("error", text)]), Indent::None) }
    }

    /// 404 as for an unknown endpoint: what a build without the feature answers.
    pub fn not_found() -> Self {
        Self::error(404, "404 page not found")
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(chunks) => {
                chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

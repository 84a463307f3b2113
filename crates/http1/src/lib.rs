//! HTTP/1.1 over any byte stream: the one implementation behind the LocalAPI, the requests to gateways and the
//! upgrades of control and relays.
//!
//! Owns: heads (split by `httparse`), how long a body is and where it ends, chunks in both directions, keep-alive, and
//! the limits that bound what the other side can make us hold.
//! Leaves out: opening connections, TLS, redirects, compression, caching, and every deadline of a client, which its
//! caller sets.
//!
//! `head` and `body` are pure; [`Reader`] is the buffer between them and a stream. [`ask`] is the client, [`serve`] the
//! server. Streams are passed as `&mut dyn Stream`, so that all of this is compiled once.
//!
//! What could be read in two ways is refused: two lengths, a length beside chunks, a folded line, a transfer coding
//! that is not `chunked` (RFC 9112 §5.2, §6.3, §11.2).

mod body;
mod client;
mod head;
mod method;
mod reader;
mod server;
mod writer;

#[cfg(test)]
mod tests;

pub use body::Body;
pub use client::{Response, ask};
pub use head::{Headers, Request};
pub use method::Method;
pub use reader::Reader;
pub use server::{Answer, Content, Limits, Service, serve};
pub use writer::{Head, reason};

use std::io;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// A future that stays on its thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin + ?Sized> Stream for T {}

/// Why a message did not arrive whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side hung up without a byte of an answer.
    #[error("the connection was closed before an answer came")]
    Unanswered,
    /// The other side hung up in the middle of a message.
    #[error("the connection was closed in the middle of a message")]
    Cut,
    /// This is no HTTP/1, or can be read in two ways.
    #[error("not understood as HTTP/1: {0}")]
    Malformed(&'static str),
    /// A head beyond its limit.
    #[error("a head with more than {0} bytes or too many lines")]
    HeadTooLong(usize),
    /// A body beyond the limit, in bytes.
    #[error("a body of more than {0} bytes")]
    BodyTooLong(usize),
    /// A target or a header value that would not stay in its line.
    #[error("a request line or header that cannot be sent: it must be printable ASCII")]
    Unsendable,
}

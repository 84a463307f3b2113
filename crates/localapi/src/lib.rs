//! The LocalAPI: how the command line and other programs talk to the daemon over a unix socket.
//!
//! Owns: every type of the interface with the JSON that Go's client and daemon write ([`types`]), the client
//! ([`client`]) and the server's framing and access rules ([`server`]).
//! Leaves out: what a request does; the daemon decides that behind [`server::Handler`].

pub mod client;
mod error;
pub mod server;
pub mod types;

pub use bytes::Bytes;
pub use error::Error;
pub use http1::{Headers, Method};

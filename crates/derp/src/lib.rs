//! DERP relay client over an injected dialler.
//!
//! Owns: the frames, the handshake, one connection a region, which regions are connected when ([`Pool`]), and how far regions are
//! over HTTPS ([`measure`]).
//! Leaves out: opening sockets and TLS (`dial`), which region is home and which region a peer is reached
//! through (the caller decides), and what the relayed packets mean.
//!
//! Everything runs on the control thread inside a tokio `LocalSet`. Received packets are handed to a [`Sink`]
//! straight out of the read buffer; sent packets are copied once, into the queue the socket is written from.
//!
//! Protocol reference §2. Left out of it: fast start, websocket, mesh.

mod conn;
mod connect;
mod frame;
mod handshake;
mod link;
mod measure;
mod outbox;
mod pace;
mod pool;

pub use connect::targets;
pub use frame::{Frame, FrameError, GoneReason, MAX_FRAME, MAX_PACKET, decode};
pub use measure::{Measured, measure};
pub use pool::{Config, Options, Pool, Stats};

use keys::NodePublic;
use netmap::RegionId;

/// Where everything that comes from relays goes. Called on the control thread, with none of the pool's state
/// borrowed: an implementation may call back into the [`Pool`].
pub trait Sink {
    /// A packet that `src` sent us through `region`. Remember the region as the return path to `src`.
    fn packet(&self, region: RegionId, src: &NodePublic, payload: &[u8]);
    /// All frames of one read have been handed over: wake whoever works on them.
    fn flush(&self);
    /// Anything that is not a packet.
    fn event(&self, event: Event);
}

/// What a [`Sink`] is told besides packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The relay answered our handshake; packets flow.
    Connected {
        /// Which region.
        region: RegionId,
        /// It is the home region.
        home: bool,
    },
    /// A connection ended, or could not be made. Return paths through this region are void.
    Disconnected {
        /// Which region.
        region: RegionId,
        /// Why, in a sentence; empty if it was idle or no longer wanted.
        error: String,
        /// It is the home region (a new attempt follows by itself).
        home: bool,
    },
    /// `peer` cannot be reached through `region`: forget it as the return path.
    PeerGone {
        /// Which region said so.
        region: RegionId,
        /// Which peer.
        peer: NodePublic,
        /// Why.
        reason: GoneReason,
    },
    /// The relay has a problem, or no longer has (empty text).
    Health {
        /// Which region.
        region: RegionId,
        /// What it says, at most 1 KiB.
        text: String,
    },
    /// Frames arrived from `region`; at most once a second for each.
    FrameAt {
        /// Which region.
        region: RegionId,
    },
}

/// Why a connection to a relay failed or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The region has no server that can be dialled.
    #[error("DERP region {0} has no usable server; check the DERP map")]
    NoServer(RegionId),
    /// The dialler failed.
    #[error("{0}")]
    Dial(String),
    /// Nothing came of connecting within the limit.
    #[error("no connection to {0} within 10 s; check that it is reachable over TCP")]
    ConnectTimeout(String),
    /// The server answered the upgrade with something else than `101`.
    #[error("{host} does not speak DERP: {answer}")]
    NoUpgrade {
        /// The server.
        host: String,
        /// The first line of its answer.
        answer: String,
    },
    /// The DERP handshake went wrong.
    #[error("DERP handshake: {0}")]
    Handshake(&'static str),
    /// The stream cannot be understood.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The socket failed.
    #[error("relay connection: {0}")]
    Io(String),
    /// The server closed the connection.
    #[error("relay closed the connection")]
    Closed,
    /// Not even a keep-alive for 120 s.
    #[error("nothing from the relay for 120 s")]
    Silent,
    /// A ping after a network change had no answer.
    #[error("no answer to a ping within 3 s")]
    PingTimeout,
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let mut why = e.to_string();
        // rustls ends some texts with a link to its manual.
        if let Some(link) = why.find(": https://docs.rs/") {
            why.truncate(link);
        }
        Self::Io(why)
    }
}

#[cfg(test)]
mod tests;

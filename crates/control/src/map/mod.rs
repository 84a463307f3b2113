//! The map stream: frames, the incremental splitter, decoding, and the reader that ties them together.
//!
//! No message is held whole: its peers are cut out, decoded and handed on one at a time while it arrives
//! (design: a router must take 10 000 peers in a few megabytes).

mod decode;
mod frames;
mod split;
mod stream;

pub use stream::whole_message;
pub(crate) use stream::{Outcome, follow, map_error};

pub use crate::wire::messages::DebugSettings;
use crate::wire::messages::PingRequest;
use netmap::Timestamp;

/// A piece of a map message, in order of arrival: its peers, then everything else.
#[derive(Debug)]
pub enum MapItem {
    /// A peer of `Peers` or `PeersChanged`: for [`netmap::NetMap::upsert_peer`].
    Peer(Box<netmap::Node>),
    /// The end of the message: for [`netmap::NetMap::apply`].
    End(Box<MapMessage>),
}

/// Everything of a map message but its peers.
#[derive(Debug, Default)]
pub struct MapMessage {
    /// The message carries no change of the netmap; `delta` is empty.
    pub keep_alive: bool,
    /// The first message of this stream that is not a keepalive: a full snapshot. What the snapshot leaves out
    /// (filters, messages, DNS) is set to empty in `delta`, because nothing of an earlier stream counts.
    pub first: bool,
    /// What to apply.
    pub delta: netmap::Delta,
    /// A URL that control wants the user to see; never empty.
    pub pop_browser_url: Option<String>,
    /// Control's clock.
    pub control_time: Option<Timestamp>,
    /// Settings for debugging.
    pub debug: Option<DebugSettings>,
    /// Handled within this crate.
    pub(crate) ping: Option<PingRequest>,
}

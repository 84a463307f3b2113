//! Feature `netstack`: services of this process at addresses that no kernel has. With a kernel interface that is quad-100.

#[cfg(feature = "netstack")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "netstack"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;

use crate::backend::Reply;
use std::rc::Rc;

/// Answers DNS queries: the query, whether a stream brought it, and where the answer goes, at once or later. Dropping that
/// means that there is none.
pub type Ask = Rc<dyn Fn(Vec<u8>, bool, Reply<Vec<u8>>)>;

/// A DNS query that this machine has sent to quad-100.
pub struct Query {
    /// The message.
    pub bytes: Vec<u8>,
    /// A stream brought it.
    pub stream: bool,
    /// Names it, for [`Services::answer`].
    pub back: Back,
}

//! JSON of control: requests as they are written, answers as they are read and turned into `netmap` values.
//!
//! Owns: field names, what Go leaves out or writes as null, and every normalisation of the protocol reference
//! §1.9.4, so that nothing behind this module knows the wire.
//! Leaves out: framing (`map`) and when to send what (`register`, `auto`).
//!
//! Reading is lenient: unknown fields are ignored, null stands for empty, a list entry that does not parse is
//! left out. It never widens: a broken address, port or rule allows less, not more.

pub(crate) mod derp;
pub(crate) mod dns;
pub(crate) mod filter;
pub(crate) mod hostinfo;
mod lenient;
pub(crate) mod messages;
pub(crate) mod node;
pub(crate) mod requests;

pub(crate) use lenient::Caps;

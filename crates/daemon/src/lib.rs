//! The daemon: the only crate that wires the others together.
//!
//! Owns: the state machine ([`backend`]), the run loop that carries its effects out ([`node`]), the packet threads
//! ([`dataplane`]), the machine's network ([`network`]), state on flash ([`state`]), clock, log and command line of
//! `tailscaled`, and the entry point of a container.
//! Leaves out: protocols, packets, JSON types and the command line of `tailscale`, each a crate of its own.

pub mod api;
pub mod backend;
pub mod clock;
pub mod config;
mod containerboot;
pub mod dataplane;
pub mod faces;
pub mod flags;
pub mod host;
pub mod logging;
pub mod network;
pub mod node;
pub mod parts;
pub mod state;
pub mod version;

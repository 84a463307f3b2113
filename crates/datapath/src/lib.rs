//! What every packet passes: the two packet lines, the filter, the routes, and reading and writing packets.
//!
//! Owns: all code that runs for each packet, and what it is configured with. It is a crate of its own because a crate
//! is what the compiler is told a level for: this one is built for speed, the rest of the program for size. Code that
//! runs less than once a packet belongs to `engine`.
//! Leaves out: handshakes, paths, answers for our own addresses (`engine`), sockets, clocks and threads (`daemon`).

pub mod drop;
pub mod filter;
pub mod kind;
pub mod lines;
pub mod mac1;
pub mod packet;
pub mod routes;
pub mod session;
pub mod slot;
pub mod source;
pub mod time;

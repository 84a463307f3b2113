//! The userspace stack: TCP, UDP and ICMP for addresses that no kernel has. Whole IP packets in, whole IP packets out.
//!
//! Owns: [`Stack`], which speaks for its addresses (ICMP echo, refusals, datagrams, TCP connections by smoltcp), and its
//! first service, [`quad100`]: DNS queries out of UDP and TCP, and answers back.
//! Leaves out: sockets, threads, clocks, the TUN, what DNS messages mean. Time is an argument, randomness a seed.
//!
//! Everybody who can send packets to this machine can send them here. Connections, buffers and what waits are bounded
//! ([`Limits`]), and memory is taken only while a connection lives.

mod cut;
mod device;
pub mod quad100;
mod stack;
mod tcp;

#[cfg(test)]
mod tests;

pub use stack::{Datagram, Limits, News, Stack};
pub use tcp::{ConnId, Read};

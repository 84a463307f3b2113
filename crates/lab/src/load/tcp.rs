//! TCP streams that carry as much as they can until they are dropped.

use super::PATIENCE;
use crate::host::Host;
use anyhow::{Context, Result, anyhow};
use nix::sys::socket::{getsockopt, sockopt};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Bytes of one write: large, so that the generator itself costs little.
const BLOCK: usize = 128 << 10;

/// Running streams. Dropping it ends them.
#[derive(Debug)]
pub struct Streams {
    bytes: Arc<AtomicU64>,
    sockets: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    segment: u32,
}

impl Streams {
    /// Connects `count` streams from one host to an address of the other; data flow that way, or back when
    /// `reverse`.
    ///
    /// # Errors
    /// When a connection is not there within 20 s.
    pub fn open(from: &Host, to: &Host, address: IpAddr, count: u32, reverse: bool) -> Result<Self> {
        let names = || format!("{} -> {} ({address})", from.name, to.name);
        let listener = to.inside(|| TcpListener::bind((address, 0)))?.with_context(names)?;
        let at = listener.local_addr()?;
        let mut made =
            Self { bytes: Arc::default(), sockets: Vec::new(), threads: Vec::new(), segment: u32::MAX };
        for _ in 0..count {
            let out = from.inside(|| TcpStream::connect_timeout(&at, PATIENCE))?.with_context(names)?;
            let (incoming, _) = listener.accept().with_context(names)?;
            let (source, sink) = if reverse { (incoming, out) } else { (out, incoming) };
            made.segment = made.segment.min(getsockopt(&source, sockopt::TcpMaxSeg)?);
            made.sockets.extend([source.try_clone()?, sink.try_clone()?]);
            let bytes = Arc::clone(&made.bytes);
            made.threads.push(std::thread::spawn(move || pour(source)));
            made.threads.push(std::thread::spawn(move || drain(sink, &bytes)));
        }
        Ok(made)
    }

    /// Bytes that have arrived so far, of all streams.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Payload bytes of a full segment.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Fails when a stream has ended by itself.
    ///
    /// # Errors
    /// When a stream is broken.
    pub fn check(&self) -> Result<()> {
        let broken = self.threads.iter().any(JoinHandle::is_finished);
        if broken { Err(anyhow!("a TCP stream broke")) } else { Ok(()) }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for socket in &self.sockets {
            socket.shutdown(Shutdown::Both).ok();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn pour(mut socket: TcpStream) {
    let block = vec![0x5a; BLOCK];
    while socket.write_all(&block).is_ok() {}
}

fn drain(mut socket: TcpStream, bytes: &AtomicU64) {
    let mut block = vec![0; BLOCK * 2];
    while let Ok(n @ 1..) = socket.read(&mut block) {
        bytes.fetch_add(n as u64, Ordering::Relaxed);
    }
}

//! The only place that opens TCP and TLS connections.
//!
//! Owns: the [`Dial`] trait that `control` and `derp` are handed, the real dialler behind it (name lookup with
//! last good answers, both address families raced, socket options, TLS), and the clock rules
//! of certificates.
//! Leaves out: every protocol spoken over a connection.

mod der;
mod dialer;
mod exchange;
mod gather;
mod lookup;
mod mark;
mod provider;
mod race;
mod roots;
mod running;
mod tls;
mod verify;
mod wall;

pub use dialer::{Dialer, Options};
pub use lookup::Lookup;
pub use mark::{mark, set_uplinks};
pub use race::plain;
pub use roots::Error;
pub use running::{Running, spawn};
pub use rustls::pki_types::TrustAnchor;
pub use wall::{WallClock, WallReading};

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream in both directions: TCP, TLS, or a duplex pipe in tests.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin + ?Sized> Stream for T {}

/// A connection whose kind the caller need not know.
pub type BoxStream = Box<dyn Stream>;

/// A future of the single-threaded control runtime.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host name or IP literal: what DNS is asked for and what TLS calls SNI.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Known addresses, tried instead of asking DNS; empty = ask DNS.
    pub addrs: Vec<IpAddr>,
    /// TLS on top, and how far the other side is trusted; `None` = plain TCP.
    pub tls: Option<Verify>,
}

/// How a TLS server proves who it is. ALPN is never offered: every user upgrades from HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// A chain to a known root for `Target::host`.
    Host,
    /// A chain to a known root for this other name; SNI stays `Target::host`.
    Name(String),
    /// Exactly one certificate (DERP meta certificates aside) whose DER has this SHA-256.
    PinnedSha256([u8; 32]),
    /// Not at all: `InsecureForTests` of a DERP map, and the Noise connection to control, which authenticates
    /// the server by itself. A bad chain is logged once.
    Nothing,
}

/// Opens connections.
pub trait Dial {
    /// Connects to `target`. Errors name the host and what to do; the caller bounds the time.
    fn dial<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>>;

    /// The same, but the connection goes where the routes lead, into the tunnel too.
    fn dial_by_routes<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot reach {} by routes", target.host)))
        })
    }

    /// The addresses of a name, never empty, for those who send datagrams. What cannot look names up says so; the caller
    /// bounds the time.
    fn resolve<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(
            async move { Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot resolve {name}"))) },
        )
    }
}

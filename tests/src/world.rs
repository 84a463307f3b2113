//! The world beyond an exit node: a host that says who has sent what it hears, and nodes that carry everybody's traffic.
//!
//! Leaves out: names ([`crate::names`]), what may pass by the plain uplink meanwhile ([`crate::leak`]).

use crate::site::{forwards, node};
use anyhow::{Context, Result};
use lab::{Flavour, Headscale, Host, Lab, Node};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the world listens: not in a network that anybody else is in, because exit nodes keep others out of theirs.
pub const FAR: [&str; 2] = ["192.0.2.77", "2001:db8:77::77"];
/// At this port.
pub const PORT: u16 = 7007;

/// A node that headscale lets carry everybody's traffic.
///
/// # Errors
/// When it does not join or headscale refuses.
pub fn exit(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let exit = node(lab, headscale, name, flavour)?;
    forwards(&exit.host)?;
    exit.tailscale(&["set", "--advertise-exit-node"])?.ok()?;
    headscale.approve_routes(name, &["0.0.0.0/0", "::/0"])?;
    Ok(exit)
}

/// Who has sent what the world receives.
#[derive(Debug)]
pub struct World {
    sockets: [UdpSocket; 2],
    /// Each datagram says another.
    words: AtomicU32,
}

impl World {
    /// `near` know the way there, and nothing else lies that way for `behind`.
    ///
    /// # Errors
    /// When an address, a route or a socket is refused.
    pub fn new(host: &Host, near: &[&Host], behind: &[&Host]) -> Result<Self> {
        let next = [host.ipv4.to_string(), host.ipv6.context("no IPv6")?.to_string()];
        for (far, next) in FAR.iter().zip(&next) {
            host.run(&["ip", "addr", "add", far, "dev", "lo"])?;
            for near in near {
                near.run(&["ip", "route", "add", far, "via", next])?;
            }
            for behind in behind {
                behind.run(&["ip", "route", "replace", "default", "via", next])?;
            }
        }
        let open = |at: &str| {
            let socket = UdpSocket::bind((at.parse::<IpAddr>()?, PORT))?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            Ok::<_, anyhow::Error>(socket)
        };
        let sockets = host.inside(|| Ok::<_, anyhow::Error>([open(FAR[0])?, open(FAR[1])?]))??;
        Ok(Self { sockets, words: AtomicU32::new(0) })
    }

    /// Sends from `from` and gives the sender as the world sees it; `None` if nothing arrives.
    ///
    /// # Errors
    /// When the sender's network cannot be entered.
    pub fn hears(&self, from: &Host, v6: bool) -> Result<Option<IpAddr>> {
        let at: IpAddr = FAR[usize::from(v6)].parse()?;
        let unspecified: IpAddr =
            if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        // No way at all is refused at once, and that is silence, too.
        let word = self.words.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let _ =
            from.inside(|| UdpSocket::bind((unspecified, 0))?.send_to(&word, SocketAddr::new(at, PORT)))?;
        let mut room = [0; 64];
        // What was said before may come late.
        while let Ok((len, from)) = self.sockets[usize::from(v6)].recv_from(&mut room) {
            if room[..len] == word {
                return Ok(Some(from.ip().to_canonical()));
            }
        }
        Ok(None)
    }

    /// Waits until the world sees `from` as `seen`, by both families.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn sees(&self, from: &Host, seen: Option<&Host>) -> Result<()> {
        for v6 in [false, true] {
            let who = seen.map(|host| if v6 { host.ipv6.map(IpAddr::V6) } else { Some(host.ipv4.into()) });
            let who = who.flatten();
            lab::until(
                &format!("the world to see {} as {who:?}", from.name),
                Duration::from_secs(30),
                || Ok((self.hears(from, v6)? == who).then_some(())),
            )?;
        }
        Ok(())
    }
}

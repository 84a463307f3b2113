//! Changes of links, addresses, routes, policy rules and forwarding, by netlink multicast.
//!
//! Nothing is asked and nothing is polled: the kernel wakes us when something changes. Three things are heard: that the way
//! to other machines may be another one, that somebody else has removed what is ours, and that somebody has switched
//! forwarding. Our own doings, which the
//! kernel tells with the number of the socket that they were asked by, are passed over. Changes come in bursts (a link goes up, gets its addresses,
//! then routes): they are told once, when a burst has ended or has lasted for long.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

/// A burst has ended when nothing comes for so long …
const QUIET: Duration = Duration::from_millis(250);
/// … and is told after this in any case.
const PATIENCE: Duration = Duration::from_secs(2);

/// Groups of the kernel: links, addresses, routes, rules and switches (`RTNLGRP_IPV4_NETCONF` and IPv6's) of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x4_0000 | 0x80_0000 | 0x100_0000;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const DELETE_RULE: u16 = 33;
const NEW_SWITCH: u16 = 80;

/// Who has made a route: number of our own protocol (protocol reference §8).
const PROTOCOL: u8 = 52;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The way to other machines, perhaps.
    pub network: bool,
    /// The same, and nothing else: some interface has an address. A router on the LAN that tells its prefix makes the
    /// kernel say so again every few minutes, or seconds.
    pub address: bool,
    /// Somebody else has removed something that may be ours.
    pub ours: bool,
    /// Forwarding has been switched on or off for the whole machine.
    pub forwarding: bool,
}

impl Heard {
    const NONE: Self = Self { network: false, address: false, ours: false, forwarding: false };
    const ALL: Self = Self { network: true, address: true, ours: true, forwarding: true };

    const fn or(self, other: Self) -> Self {
        Self {
            network: self.network | other.network,
            address: self.address | other.address,
            ours: self.ours | other.ours,
            forwarding: self.forwarding | other.forwarding,
        }
    }

    const fn any(self) -> bool {
        self.network || self.address || self.ours || self.forwarding
    }
}

/// Our own interface.
#[derive(Debug, Clone, Copy)]
struct Own {
    /// Its number.
    index: u32,
    /// As whom the kernel tells of changes that we ask for.
    sender: u32,
}

/// What the kernel tells.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<std::os::fd::OwnedFd>,
    own: Option<Own>,
    heard: Heard,
    /// Since when there is a change that has not been told.
    since: Option<Instant>,
}

impl Monitor {
    /// Listens. `own` names our interface and says as whom changes are asked for there.
    ///
    /// # Errors
    /// When the system refuses: changes are noticed only by what no longer works then.
    pub fn open(own: Option<(&str, u32)>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 of this family is routing.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let own = own.and_then(|(name, sender)| {
            let index = rustix::net::netdevice::name_to_index(&socket, name).ok()?;
            Some(Own { index, sender })
        });
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, and an owned descriptor fulfils what that asks for"
        )]
        let socket = AsyncFd::with_interest(socket, tokio::io::Interest::READABLE)?;
        Ok(Self { socket, own, heard: Heard::default(), since: None })
    }

    /// Resolves after a change. Dropped before that, it loses nothing.
    ///
    /// # Errors
    /// When the system does not tell any more.
    pub async fn changed(&mut self) -> io::Result<Heard> {
        let since = loop {
            if let Some(since) = self.since {
                break since;
            }
            self.burst().await?;
            if self.heard.any() {
                self.since = Some(Instant::now());
            }
        };
        let end = since + PATIENCE;
        loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(quiet.min(end), self.burst()).await {
                Ok(result) => result?,
                Err(_) => {
                    self.since = None;
                    return Ok(std::mem::take(&mut self.heard));
                }
            }
        }
    }

    /// Waits for messages and takes them.
    async fn burst(&mut self) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        let mut room = [0; 4096];
        let heard = match ready.try_io(|socket| Ok(recv(socket.get_ref(), &mut room, RecvFlags::DONTWAIT)?)) {
            Ok(Ok((len, _))) => judge(room.get(..len).unwrap_or_default(), self.own),
            // More has happened than fits into the socket.
            Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                Heard::ALL
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => return Ok(()),
        };
        drop(ready);
        self.heard = self.heard.or(heard);
        Ok(())
    }
}

/// What the messages in `datagram` say. One that has not come whole (a link with many functions does not fit) may say
/// anything.
fn judge(datagram: &[u8], own: Option<Own>) -> Heard {
    let (mut rest, mut heard) = (datagram, Heard::default());
    while let Some((head, _)) = rest.split_first_chunk::<16>() {
        let [a, b, c, d, e, f, _, _, _, _, _, _, sender @ ..] = *head;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = rest.get(16..len) else { break };
        let own = own.map(|own| (own.index, own.sender == u32::from_ne_bytes(sender)));
        heard = heard.or(judge_one(u16::from_ne_bytes([e, f]), body, own));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    if rest.is_empty() { heard } else { Heard::ALL }
}

/// What one message says; `own` is the number of our interface and whether the message tells of our own doing.
fn judge_one(kind: u16, body: &[u8], own: Option<(u32, bool)>) -> Heard {
    let on_own = |at: Option<u32>| own.is_some_and(|(index, _)| at == Some(index));
    let by_others = own.is_some_and(|(_, by_us)| !by_us);
    let network = |network| Heard { network, ..Heard::NONE };
    let ours = |ours| Heard { ours, ..Heard::NONE };
    match kind {
        NEW_LINK | DELETE_LINK | NEW_ADDRESS | DELETE_ADDRESS => {
            let Some(at) = number(body, 4) else { return Heard::default() };
            if !on_own(Some(at)) {
                let address = kind == NEW_ADDRESS;
                return Heard { address, network: !address, ..Heard::NONE };
            }
            let down = kind == NEW_LINK && number(body, 8).is_some_and(|flags| flags & 1 == 0);
            ours(by_others && (down || kind == DELETE_ADDRESS))
        }
        NEW_ROUTE | DELETE_ROUTE => {
            let made_by_us = body.get(5) == Some(&PROTOCOL);
            match route(body) {
                _ if made_by_us => ours(by_others && kind == DELETE_ROUTE),
                Some(out) => network(!on_own(out)),
                None => Heard::default(),
            }
        }
        DELETE_RULE => ours(by_others),
        NEW_SWITCH => Heard { forwarding: switches_forwarding(body), ..Heard::NONE },
        _ => Heard::default(),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The interface that a route leads to, if it names one; `None` for routes that are made and forgotten all the time:
/// those of single destinations that the kernel has looked up, multicast, and tables of others.
fn route(body: &[u8]) -> Option<Option<u32>> {
    const CLONED: u32 = 0x200;
    const OIF: u16 = 4;
    const UNICAST: u8 = 1;
    let ([_, _, _, _, _, _, _, kind, ..], rest) = body.split_first_chunk::<12>()?;
    if *kind != UNICAST || number(body, 8)? & CLONED != 0 {
        return None;
    }
    Some(attribute(rest, OIF))
}

/// Whether a message of switches tells of that for forwarding, and of the whole machine: each interface tells its own, too.
fn switches_forwarding(body: &[u8]) -> bool {
    const INTERFACE: u16 = 1;
    const ALL: u32 = u32::MAX;
    const FORWARDING: u16 = 2;
    let rest = body.get(4..).unwrap_or_default();
    attribute(rest, INTERFACE) == Some(ALL) && attribute(rest, FORWARDING).is_some()
}

/// The number that attribute `kind` holds.
fn attribute(mut rest: &[u8], kind: u16) -> Option<u32> {
    while let Some(([a, b, c, d], _)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([*a, *b])).max(4);
        if u16::from_ne_bytes([*c, *d]) == kind {
            return number(rest, 4);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = (16 + body.len() as u32).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn link(index: u32) -> Vec<u8> {
        [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat()
    }

    fn a_route(protocol: u8, kind: u8, flags: u32, out: u32) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0, 254, protocol, 0, kind];
        body.extend_from_slice(&flags.to_ne_bytes());
        body.extend_from_slice(&[6, 0, 1, 0, 9, 9, 0, 0]);
        body.extend_from_slice(&[8, 0, 4, 0]);
        body.extend_from_slice(&out.to_ne_bytes());
        body
    }

    const OWN: Option<Own> = Some(Own { index: 7, sender: 99 });

    fn network(datagram: &[u8], own: Option<Own>) -> bool {
        let heard = judge(datagram, own);
        assert!(!heard.ours, "nobody has removed anything");
        heard.network
    }

    #[test]
    fn what_concerns_the_network() {
        assert!(network(&message(NEW_LINK, &link(3)), OWN));
        assert!(network(&message(NEW_LINK, &link(7)), None));
        assert!(!network(&message(99, &link(3)), OWN));
        assert!(network(&message(NEW_ROUTE, &a_route(3, 1, 0, 3)), OWN));
        assert!(!network(&message(NEW_ROUTE, &a_route(3, 1, 0, 7)), OWN));
        assert!(!network(&message(NEW_ROUTE, &a_route(3, 5, 0, 3)), OWN), "multicast");
        assert!(!network(&message(NEW_ROUTE, &a_route(3, 1, 0x200, 3)), OWN), "a cached one");
        assert!(!network(&message(NEW_ROUTE, &a_route(PROTOCOL, 1, 0, 3)), OWN), "ours, past the tunnel");
        let two = [message(NEW_ADDRESS, &link(7)), message(DELETE_ADDRESS, &link(3))].concat();
        assert!(network(&two, OWN));
        let again = judge(&message(NEW_ADDRESS, &link(3)), OWN);
        assert_eq!(again, Heard { address: true, ..Heard::NONE }, "new, or told again");
    }

    #[test]
    fn what_has_not_come_whole_may_be_anything() {
        let address = message(NEW_ADDRESS, &link(7));
        let two = [address.clone(), message(NEW_ADDRESS, &link(7))].concat();
        for cut in 0..=two.len() {
            let whole = [0, address.len(), two.len()].contains(&cut);
            assert_eq!(judge(&two[..cut], OWN), if whole { Heard::NONE } else { Heard::ALL }, "{cut}");
        }
        let mut long = message(NEW_LINK, &link(3));
        long[..4].copy_from_slice(&9000_u32.to_ne_bytes());
        long.resize(4096, 0);
        assert_eq!(judge(&long, OWN), Heard::ALL);
    }

    #[test]
    fn what_others_have_removed_of_ours() {
        let by = |sender: u32, mut message: Vec<u8>| {
            message[12..16].copy_from_slice(&sender.to_ne_bytes());
            judge(&message, OWN)
        };
        let mut up = link(7);
        up[8] = 1;
        for (gone, message) in [
            (true, message(DELETE_ADDRESS, &link(7))),
            (true, message(DELETE_ROUTE, &a_route(PROTOCOL, 1, 0, 7))),
            (true, message(DELETE_ROUTE, &a_route(PROTOCOL, 9, 0, 0))),
            (true, message(DELETE_RULE, &[])),
            (true, message(NEW_LINK, &link(7))),
            (false, message(NEW_LINK, &up)),
            (false, message(NEW_ADDRESS, &link(7))),
            (false, message(NEW_ROUTE, &a_route(PROTOCOL, 1, 0, 7))),
            (false, message(DELETE_ROUTE, &a_route(3, 1, 0, 7))),
        ] {
            assert_eq!(by(5, message.clone()), Heard { ours: gone, ..Heard::NONE });
            assert_eq!(by(99, message), Heard::default(), "our own doing");
        }
        assert!(!judge(&message(DELETE_RULE, &[]), None).ours, "we have none");
    }

    #[test]
    fn forwarding_is_switched() {
        let switched = |interface: i32, switch: u16| {
            let mut body = vec![2, 0, 0, 0, 8, 0, 1, 0];
            body.extend_from_slice(&interface.to_ne_bytes());
            body.extend_from_slice(&[8, 0]);
            body.extend_from_slice(&switch.to_ne_bytes());
            body.extend_from_slice(&[1, 0, 0, 0]);
            judge(&message(NEW_SWITCH, &body), OWN)
        };
        assert_eq!(switched(-1, 2), Heard { forwarding: true, ..Heard::NONE });
        assert_eq!(switched(3, 2), Heard::NONE, "of one interface");
        assert_eq!(switched(-1, 3), Heard::NONE, "the filter of answers");
        assert_eq!(judge(&message(NEW_SWITCH, &[2, 0]), OWN), Heard::NONE);
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, len: u8, kind in prop_oneof![14_u16..36, Just(NEW_SWITCH)]) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&u32::from(len).to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = judge(&bytes, Some(Own { index: 1, sender: 1 }));
        }
    }
}

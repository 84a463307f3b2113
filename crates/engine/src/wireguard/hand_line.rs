//! A packet line by hand, for tests only: seals and opens data packets one at a time, checks that no counter is
//! opened twice. Names no type of the crate, so that integration tests can include it as well.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::collections::{BTreeMap, BTreeSet};

struct Session {
    remote: u32,
    send: LessSafeKey,
    recv: LessSafeKey,
    counter: u64,
    seen: BTreeSet<u64>,
}

/// Sessions of one side.
#[derive(Default)]
pub(super) struct HandLine {
    sessions: BTreeMap<u32, Session>,
    /// The session to send with.
    pub(super) tx: Option<u32>,
}

/// What a packet turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) local: u32,
    pub(super) plain: Vec<u8>,
    /// The first one of its session.
    pub(super) first: bool,
}

fn key(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, bytes).expect("32 bytes"))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl HandLine {
    pub(super) fn install(
        &mut self,
        local: u32,
        remote: u32,
        send: &[u8; 32],
        recv: &[u8; 32],
        initiator: bool,
    ) {
        let session = Session { remote, send: key(send), recv: key(recv), counter: 0, seen: BTreeSet::new() };
        assert!(self.sessions.insert(local, session).is_none(), "index {local:x} is in use");
        assert!(self.sessions.len() <= 3, "previous, current and next at most");
        if initiator {
            self.tx = Some(local);
        }
    }

    pub(super) fn confirm(&mut self, local: u32) {
        assert!(self.sessions.contains_key(&local));
        self.tx = Some(local);
    }

    pub(super) fn hold(&mut self, local: u32) {
        assert!(self.sessions.contains_key(&local));
        self.tx.take_if(|tx| *tx == local);
    }

    pub(super) fn retire(&mut self, local: u32) {
        assert!(self.sessions.remove(&local).is_some(), "index {local:x} is not in use");
        if self.tx == Some(local) {
            self.tx = None;
        }
    }

    /// A data packet with `plain`, padded to 16 bytes; `None` without a session.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let session = self.sessions.get_mut(&self.tx?)?;
        let mut sealed = plain.to_vec();
        sealed.resize(plain.len().next_multiple_of(16), 0);
        session
            .send
            .seal_in_place_append_tag(nonce(session.counter), Aad::empty(), &mut sealed)
            .expect("seal");
        let mut packet = vec![4, 0, 0, 0];
        packet.extend(session.remote.to_le_bytes());
        packet.extend(session.counter.to_le_bytes());
        packet.extend(sealed);
        session.counter += 1;
        Some(packet)
    }

    pub(super) fn open(&mut self, packet: &[u8]) -> Result<Opened, &'static str> {
        let (head, sealed) = packet.split_first_chunk::<16>().ok_or("too short")?;
        let [4, 0, 0, 0, i0, i1, i2, i3, counter @ ..] = *head else { return Err("no data packet") };
        let local = u32::from_le_bytes([i0, i1, i2, i3]);
        let counter = u64::from_le_bytes(counter);
        let session = self.sessions.get_mut(&local).ok_or("unknown session")?;
        let mut sealed = sealed.to_vec();
        let plain = session.recv.open_in_place(nonce(counter), Aad::empty(), &mut sealed);
        let plain = plain.map_err(|_| "bad tag")?.to_vec();
        let first = session.seen.is_empty();
        if !session.seen.insert(counter) {
            return Err("replay");
        }
        Ok(Opened { local, plain, first })
    }

    /// How many sessions there are.
    #[allow(dead_code, reason = "not every includer asks")]
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }
}

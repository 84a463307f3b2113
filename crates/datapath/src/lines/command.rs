//! Commands from control to a line, and the way back for what they replaced.
//!
//! Control allocates and frees; a line only moves boxes. Every command brings at most one box in and sends at most
//! one back, so a way back twice as long as the way in is never full.

use super::open::RecvSession;
use super::peer::{Path, Places, RxPeer, TxPeer};
use super::seal::SendSession;
use super::snapshot::InForce;
use crate::slot::PeerSlot;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;

/// To tx.
#[derive(Debug)]
pub(super) enum TxCommand {
    /// A new peer, or new facts of a known one (its session and staged packets stay).
    Peer(Box<TxPeer>),
    ClearPeer(PeerSlot),
    /// Where its packets go, and whether control wants to be told of the next one.
    Path(PeerSlot, Path, bool),
    /// Send with this one from now on.
    Session(Box<SendSession>),
    Retire(PeerSlot, u32),
    DropStaged(PeerSlot),
    Snapshot(Box<InForce>),
    GrowPeers(Places<TxPeer>),
}

/// To rx.
#[derive(Debug)]
pub(super) enum RxCommand {
    Peer(Box<RxPeer>),
    ClearPeer(PeerSlot),
    Session(Box<RecvSession>),
    Retire(u32),
    Snapshot(Box<InForce>),
    GrowPeers(Places<RxPeer>),
    GrowSessions(Places<RecvSession>),
}

/// What comes back, only to be dropped.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are there to be dropped by control")]
pub(super) enum Retired {
    TxPeer(Box<TxPeer>),
    RxPeer(Box<RxPeer>),
    Send(Box<SendSession>),
    Recv(Box<RecvSession>),
    Snapshot(Box<InForce>),
    TxPlaces(Places<TxPeer>),
    RxPlaces(Places<RxPeer>),
    Sessions(Places<RecvSession>),
}

macro_rules! retired {
    ($($from:ty => $variant:ident,)*) => {
        $(impl From<$from> for Retired {
            fn from(was: $from) -> Self {
                Self::$variant(was)
            }
        })*
    };
}

retired! {
    Box<TxPeer> => TxPeer,
    Box<RxPeer> => RxPeer,
    Box<SendSession> => Send,
    Box<RecvSession> => Recv,
    Box<InForce> => Snapshot,
    Places<TxPeer> => TxPlaces,
    Places<RxPeer> => RxPlaces,
    Places<RecvSession> => Sessions,
}

/// Control's end.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    commands: Producer<C>,
    retired: Consumer<Retired>,
    /// Commands that found the ring full: a burst of new peers, a line that stands still.
    backlog: VecDeque<C>,
}

/// A line's end.
#[derive(Debug)]
pub(super) struct Inbox<C> {
    commands: Consumer<C>,
    retired: Producer<Retired>,
}

/// Both ends, for `commands` commands under way.
pub(super) fn mailbox<C>(commands: usize) -> (Outbox<C>, Inbox<C>) {
    let (to_line, from_control) = RingBuffer::new(commands.max(1));
    let (to_control, from_line) = RingBuffer::new(commands.max(1).saturating_mul(2));
    (
        Outbox { commands: to_line, retired: from_line, backlog: VecDeque::new() },
        Inbox { commands: from_control, retired: to_control },
    )
}

/// Memory that a mailbox takes.
pub(super) const fn heap_bytes<C>(commands: usize) -> usize {
    commands * (size_of::<C>() + 2 * size_of::<Retired>())
}

impl<C> Outbox<C> {
    /// Sends a command after all earlier ones. Never refuses: what does not fit waits on control's side.
    pub(super) fn send(&mut self, command: C) {
        self.collect();
        self.backlog.push_back(command);
        self.flush();
    }

    /// Replaces the command sent last if it still waits on control's side and `same` says so.
    pub(super) fn replace(&mut self, same: impl Fn(&C) -> bool, command: C) {
        match self.backlog.back_mut() {
            Some(last) if same(last) => *last = command,
            _ => self.send(command),
        }
    }

    /// Frees what the line has sent back and sends on what waits.
    pub(super) fn collect(&mut self) {
        while self.retired.pop().is_ok() {}
        self.flush();
    }

    fn flush(&mut self) {
        while !self.commands.is_full()
            && let Some(command) = self.backlog.pop_front()
        {
            if let Err(rtrb::PushError::Full(command)) = self.commands.push(command) {
                self.backlog.push_front(command);
                return;
            }
        }
        if self.backlog.is_empty() && self.backlog.capacity() > 64 {
            self.backlog = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.backlog.len()
    }
}

impl<C> Inbox<C> {
    pub(super) fn next(&mut self) -> Option<C> {
        self.commands.pop().ok()
    }

    /// Sends something back to be freed. Were the way back full, it would be freed here.
    pub(super) fn retire(&mut self, was: impl Into<Retired>) {
        let _ = self.retired.push(was.into());
    }
}

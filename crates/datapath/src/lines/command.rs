//! Commands from control to a line, and the way back for what they replaced.
//!
//! Control allocates and frees; a line only moves boxes. Every command brings at most one box in and sends at most
//! one back, so a way back twice as long as the way in is never full.
//!
//! What finds the way in full waits on control's side, and somebody must see to it that it goes on: the line says so
//! when it has made room ([`Inbox::is_awaited`]), control then collects and rings for the line.

use super::open::RecvSession;
use super::peer::{Path, Places, RxPeer, TxPeer};
use super::seal::SendSession;
use super::snapshot::InForce;
use crate::slot::PeerSlot;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

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
    /// The line is to say when it has made room.
    waiting: Arc<AtomicBool>,
}

/// A line's end.
#[derive(Debug)]
pub(super) struct Inbox<C> {
    commands: Consumer<C>,
    retired: Producer<Retired>,
    /// Control waits for room.
    waiting: Arc<AtomicBool>,
}

/// Both ends, for `commands` commands under way.
pub(super) fn mailbox<C>(commands: usize) -> (Outbox<C>, Inbox<C>) {
    let (to_line, from_control) = RingBuffer::new(commands.max(1));
    let (to_control, from_line) = RingBuffer::new(commands.max(1).saturating_mul(2));
    let waiting = Arc::new(AtomicBool::new(false));
    (
        Outbox {
            commands: to_line,
            retired: from_line,
            backlog: VecDeque::new(),
            waiting: Arc::clone(&waiting),
        },
        Inbox { commands: from_control, retired: to_control, waiting },
    )
}

/// Memory that a mailbox takes.
pub(super) const fn heap_bytes<C>(commands: usize) -> usize {
    commands * (size_of::<C>() + 2 * size_of::<Retired>())
}

impl<C> Outbox<C> {
    /// Sends a command after all earlier ones. Never refuses: what does not fit waits on control's side.
    pub(super) fn send(&mut self, command: C) {
        self.backlog.push_back(command);
        self.collect();
    }

    /// Replaces the command sent last if it still waits on control's side and `same` says so.
    pub(super) fn replace(&mut self, same: impl Fn(&C) -> bool, command: C) {
        match self.backlog.back_mut() {
            Some(last) if same(last) => *last = command,
            _ => self.backlog.push_back(command),
        }
        self.collect();
    }

    /// Frees what the line has sent back and sends on what waits. True if the line is to be woken for it.
    pub(super) fn collect(&mut self) -> bool {
        let mut sent = self.send_on();
        if !self.backlog.is_empty() {
            self.waiting.store(true, Ordering::Relaxed);
            // Either this sees the room that the line has made last, or the line sees that control waits for it.
            fence(Ordering::SeqCst);
            sent |= self.send_on();
        }
        if self.backlog.is_empty() {
            self.waiting.store(false, Ordering::Relaxed);
            if self.backlog.capacity() > 64 {
                self.backlog = VecDeque::new();
            }
        }
        sent
    }

    /// As much as there is room for. What the line has sent back is freed before each: it may be taking commands
    /// meanwhile, more than its way back has room for.
    fn send_on(&mut self) -> bool {
        let mut sent = false;
        loop {
            while self.retired.pop().is_ok() {}
            let Some(command) = self.backlog.pop_front() else { return sent };
            if let Err(rtrb::PushError::Full(command)) = self.commands.push(command) {
                self.backlog.push_front(command);
                return sent;
            }
            sent = true;
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

    /// Whether control waits for the room that taking commands has made, and is to be woken. To be asked after the
    /// last of them.
    pub(super) fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sends something back to be freed. Were the way back full, it would be freed here.
    pub(super) fn retire(&mut self, was: impl Into<Retired>) {
        let _ = self.retired.push(was.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    /// Who sleeps this long has been forgotten.
    const LONG: Duration = Duration::from_secs(10);

    fn sleep(bell: &Receiver<()>) {
        bell.recv_timeout(LONG).expect("somebody rings");
    }

    /// A bell that has been rung needs no other ring.
    fn ring(bell: &SyncSender<()>) {
        let _ = bell.try_send(());
    }

    /// Both sides sleep until they are told, and are told only when the other side says that they must be.
    #[test]
    fn nothing_waits_for_good() {
        const COMMANDS: u32 = 50_000;
        let (mut outbox, mut inbox) = mailbox::<u32>(4);
        let (line_bell, at_line) = sync_channel(1);
        let (control_bell, at_control) = sync_channel(1);
        let line = std::thread::spawn(move || {
            let mut next = 0;
            while next < COMMANDS {
                let before = next;
                while let Some(command) = inbox.next() {
                    assert_eq!(command, next, "in order");
                    next += 1;
                }
                if next == before {
                    sleep(&at_line);
                } else if inbox.is_awaited() {
                    ring(&control_bell);
                }
            }
        });
        for command in 0..COMMANDS {
            outbox.send(command);
            ring(&line_bell);
            // Now and then the line catches up.
            while command % 100 == 99 && outbox.waiting() > 0 {
                sleep(&at_control);
                if outbox.collect() {
                    ring(&line_bell);
                }
            }
        }
        line.join().expect("all has come");
    }

    #[test]
    fn a_replaced_command_takes_room_that_there_is() {
        let (mut outbox, mut inbox) = mailbox::<u32>(2);
        (0..4).for_each(|command| outbox.send(command));
        assert_eq!(outbox.waiting(), 2);
        assert_eq!((inbox.next(), inbox.next()), (Some(0), Some(1)));
        assert!(inbox.is_awaited());
        outbox.replace(|last| *last == 3, 30);
        assert_eq!(outbox.waiting(), 0);
        assert_eq!((inbox.next(), inbox.next(), inbox.next()), (Some(2), Some(30), None));
        assert!(!inbox.is_awaited());
    }

    /// The line frees nothing, however much it takes at once.
    #[test]
    fn the_way_back_has_room() {
        let (mut outbox, mut inbox) = mailbox::<u32>(2);
        for command in 0..100 {
            outbox.send(command);
            while inbox.next().is_some() {
                assert!(!inbox.retired.is_full());
                inbox.retire(Vec::<Option<Box<TxPeer>>>::new());
            }
        }
    }
}

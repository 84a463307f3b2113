//! The turns of the engine: what wakes it, what it has to send and to tell, its next timeout.
//!
//! Leaves out: the threads that pass packets (`thread`).

use super::{Dataplane, News};
use engine::lines::demux;
use engine::time::Mono;
use engine::wireguard::Source;
use engine::{Output, PingOutcome};
use netmap::RegionId;
use std::rc::Rc;

impl Dataplane {
    /// Listens to the packet threads for as long as they run.
    pub async fn listen(self: Rc<Self>) {
        let mut told = false;
        while let Ok(()) = self.threads.woken().await {
            if self.threads.tun_is_gone() && !std::mem::replace(&mut told, true) {
                self.tell(News::TunGone);
            }
            loop {
                let more = self.threads.turn_tx(self.clock.mono().tick());
                let more =
                    self.engine.borrow_mut().handle_lines(self.clock.mono(), self.clock.wall()) || more;
                let more = self.serve() || more;
                self.pump();
                if !more {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sends what the engine has to send and wakes the packet threads if they were given something.
    pub fn pump(&self) {
        // The pool never calls the sink from within a call, so this cannot nest; were it to, the outer call
        // does the work.
        if self.busy.replace(true) {
            return;
        }
        let mut refresh = false;
        let mut stun = Vec::new();
        let mut awake = false;
        let mut engine = self.engine.borrow_mut();
        let pool = self.pool.borrow();
        while let Some((region, peer, datagram)) = engine.next_derp() {
            if let Some(pool) = &*pool {
                pool.send(RegionId(region), &peer, datagram);
            }
        }
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Transmit { to: Source::Derp { region, peer }, bytes } => {
                    if let Some(pool) = &*pool {
                        pool.send(RegionId(region), &peer, &bytes);
                    }
                }
                Output::Transmit { to: Source::Udp(to), bytes } => {
                    // Most of the addresses that path discovery tries lead nowhere; that is no loss.
                    let sent = self.sockets.borrow().send(to, &bytes);
                    if let Err(reason) = sent
                        && demux::kind(&bytes) != demux::Kind::Disco
                    {
                        engine.drops().count(reason);
                    }
                }
                Output::Ping(outcome) => {
                    let id = match &outcome {
                        PingOutcome::Answered(answer) => answer.id,
                        PingOutcome::TimedOut(id) => *id,
                    };
                    if let Some(waiter) = self.pings.borrow_mut().remove(&id) {
                        let _ = waiter.send(outcome);
                    }
                }
                Output::LivePeers(live) => {
                    awake |= live > 0;
                    self.tell(News::LivePeers(live));
                }
                Output::PathPing(pong) => {
                    if let Some(waiter) = self.path_pings.borrow_mut().remove(&pong.token) {
                        let _ = waiter.send(pong);
                    }
                }
                Output::RefreshEndpoints => refresh = true,
                Output::Stun { bytes, .. } => stun.push(bytes),
            }
        }
        let (tx, rx) = engine.take_wakes();
        self.threads.wake(tx, false);
        self.busy.set(false);
        drop(engine);
        if rx {
            self.threads.turn_rx(self.clock.mono().tick());
        }
        if !stun.is_empty() {
            self.take_stun(&stun);
        }
        if refresh {
            self.look_for_endpoints();
        } else if awake && self.looks.poll_timeout().is_none() {
            // The node has been idle.
            self.look();
        }
        let engine = self.engine.borrow();
        // The run loop has more to look at than fits between two batches of packets. A timeout that moved away wakes it
        // once in vain.
        let due = engine.poll_timeout().map(|(at, _)| at);
        let due = [due, self.services.poll_timeout(self.clock.mono())].into_iter().flatten().min();
        if due.is_some_and(|at| self.due.get().is_none_or(|told| at < told)) {
            self.due.set(due);
            self.changed.notify_one();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let engine = self.engine.borrow().poll_timeout().map(|(at, _)| at);
        let services = self.services.poll_timeout(self.clock.mono());
        let due = [engine, self.looks.poll_timeout(), services].into_iter().flatten().min();
        self.due.set(due);
        due
    }

    /// Runs all timers.
    pub fn handle_timeout(self: &Rc<Self>) {
        self.turn_services();
        // The last look saw no traffic; a conversation that goes on after a pause wakes nobody.
        if self.looks.poll_timeout().is_none() && self.engine.borrow().has_traffic(self.clock.mono()) {
            self.look();
        }
        self.time_looks(self.clock.mono());
        self.drive_looks();
        {
            let mut engine = self.engine.borrow_mut();
            engine.handle_timeout(self.clock.mono(), self.clock.wall());
            engine.gather_counters(self.clock.mono());
        }
        self.pump();
    }
}

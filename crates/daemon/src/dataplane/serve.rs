//! Services of this process: packets of this machine to them, their questions to whoever answers, their packets back.

use super::Dataplane;
use crate::backend::Reply;
use crate::parts::netstack::{Ask, Back, Query};
use engine::Engine;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

/// Packets handled before others have their turn.
const BUDGET: u32 = 128;

/// Answers for which there is one turn: few enough that they fit into a ring, however long they are.
const TOGETHER: u32 = 16;

/// Sees to it that every query is answered, if only with nothing.
struct Owed {
    plane: Weak<Dataplane>,
    back: Option<Back>,
}

impl Owed {
    fn pay(&mut self, answer: Option<&[u8]>) {
        if let (Some(back), Some(plane)) = (self.back.take(), self.plane.upgrade()) {
            plane.services.answer(back, answer);
            // An answer that comes at once comes from within the turn, which goes on by itself.
            if !plane.serving.get() {
                plane.deliver_to(&mut plane.engine.borrow_mut());
                plane.turn_soon();
            }
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.pay(None);
    }
}

impl Dataplane {
    /// Questions go there from now on.
    pub fn set_ask(&self, ask: Ask) {
        *self.asks.borrow_mut() = Some(ask);
    }

    /// Whether a peer at `from` may open a TCP connection to `port` of `to`, by the packet filter in force.
    pub fn allows_tcp(&self, from: IpAddr, to: IpAddr, port: u16) -> bool {
        self.engine.borrow().allows(engine::packet::proto::TCP, from, to, port)
    }

    /// Takes what this machine has sent to services. True if there is more.
    pub(super) fn serve(self: &Rc<Self>) -> bool {
        let now = self.clock.mono();
        let mut left = BUDGET;
        {
            let mut engine = self.engine.borrow_mut();
            while left > 0
                && let Some(packet) = engine.next_service()
            {
                left -= 1;
                if let Err(reason) = self.services.handle(packet, now) {
                    engine.drops().count(reason);
                }
                self.deliver_to(&mut engine);
            }
        }
        if left < BUDGET {
            self.turn_services();
        }
        left == 0
    }

    /// Has services go on behind all that is ready now: answers come many at a time, and each turn may wake a thread.
    fn turn_soon(self: &Rc<Self>) {
        let answers = self.answers.get() + 1;
        self.answers.set(answers % TOGETHER);
        if answers == TOGETHER {
            self.turn_services();
            self.pump();
        } else if answers == 1 {
            let plane = Rc::clone(self);
            dial::spawn(async move {
                if plane.answers.replace(0) > 0 {
                    plane.turn_services();
                    plane.pump();
                }
            });
        }
    }

    /// Lets services go on: what they ask, what they send. [`Self::pump`] is to follow.
    pub(super) fn turn_services(self: &Rc<Self>) {
        if self.serving.replace(true) {
            return;
        }
        loop {
            self.services.poll(self.clock.mono());
            let mut asked = false;
            while let Some(query) = self.services.next_query() {
                asked = true;
                self.ask(query);
                self.deliver_to(&mut self.engine.borrow_mut());
            }
            self.deliver_to(&mut self.engine.borrow_mut());
            if !asked {
                break;
            }
        }
        self.serving.set(false);
    }

    /// What services send goes to this machine: at once, because little of it is kept.
    fn deliver_to(&self, engine: &mut Engine) {
        while let Some(packet) = self.services.next_packet() {
            // A full ring is counted there.
            engine.deliver(&packet);
        }
    }

    fn ask(self: &Rc<Self>, query: Query) {
        let mut owed = Owed { plane: Rc::downgrade(self), back: Some(query.back) };
        let reply = Reply::new(move |answer: Vec<u8>| owed.pay(Some(&answer)));
        let ask = self.asks.borrow().clone();
        if let Some(ask) = ask {
            ask(query.bytes, query.stream, reply);
        }
    }
}

//! The places for visits: how many nodes are let in at once, of one and of all, and who gives way to whom.
//!
//! HTTP/1.1 carries one question at a time, so a client has as many connections as it has open questions: a page of a
//! browser has dozens, and an exit node has a whole LAN behind a client. Who comes when all places are taken waits; who
//! has been answered and keeps its connection for later gives way. Leaves out: what visitors are answered (`visit`).

use netmap::NodeId;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Visits at once, of all nodes together and of one. One takes 3 KiB, and never more than some 12 (its head and its body).
const MOST: usize = 256;
const MOST_OF_ONE: usize = 64;

/// Connections that wait for a place, of all nodes together and of one; more are closed.
const MOST_WAITING: usize = 128;
const MOST_WAITING_OF_ONE: usize = 32;

/// How long they wait: who asks for a name does not wait longer than that for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All places; copies are the same ones.
#[derive(Clone, Default)]
pub(super) struct Places(Rc<Inner>);

#[derive(Default)]
struct Inner {
    inside: RefCell<Vec<Rc<Guest>>>,
    /// Who waits, once for each connection.
    outside: RefCell<Vec<NodeId>>,
    /// A place may be had now.
    freed: Notify,
}

/// Who has a place.
struct Guest {
    id: NodeId,
    /// It has been answered, and nothing has come since.
    idle: Cell<bool>,
    leave: Notify,
}

impl Places {
    /// A place for a node, of one that keeps its connection for later if there is no other.
    fn take(&self, id: NodeId) -> Option<Place> {
        let mut inside = self.0.inside.borrow_mut();
        let all_its_own = inside.iter().filter(|guest| guest.id == id).count() >= MOST_OF_ONE;
        if all_its_own || inside.len() >= MOST {
            let gives_way = |guest: &Rc<Guest>| guest.idle.get() && (guest.id == id || !all_its_own);
            let at = inside.iter().position(gives_way)?;
            inside.remove(at).leave.notify_one();
        }
        let guest = Rc::new(Guest { id, idle: Cell::new(false), leave: Notify::new() });
        inside.push(guest.clone());
        Some(Place { places: self.clone(), guest })
    }

    /// Waits for a place; `None` when none is free for too long, or too many wait already.
    pub(super) async fn wait(&self, id: NodeId) -> Option<Place> {
        if let Some(place) = self.take(id) {
            return Some(place);
        }
        let _waiting = Waiting::begin(self, id)?;
        let waiting = async {
            loop {
                // Before the look, so that nothing is missed between the two.
                let freed = self.0.freed.notified();
                match self.take(id) {
                    Some(place) => return place,
                    None => freed.await,
                }
            }
        };
        timeout(PATIENCE, waiting).await.ok()
    }
}

/// A place, until it is dropped.
pub(super) struct Place {
    places: Places,
    guest: Rc<Guest>,
}

impl Place {
    /// Something is asked: nobody is turned out before the answer.
    pub(super) fn busy(&self) {
        self.guest.idle.set(false);
    }

    /// All that was asked is answered.
    pub(super) fn idle(&self) {
        self.guest.idle.set(true);
        self.places.0.freed.notify_waiters();
    }

    /// Waits until somebody else has the place: it is to be left at once.
    pub(super) async fn lost(&self) {
        self.guest.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.inside.borrow_mut().retain(|guest| !Rc::ptr_eq(guest, &self.guest));
        self.places.0.freed.notify_waiters();
    }
}

/// One who waits.
struct Waiting<'a>(&'a Places, NodeId);

impl<'a> Waiting<'a> {
    fn begin(places: &'a Places, id: NodeId) -> Option<Self> {
        let mut outside = places.0.outside.borrow_mut();
        let of_one = outside.iter().filter(|other| **other == id).count();
        (outside.len() < MOST_WAITING && of_one < MOST_WAITING_OF_ONE).then(|| {
            outside.push(id);
            Self(places, id)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut outside = self.0.0.outside.borrow_mut();
        if let Some(at) = outside.iter().position(|id| *id == self.1) {
            outside.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Poll;

    #[test]
    fn one_node_does_not_take_all_places() {
        let all = Places::default();
        let mut places: Vec<_> = (0..MOST).filter_map(|_| all.take(NodeId(1))).collect();
        assert_eq!(places.len(), MOST_OF_ONE);
        places.extend((0..1000).filter_map(|n| all.take(NodeId(2 + n))));
        assert_eq!(places.len(), MOST);
        places.clear();
        assert!(all.0.inside.borrow().is_empty() && all.take(NodeId(1)).is_some());
    }

    /// A page of a browser.
    #[test]
    fn forty_questions_of_one_node_are_let_in_at_once() {
        let all = Places::default();
        assert_eq!((0..40).map(|_| all.take(NodeId(1))).collect::<Vec<_>>().iter().flatten().count(), 40);
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let all = Places::default();
        let mut places: Vec<_> = (0..MOST_OF_ONE).filter_map(|_| all.take(NodeId(1))).collect();
        let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(all.wait(NodeId(1)))).collect();
        let mut turned_away = 0;
        for one in &mut waiting {
            if let Poll::Ready(place) = polled(one.as_mut()).await {
                assert!(place.is_none());
                turned_away += 1;
            }
        }
        assert_eq!(turned_away, 50 - MOST_WAITING_OF_ONE);
        // Another node does not wait for this one.
        assert!(all.wait(NodeId(2)).await.is_some());
        places.pop();
        let place = waiting[0].as_mut().await;
        assert!(place.is_some());
        assert!(polled(waiting[1].as_mut()).await.is_pending());
        drop(waiting);
        assert!(all.0.outside.borrow().is_empty());
    }

    #[tokio::test]
    async fn who_keeps_a_connection_for_later_gives_way() {
        let all = Places::default();
        let places: Vec<_> = (0..MOST_OF_ONE).filter_map(|_| all.take(NodeId(1))).collect();
        let mut waiting = pin!(all.wait(NodeId(1)));
        assert!(polled(waiting.as_mut()).await.is_pending());
        places[3].idle();
        places[4].idle();
        places[4].busy();
        let second = waiting.await.expect("a place");
        places[3].lost().await;
        assert!(all.take(NodeId(1)).is_none() && polled(pin!(places[4].lost())).await.is_pending());
        drop((places, second));
        assert!(all.0.inside.borrow().is_empty());
    }

    /// Where everything is full of others, one of theirs does.
    #[test]
    fn an_idle_one_of_another_node_gives_way_where_all_is_full() {
        let all = Places::default();
        let places: Vec<_> = (0..MOST as i64).filter_map(|n| all.take(NodeId(n))).collect();
        assert!(all.take(NodeId(1)).is_none());
        places[9].idle();
        assert!(all.take(NodeId(1)).is_some());
    }

    async fn polled<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}

//! Events to come, in order of time and, within one moment, of insertion.

use engine::time::Mono;
use std::collections::BTreeMap;

/// A queue of events.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(Mono, u64), E>,
    sequence: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), sequence: 0 }
    }
}

impl<E> Queue<E> {
    /// Adds an event that happens at `at`, after all others of that moment.
    pub fn push(&mut self, at: Mono, event: E) {
        self.events.insert((at, self.sequence), event);
        self.sequence += 1;
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Mono> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next event if it happens by `now`.
    pub fn pop(&mut self, now: Mono) -> Option<E> {
        let entry = self.events.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// How many events are to come.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True if nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stable_in_time(times in proptest::collection::vec(0u64..5, 0..60)) {
            let mut queue = Queue::default();
            for (n, &at) in times.iter().enumerate() {
                queue.push(Mono::from_millis(at), n);
            }
            let got: Vec<usize> = std::iter::from_fn(|| queue.pop(Mono::from_millis(9))).collect();
            let mut expected: Vec<usize> = (0..times.len()).collect();
            expected.sort_by_key(|&n| times[n]);
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn nothing_before_its_time() {
        let mut queue = Queue::default();
        queue.push(Mono::from_millis(5), ());
        assert_eq!((queue.pop(Mono::from_millis(4)), queue.next_at()), (None, Some(Mono::from_millis(5))));
        assert_eq!((queue.pop(Mono::from_millis(5)), queue.len()), (Some(()), 0));
    }
}

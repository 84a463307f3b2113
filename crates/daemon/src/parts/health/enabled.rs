//! The tracker: what is wrong, since when, and whether it may be shown yet.

use super::warnable::{Unhealthy, Warnable};
use engine::time::Mono;
use netmap::{Map, Timestamp};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("health");

/// Everything that is wrong. Pure: moments are arguments.
#[derive(Debug, Default)]
pub struct Tracker {
    broken: Map<Warnable, Broken>,
}

#[derive(Debug)]
struct Broken {
    text: String,
    since: Mono,
    wall: Timestamp,
}

impl Tracker {
    /// Something is wrong; `text` says what and what to do. The moment it began is kept if it already was.
    pub fn set(&mut self, what: Warnable, text: impl Into<String>, now: Mono, wall: Timestamp) {
        let text = text.into();
        let broken =
            self.broken.get_or_insert_with(what, || Broken { text: String::new(), since: now, wall });
        broken.text = text;
    }

    /// It is well again.
    pub fn clear(&mut self, what: Warnable) {
        self.broken.remove(&what);
    }

    /// Whether it is wrong, shown or not.
    pub fn is_set(&self, what: Warnable) -> bool {
        self.broken.contains_key(&what)
    }

    /// What may be shown at `now`, in a stable order.
    pub fn visible(&self, now: Mono) -> Vec<Unhealthy> {
        self.broken.iter().filter(|(what, broken)| self.shows(**what, broken, now)).map(unhealthy).collect()
    }

    /// When the next one will become visible, if any waits for that.
    pub fn next_visible(&self, now: Mono) -> Option<Mono> {
        let waiting = self.broken.iter().map(|(what, broken)| broken.since + what.spec().visible_after);
        waiting.filter(|at| *at > now).min()
    }

    fn shows(&self, what: Warnable, broken: &Broken, now: Mono) -> bool {
        // What keeps the node from starting is told while it starts.
        let early = matches!(what, Warnable::WarmingUp | Warnable::StateStore | Warnable::ControlUnreachable);
        let hidden = !early && self.is_set(Warnable::WarmingUp)
            || what.spec().depends_on.iter().any(|dependency| self.is_set(*dependency));
        !hidden && now.since(broken.since) >= what.spec().visible_after
    }
}

fn unhealthy((what, broken): (&Warnable, &Broken)) -> Unhealthy {
    let spec = what.spec();
    let warming = (*what != Warnable::WarmingUp).then(|| Warnable::WarmingUp.spec().code);
    Unhealthy {
        code: spec.code.to_owned(),
        title: spec.title.to_owned(),
        text: broken.text.clone(),
        severity: spec.severity,
        since: broken.wall,
        depends_on: spec.depends_on.iter().map(|w| w.spec().code).chain(warming).collect(),
        impacts_connectivity: spec.impacts_connectivity,
        action: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const START: Mono = Mono::ZERO;

    fn codes(tracker: &Tracker, seconds: u64) -> Vec<String> {
        tracker.visible(START + Duration::from_secs(seconds)).into_iter().map(|u| u.code).collect()
    }

    #[test]
    fn delays_and_dependencies() {
        let mut tracker = Tracker::default();
        tracker.set(Warnable::NoDerpConnection, "x", START, Timestamp::ZERO);
        assert_eq!(codes(&tracker, 9), [""; 0]);
        assert_eq!(tracker.next_visible(START), Some(START + Duration::from_secs(10)));
        assert_eq!(codes(&tracker, 10), ["no-derp-connection"]);
        tracker.set(Warnable::WantRunningFalse, "y", START, Timestamp::ZERO);
        assert_eq!(codes(&tracker, 10), ["wantrunning-false"], "the cause hides its effect");
        tracker.set(Warnable::WarmingUp, "z", START, Timestamp::ZERO);
        assert_eq!(codes(&tracker, 10), ["warming-up"]);
        tracker.clear(Warnable::WarmingUp);
        tracker.clear(Warnable::WantRunningFalse);
        tracker.clear(Warnable::NoDerpConnection);
        assert!(tracker.visible(START).is_empty());
    }

    #[test]
    fn setting_again_keeps_the_beginning() {
        let mut tracker = Tracker::default();
        tracker.set(Warnable::NetworkStatus, "a", START, Timestamp::ZERO);
        tracker.set(Warnable::NetworkStatus, "b", START + Duration::from_secs(4), Timestamp::ZERO);
        let shown = tracker.visible(START + Duration::from_secs(5));
        assert_eq!(shown[0].text, "b");
    }
}

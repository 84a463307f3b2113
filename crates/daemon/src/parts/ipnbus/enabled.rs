//! The bus: everybody who watches, what each wants to see, and the bounded queue to each.

use bytes::Bytes;
use localapi::types::{HealthState, Indent, Node, Notify, PeerChange, mask, to_go_json};
use tokio::sync::mpsc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("ipnbus");

/// Messages that may wait for a watcher; one that falls further behind is cut off.
const QUEUE: usize = 128;

/// Watchers at a time.
const MAX_WATCHERS: usize = 32;

/// All watchers.
#[derive(Debug, Default)]
pub struct Bus {
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    mask: u64,
    queue: mpsc::Sender<Bytes>,
}

/// What a mask that cannot be served is answered with.
///
/// # Errors
/// The text of the 400.
pub fn check_mask(wanted: u64) -> Result<(), &'static str> {
    if wanted & mask::IN_PROCESS_NO_DISCONNECT != 0 {
        return Err("NotifyInProcessNoDisconnect is not allowed over LocalAPI");
    }
    if wanted & mask::RATE_LIMIT != 0 && wanted & mask::RATE_LIMIT_INCOMPATIBLE != 0 {
        return Err("NotifyRateLimit cannot be combined with peer or status notifications");
    }
    Ok(())
}

impl Bus {
    /// Adds a watcher; its messages come out of the receiver, each a line of JSON.
    pub fn watch(&mut self, mask: u64) -> Option<mpsc::Receiver<Bytes>> {
        self.watchers.retain(|watcher| !watcher.queue.is_closed());
        if self.watchers.len() >= MAX_WATCHERS {
            return None;
        }
        let (queue, messages) = mpsc::channel(QUEUE);
        self.watchers.push(Watcher { mask, queue });
        Some(messages)
    }

    /// Whether anybody wants what only `bits` show.
    pub fn wants(&self, bits: u64) -> bool {
        self.watchers.iter().any(|watcher| watcher.mask & bits != 0)
    }

    /// Whether anybody watches at all.
    pub fn is_watched(&self) -> bool {
        self.watchers.iter().any(|watcher| !watcher.queue.is_closed())
    }

    /// Gives `notify` to everybody, each what its mask asks for. `whole` makes nodes of patches for those who do not take
    /// patches.
    pub fn publish(&mut self, mut notify: Notify, whole: &dyn Fn(Vec<PeerChange>) -> Vec<Node>) {
        let Some(least) = self.watchers.iter().map(Watcher::sight).max() else { return };
        // What is said of health to those who take no actions, if there are any.
        let has_action =
            |health: &&HealthState| health.warnings.values().any(|it| it.primary_action.is_some());
        let mut spelled =
            notify.health.as_ref().filter(has_action).map(|health| health_for(0, health.clone()));
        let differ = spelled.is_some();
        let acts = |watcher: &Watcher| !differ || watcher.mask & mask::HEALTH_ACTIONS != 0;
        let mut lines = [const { [None, None] }; 3];
        for (sight, lines) in (0..=least).zip(&mut lines) {
            // Whoever sees less comes later, so that what they do not see is taken out and nothing is copied.
            match sight {
                PATCHES => {}
                NODES => {
                    let patches = std::mem::take(&mut notify.peer_changed_patch);
                    notify.peers_changed.extend(whole(patches));
                }
                _ => {
                    notify.peers_changed.clear();
                    notify.peers_removed.clear();
                    notify.user_profiles.clear();
                }
            }
            for (line, with_actions) in lines.iter_mut().zip([false, true]) {
                if differ {
                    // The one, then the other.
                    std::mem::swap(&mut notify.health, &mut spelled);
                }
                let wants = |it: &Watcher| it.sight() == sight && acts(it) == with_actions;
                if self.watchers.iter().any(wants) && !gojson::is_empty(&notify) {
                    *line = Some(encode(&notify));
                }
            }
        }
        self.watchers.retain(|watcher| {
            let line = lines.get(watcher.sight()).and_then(|lines| lines.get(usize::from(acts(watcher))));
            match line.cloned().flatten() {
                None => !watcher.queue.is_closed(),
                Some(line) => deliver(&watcher.queue, line),
            }
        });
    }
}

/// How much of peers a watcher sees: patches, whole nodes only, or nothing.
const PATCHES: usize = 0;
const NODES: usize = 1;
const NOTHING: usize = 2;

impl Watcher {
    fn sight(&self) -> usize {
        match self.mask & (mask::PEER_CHANGES | mask::PEER_PATCHES) {
            0 => NOTHING,
            mask::PEER_CHANGES => NODES,
            _ => PATCHES,
        }
    }
}

/// Queues a message; a full queue gets the farewell in place of its last free place.
fn deliver(queue: &mpsc::Sender<Bytes>, line: Bytes) -> bool {
    if queue.capacity() > 1 {
        return queue.try_send(line).is_ok();
    }
    let text = "IPN bus consumer fell behind; closing watch".to_owned();
    let farewell = encode(&Notify { err_message: Some(text), ..Notify::default() });
    let _ = queue.try_send(farewell);
    false
}

/// Health as the mask of a watcher asks for it: without [`mask::HEALTH_ACTIONS`] what is to be done stands in the texts
/// (features reference §4.4).
pub fn health_for(wanted: u64, mut health: HealthState) -> HealthState {
    if wanted & mask::HEALTH_ACTIONS == 0 {
        for state in health.warnings.values_mut() {
            if let Some(action) = state.primary_action.take() {
                state.text = format!("{} {}: {}", state.text, action.label, action.url);
            }
        }
    }
    health
}

/// A message as it goes over the wire.
pub fn encode(notify: &Notify) -> Bytes {
    let mut text = to_go_json(notify, Indent::None);
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::types::{State, UnhealthyAction, UnhealthyState};

    fn none(_: Vec<PeerChange>) -> Vec<Node> {
        Vec::new()
    }

    #[test]
    fn masks_decide_what_is_seen() {
        let mut bus = Bus::default();
        let mut plain = bus.watch(0).expect("room");
        let mut peers = bus.watch(mask::PEER_CHANGES).expect("room");
        let notify = Notify { peers_changed: vec![Node::default()], ..Notify::default() };
        bus.publish(notify, &none);
        assert!(plain.try_recv().is_err());
        assert!(String::from_utf8_lossy(&peers.try_recv().expect("told")).contains("PeersChanged"));
        bus.publish(Notify { state: Some(State::Running), ..Notify::default() }, &none);
        assert!(String::from_utf8_lossy(&plain.try_recv().expect("told")).contains("\"State\":6"));
    }

    #[test]
    fn patches_become_whole_nodes_for_those_who_do_not_take_them() {
        let mut bus = Bus::default();
        let mut whole = bus.watch(mask::PEER_CHANGES).expect("room");
        let mut patches = bus.watch(mask::PEER_PATCHES).expect("room");
        let notify = Notify { peer_changed_patch: vec![PeerChange::default()], ..Notify::default() };
        bus.publish(notify, &|patches| patches.into_iter().map(|_| Node::default()).collect());
        let line = |queue: &mut mpsc::Receiver<Bytes>| {
            String::from_utf8_lossy(&queue.try_recv().expect("told")).into_owned()
        };
        let (whole, patches) = (line(&mut whole), line(&mut patches));
        assert!(whole.contains("PeersChanged") && !whole.contains("PeerChangedPatch"), "{whole}");
        assert!(patches.contains("PeerChangedPatch") && !patches.contains("PeersChanged"), "{patches}");
    }

    #[test]
    fn actions_stand_in_the_text_for_those_who_do_not_take_them() {
        let primary_action = Some(UnhealthyAction { url: "https://c.example/".into(), label: "Mend".into() });
        let broken =
            UnhealthyState { text: "All is lost".into(), primary_action, ..UnhealthyState::default() };
        let health = HealthState { warnings: [("a".to_owned(), broken)].into() };
        let mut bus = Bus::default();
        let masks = [128 | 2, 640 | 2, mask::PEER_CHANGES, mask::PEER_PATCHES | mask::HEALTH_ACTIONS];
        let mut queues = masks.map(|mask| bus.watch(mask).expect("room"));
        let notify = || Notify { health: Some(health.clone()), ..Notify::default() };
        bus.publish(notify(), &none);
        for (mask, queue) in masks.into_iter().zip(&mut queues) {
            let told = String::from_utf8_lossy(&queue.try_recv().expect("told")).into_owned();
            let first = Notify { health: Some(health_for(mask, health.clone())), ..Notify::default() };
            assert_eq!(told.as_bytes(), encode(&first), "as in the first message");
            let acts = mask & mask::HEALTH_ACTIONS != 0;
            let text = if acts { "All is lost" } else { "All is lost Mend: https://c.example/" };
            assert!(told.contains(&format!("\"Text\":\"{text}\"")), "{mask}: {told}");
            assert_eq!(told.contains("PrimaryAction"), acts, "{mask}: {told}");
        }
    }

    #[test]
    fn a_slow_watcher_is_told_and_cut_off() {
        let mut bus = Bus::default();
        let mut slow = bus.watch(0).expect("room");
        for _ in 0..QUEUE + 10 {
            bus.publish(Notify { state: Some(State::Running), ..Notify::default() }, &none);
        }
        assert!(!bus.is_watched());
        let mut last = None;
        while let Ok(line) = slow.try_recv() {
            last = Some(line);
        }
        assert!(String::from_utf8_lossy(&last.expect("messages")).contains("fell behind"));
    }

    #[test]
    fn masks_that_cannot_be_served() {
        assert!(check_mask(0).is_ok());
        assert!(check_mask(mask::IN_PROCESS_NO_DISCONNECT).is_err());
        assert!(check_mask(mask::RATE_LIMIT | mask::PEER_PATCHES).is_err());
    }
}

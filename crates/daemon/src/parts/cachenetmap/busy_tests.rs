//! A map in which something changes all the time while it is put into bytes.

use super::super::file::read;
use super::*;
use netmap::{Changes, Delta, Node, NodeId, PeerPatch, RegionId};

const PEERS: i64 = 5000;

/// What is kept of a large map that has just come, and how it goes on.
struct Busy {
    map: NetMap,
    mark: Mark,
    kept: Kept,
    drafting: Option<Drafting>,
    now: Mono,
}

impl Busy {
    fn new(path: PathBuf) -> Self {
        let (mut map, mut changes, mut mark) = (NetMap::default(), Changes::default(), Mark::default());
        for id in 1..=PEERS {
            map.upsert_peer(Node { id: NodeId(id), ..Node::default() }, &mut changes);
        }
        mark.heard(&changes, true);
        let mut schedule = Schedule::default();
        schedule.news(Mono::ZERO);
        let kept = Kept { path: Some(path), substance: None, schedule };
        Self { map, mark, kept, drafting: None, now: Mono::ZERO }
    }

    /// A message of control comes, and both turns of the thread pass.
    fn message(&mut self, delta: Delta) {
        self.now = self.now + Duration::from_millis(20);
        let mut changes = Changes::default();
        self.map.apply(delta, false, Timestamp::from_unix(1_800_000_000), &mut changes);
        self.mark.heard(&changes, false);
        self.kept.schedule.news(self.now);
        match self.drafting.take() {
            None if self.kept.schedule.due().is_some_and(|at| at <= self.now) => {
                let (owner, disco) =
                    (Owner::new("https://c.example", &Default::default()), DiscoPrivate::from_bytes([8; 32]));
                let draft =
                    Draft::new(&owner, &disco, RegionId(1), Timestamp::from_unix(1_800_000_000), &self.map);
                self.drafting = Some(Drafting::new(draft, self.mark));
            }
            None => {}
            Some(mut drafting) => match drafting.step(self.mark, Some(&self.map)) {
                true => self.drafting = Some(drafting),
                false => self.kept.end(drafting, self.mark, self.now, SystemTime::UNIX_EPOCH),
            },
        }
    }

    /// The same with a patch, of one peer after the other.
    fn patch(&mut self) {
        let id = NodeId(1 + self.now.as_nanos() as i64 / 20_000_000 % PEERS);
        let patch = PeerPatch { id, online: Some(true), ..PeerPatch::default() };
        self.message(Delta { patches: vec![patch], ..Delta::default() });
    }
}

#[test]
fn patches_do_not_keep_a_map_from_being_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("map");
    let mut busy = Busy::new(path.clone());
    while !path.exists() && busy.now < Mono::ZERO + Duration::from_secs(3600) {
        busy.patch();
    }
    let written = busy.now.since(Mono::ZERO);
    assert!(written < Duration::from_secs(13), "{written:?}");
    let found = read(&std::fs::read(&path).expect("written")).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(found.map.peer_count(), PEERS as usize);
    // What the patches have changed meanwhile is looked at as well, at its time.
    assert_eq!(busy.kept.schedule.due(), Some(busy.now + Duration::from_secs(600)));
}

#[test]
fn a_map_that_has_become_another_is_begun_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("map");
    let mut busy = Busy::new(path.clone());
    while busy.drafting.is_none() {
        busy.patch();
    }
    busy.message(Delta { self_node: Some(Node { id: NodeId(9), ..Node::default() }), ..Delta::default() });
    assert!(busy.drafting.is_none() && !path.exists());
    let again = busy.now + Duration::from_secs(60);
    assert_eq!(busy.kept.schedule.due(), Some(again));
    while !path.exists() && busy.now < again + Duration::from_secs(60) {
        busy.patch();
    }
    let found = read(&std::fs::read(&path).expect("written")).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(found.map.self_node.id, NodeId(9));
}

//! Many small stories, each told by its seed: two or three engines, and a world that does its worst.
//!
//! `SMALLTAIL_SEEDS=10000 cargo test -p sim --test seeds` tries more of them; `SMALLTAIL_SEED=123` tries one and prints
//! what happened in it. What always holds is checked at every step (here and in [`sim::witness`]); what holds in the
//! end is checked after the world has calmed down.

mod story;

use std::panic::{AssertUnwindSafe, catch_unwind};
use story::Story;

/// Stories in an ordinary run.
const SEEDS: u64 = 64;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number: use digits, as in {name}=123")),
    )
}

#[test]
fn stories() {
    if let Some(seed) = number("SMALLTAIL_SEED") {
        let mut story = Story::new(seed);
        let outcome = catch_unwind(AssertUnwindSafe(|| story.tell()));
        println!("{}", story.net.world.timeline.render());
        outcome.expect("the story of this seed fails, see above");
        return;
    }
    let (mut stories, mut arrived) = (0, 0);
    for seed in 0..number("SMALLTAIL_SEEDS").unwrap_or(SEEDS) {
        let mut story = Story::new(seed);
        story.net.world.log_datagrams = false;
        let outcome = catch_unwind(AssertUnwindSafe(|| story.tell()));
        assert!(
            outcome.is_ok(),
            "seed {seed} fails, see above; SMALLTAIL_SEED={seed} cargo test -p sim --test seeds -- --nocapture tells all"
        );
        stories += 1;
        arrived += story.arrived.len();
    }
    assert!(arrived > stories * 5, "only {arrived} packets arrived in {stories} stories: they test nothing");
}

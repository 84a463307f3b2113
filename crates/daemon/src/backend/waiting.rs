//! Patience: control that does not answer at all, and a store that could not be written.
//!
//! A connection that hangs is an error only after many seconds; whoever looks at `status` wants to know earlier.

use super::{Backend, Effect, Moment};
use crate::backend::profiles::control_url;
use crate::parts::health::Warnable;
use engine::time::Mono;
use std::time::Duration;

/// Silence of control that is worth a word, while nothing works yet.
const SILENCE: Duration = Duration::from_millis(2500);

/// A write that failed is tried again after this: the disk may have room again, and nothing else may change for weeks.
const SAVE_AGAIN: Duration = Duration::from_secs(300);

/// What is waited for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Control should have answered by then.
    answer: Option<Mono>,
    /// The store is to be written again then.
    save: Option<Mono>,
}

impl Waiting {
    /// The next moment at which something must be done.
    pub(super) fn next(&self) -> Option<Mono> {
        [self.answer, self.save].into_iter().flatten().min()
    }
}

impl Backend {
    /// Control has been asked something that this node cannot go on without.
    pub(super) fn expect_answer(&mut self, now: Moment) {
        self.waiting.answer = (!self.have_netmap | self.cached.holds()).then(|| now.mono + SILENCE);
    }

    /// Control has answered, or told why it does not.
    pub(super) fn answered(&mut self) {
        self.waiting.answer = None;
    }

    /// Does what is due.
    pub(super) fn waited(&mut self, now: Moment) {
        if self.waiting.answer.is_some_and(|at| at <= now.mono) {
            self.waiting.answer = None;
            let url = control_url(self.prefs());
            let text = format!("Cannot reach the coordination server: no answer yet from {url}");
            if !self.health.is_set(Warnable::ControlUnreachable) {
                self.health.set(Warnable::ControlUnreachable, text, now.mono, now.wall);
            }
        }
        if self.waiting.save.is_some_and(|at| at <= now.mono) {
            self.waiting.save = None;
            // What could not be written is still there: any write makes up for it.
            self.effects.push_back(Effect::Save(Vec::new()));
        }
    }

    /// The store was written, or why not.
    pub(super) fn saved(&mut self, result: Result<(), String>, now: Moment) {
        self.waiting.save = result.is_err().then(|| now.mono + SAVE_AGAIN);
        match result {
            Ok(()) if self.store_problem.is_none() => self.health.clear(Warnable::StateStore),
            Ok(()) => {}
            Err(problem) => {
                if !self.health.is_set(Warnable::StateStore) {
                    log::error!("{problem}");
                }
                self.health.set(Warnable::StateStore, problem, now.mono, now.wall);
            }
        }
    }
}

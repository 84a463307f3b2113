//! Logging out: control ends the session, then the profile goes.
//!
//! Leaves out: asking control (`node`), what another profile in use brings with it (`login`).

use super::input::Reply;
use super::login::Login;
use super::{Backend, Effect, Moment};
use keys::NodePublic;
use localapi::types::Prefs;

/// A logout that control is asked for.
#[derive(Debug)]
pub(super) struct Logout {
    /// Id of the profile that ends with it; empty if it was not stored yet.
    profile: String,
    /// Its node key, which it has earlier than its id.
    key: NodePublic,
    /// Who waits for what comes of it.
    replies: Vec<Reply<Result<(), String>>>,
}

impl Backend {
    pub(super) fn logout(&mut self, now: Moment, reply: Reply<Result<(), String>>) {
        if !self.have_node_key() && self.profiles.current().id.is_empty() {
            return reply.send(Ok(()));
        }
        if let Err(error) = self.check_unlocked() {
            return reply.send(Err(error));
        }
        let prefs = Prefs { want_running: false, logged_out: true, ..self.prefs().clone() };
        self.put_prefs(prefs, now);
        // The control client stops at once, whatever comes of it: to come back is to log in.
        self.login = Login::None;
        self.settle(now);
        self.notify_prefs();
        let id = &self.profiles.current().id;
        match self.logouts.iter_mut().find(|logout| logout.profile == *id) {
            Some(under_way) => under_way.replies.push(reply),
            None => {
                let (profile, key) = (id.clone(), self.node_key().public());
                self.logouts.push_back(Logout { profile, key, replies: vec![reply] });
                // It may have been left, and only control can end the key.
                if !self.control_running {
                    self.start_control();
                }
                self.effects.push_back(Effect::Logout);
            }
        }
    }

    pub(super) fn logged_out(&mut self, result: Result<(), String>, now: Moment) {
        let Some(Logout { profile, key, replies }) = self.logouts.pop_front() else { return };
        if result.is_ok() {
            // Another one may have come into use since.
            let id = self.profiles.current().id.clone();
            let current = id == profile || (profile.is_empty() && self.node_key().public() == key);
            let changes = self.profiles.delete(if current { &id } else { &profile });
            self.save(changes);
            if current {
                self.profiles.switch_to_new();
                self.profile_changed(now);
            }
        }
        for reply in replies {
            reply.send(result.clone());
        }
    }
}

//! A node that is set up by a configuration file, and two wishes that only control can fulfil.
//!
//! Owns: putting the file's settings in force at start and when it is read again, the lock, the file's auth key.
//! Leaves out: reading the file (`config`), what settings mean.

use super::health::Heard;
use super::input::Reply;
use super::login::AUTH_KEY_LIFE;
use super::{Backend, Effect, Moment, State, edit};
use crate::config::{Config, LOCKED};
use netmap::Timestamp;

impl Backend {
    /// Puts in force what the file says. At start nothing else follows: the start does all of it.
    pub(super) fn set_config(&mut self, config: Config, now: Moment) -> Result<(), String> {
        let old = self.prefs().clone();
        let mut next = edit::apply(&old, &config.edit)?;
        self.check_settings(&next)?;
        self.settle_exit_node(&mut next);
        let starting = self.config.is_none();
        let fixed = self.config.as_ref().map(|old| old.static_endpoints.as_slice()).unwrap_or_default();
        if fixed != config.static_endpoints {
            self.effects.push_back(Effect::StaticEndpoints(config.static_endpoints.clone()));
        }
        self.config = Some(config);
        if starting {
            // A file that says what is in force already costs no write.
            if next != old {
                self.put_prefs(next, now);
            }
            return Ok(());
        }
        // A stored login stays as it is, also where the file names another server: that counts from the next start on.
        let out = !self.have_node_key();
        if next != old {
            self.change_prefs(next, &old, now);
        }
        let waits = matches!(self.state, State::NeedsLogin | State::NoState);
        if out && waits && self.prefs().want_running && self.store_problem.is_none() {
            // The file may hold the key that was missing.
            self.start(None, now);
        }
        Ok(())
    }

    /// The file's settings cannot be changed by commands while it is locked.
    pub(super) fn check_unlocked(&self) -> Result<(), String> {
        match &self.config {
            Some(config) if config.locked => Err(LOCKED.to_owned()),
            _ => Ok(()),
        }
    }

    /// A login that follows now may use the file's auth key, unless it was given another.
    pub(super) fn use_configured_key(&mut self, now: Moment) {
        let given = self.auth_key.as_ref().is_some_and(|(_, until)| now.mono < *until);
        let key = self.config.as_ref().and_then(Config::auth_key);
        if let Some(key) = key.filter(|_| !given) {
            self.auth_key = Some((key.to_owned(), now.mono + AUTH_KEY_LIFE));
        }
    }

    /// Only control can let our key expire earlier.
    pub(super) fn expire_sooner(&mut self, at: Timestamp, reply: Reply<Result<(), String>>) {
        if !self.control_running || !self.have_node_key() {
            return reply.send(Err("not running".to_owned()));
        }
        self.effects.push_back(Effect::ExpireSooner(at, reply));
    }

    /// Leaves control until the next start or login; peers and the last map stay.
    pub(super) fn disconnect_control(&mut self, now: Moment) -> Result<(), String> {
        if std::mem::take(&mut self.control_running) {
            self.in_map_poll = false;
            self.heard = Heard::default();
            self.answered();
            self.effects.push_back(Effect::StopControl);
            self.settle(now);
        }
        Ok(())
    }
}

//! Starting and logging in, and starting over for another profile.

use super::health::Heard;
use super::input::Reply;
use super::profiles::{self, control_url};
use super::{Backend, ControlStart, Effect, Moment, PeerSet, State, WARMING_UP, time};
use crate::parts::health::Warnable;
use keys::{MachinePrivate, NlPrivate};
use localapi::types::{Notify, Options, Persist, Prefs, UserProfile};
use netmap::NetMap;
use std::time::Duration;

/// Where a login stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// None is under way.
    None,
    /// Control is being asked.
    UnderWay,
    /// The user must visit a URL.
    WaitsForUser,
    /// We are registered.
    Done,
}

impl Login {
    /// Nothing happens unless the user does something.
    pub(super) const fn cannot_continue(self) -> bool {
        matches!(self, Self::None | Self::WaitsForUser)
    }
}

/// How long after `start` its auth key may be used: what `up` asks for follows at once.
pub(super) const AUTH_KEY_LIFE: Duration = Duration::from_secs(10);

impl Backend {
    /// (Re)starts everything, with new settings if there are any (features reference §7).
    pub(super) fn start(&mut self, options: Option<Options>, now: Moment) {
        let was_running = self.state == State::Running;
        self.state = State::NoState;
        self.login = Login::None;
        self.in_map_poll = false;
        self.heard = Heard::default();
        self.auth_url = None;
        self.paused = false;
        if let Some(options) = options {
            self.auth_key =
                Some((options.auth_key, now.mono + AUTH_KEY_LIFE)).filter(|(key, _)| !key.is_empty());
            if let Some(prefs) = options.update_prefs {
                if control_url(&prefs) != control_url(self.prefs()) {
                    self.forget_map();
                }
                let persist = self.prefs().persist.clone();
                let mut next = Prefs { persist, ..*prefs };
                self.settle_exit_node(&mut next);
                self.put_prefs(next, now);
                if self.have_netmap {
                    // The state may come back to what it was, and then nothing else would tell engine and system.
                    self.reconfigure();
                    self.effects.push_back(Effect::SyncPeers(PeerSet::All));
                }
            }
        }
        if !was_running {
            self.use_configured_key(now);
        }
        self.notify_prefs();
        if self.store_problem.is_some() {
            return self.settle(now);
        }
        let prefs = self.prefs();
        let (wanted, logged_out) = (prefs.want_running, prefs.logged_out);
        if wanted {
            self.warm_at = Some(now.mono + WARMING_UP);
            let text = "Tailscale is starting. Please wait.";
            self.health.set(Warnable::WarmingUp, text, now.mono, now.wall);
        }
        self.start_control();
        // Also a stopped node is registered anew: it is told its map once. A node that a file wants up logs in by itself.
        if !logged_out && (self.have_node_key() || (wanted && self.config.is_some())) {
            self.log_in(false, now);
        }
        self.settle(now);
    }

    pub(super) fn start_control(&mut self) {
        let machine_key = self.machine_key();
        let persist = self.profiles.persist().cloned().unwrap_or_default();
        let start = ControlStart {
            server_url: control_url(self.prefs()).to_owned(),
            machine_key,
            persisted: control::Persisted {
                node_key: persist.private_node_key.clone(),
                old_node_key: persist.old_private_node_key.clone(),
                nl_key: persist.network_lock_key,
            },
        };
        self.control_running = true;
        self.effects.push_back(Effect::StartControl(Box::new(start)));
        self.report();
    }

    /// The key of this installation, made when it is first needed.
    fn machine_key(&mut self) -> MachinePrivate {
        if let Some(key) = &self.machine_key {
            return key.clone();
        }
        let key = MachinePrivate::generate(&mut &mut *self.rng);
        self.save(vec![profiles::machine_key_change(&key)]);
        self.machine_key = Some(key.clone());
        key
    }

    /// The user wants the node up again.
    pub(super) fn login_again(&mut self, now: Moment) {
        self.warm_at = Some(now.mono + WARMING_UP);
        let text = "Tailscale is starting. Please wait.";
        self.health.set(Warnable::WarmingUp, text, now.mono, now.wall);
        if self.have_node_key() && self.login != Login::Done {
            self.log_in(false, now);
        }
    }

    pub(super) fn log_in(&mut self, new_key: bool, now: Moment) {
        // A key that has run out by the clock is renewed without asking control about it first.
        let expired = self.have_netmap && self.netmap.self_node.is_expired(now.wall);
        self.ensure_lock_key(now);
        if !self.control_running {
            self.start_control();
        }
        self.login = Login::UnderWay;
        self.expect_answer(now);
        // Kept for a while: `start` may begin a login that `login-interactive` replaces before, or just after, control
        // has answered it.
        let auth_key =
            self.auth_key.as_ref().filter(|(_, until)| now.mono < *until).map(|(key, _)| key.clone());
        let login = control::Login { auth_key, new_key: new_key || expired, expiry: None };
        self.control(control::Command::Login(login));
    }

    /// A profile announces a network-lock key from its first login on.
    fn ensure_lock_key(&mut self, now: Moment) {
        if self.profiles.persist().is_some_and(|p| !p.network_lock_key.is_zero()) {
            return;
        }
        let network_lock_key = NlPrivate::generate(&mut &mut *self.rng);
        let persist = self.profiles.persist().cloned().unwrap_or_default();
        let persist = Some(Persist { network_lock_key, ..persist });
        self.put_prefs(Prefs { persist, ..self.prefs().clone() }, now);
    }

    pub(super) fn command_start(&mut self, options: Options, now: Moment, reply: Reply<Result<(), String>>) {
        if let Some(problem) = &self.store_problem {
            return reply.send(Err(format!("cannot start backend when state store is unhealthy: {problem}")));
        }
        if let Some(Err(error)) = options.update_prefs.as_deref().map(|prefs| self.check(prefs)) {
            return reply.send(Err(error));
        }
        self.start(Some(options), now);
        reply.send(Ok(()));
    }

    pub(super) fn login_interactive(&mut self, now: Moment, reply: Reply<Result<(), String>>) {
        if let Some(problem) = &self.store_problem {
            return reply.send(Err(format!("cannot log in when state store is unhealthy: {problem}")));
        }
        reply.send(Ok(()));
        match self.auth_url.clone().filter(|_| self.login == Login::WaitsForUser) {
            Some(url) => self.notify(Notify { browse_to_url: Some(url), ..Notify::default() }),
            None => self.log_in(true, now),
        }
        self.settle(now);
    }

    pub(super) fn auth_url_came(&mut self, url: String, now: Moment) {
        self.login = Login::WaitsForUser;
        if self.cached.holds() {
            // Control does not know this node any more.
            self.forget_map();
        }
        self.answered();
        self.health.clear(Warnable::ControlUnreachable);
        self.auth_key = None;
        if self.have_netmap {
            // The last map is still in force, so nothing else would show it.
            let text = format!("The coordination server asks for a new login of this node. Log in at: {url}");
            self.health.set(Warnable::LoginState, text, now.mono, now.wall);
        }
        self.auth_url = Some(url.clone());
        self.notify(Notify { browse_to_url: Some(url), ..Notify::default() });
        self.settle(now);
    }

    pub(super) fn registered(&mut self, news: control::LoggedIn, now: Moment) {
        // Whoever visits a URL wants the node up; a stopped node that is registered again stays down.
        let visited = self.auth_url.is_some();
        self.login = Login::Done;
        self.blocked = false;
        self.key_refused = false;
        self.auth_url = None;
        self.expect_answer(now);
        self.health.clear(Warnable::LoginState);
        self.health.clear(Warnable::ControlUnreachable);
        let user = UserProfile {
            id: news.user.id.0,
            login_name: news.user.login_name.to_string(),
            display_name: news.user.display_name.to_string(),
            profile_pic_url: news.user.profile_pic_url.to_string(),
            groups: Vec::new(),
        };
        let old = self.profiles.persist().cloned().unwrap_or_default();
        let rotated = news.rotated;
        if rotated {
            self.auth_key = None;
        }
        let persist = Persist {
            private_node_key: news.node_key,
            old_private_node_key: keys::NodePrivate::zero(),
            user_profile: user,
            ..old
        };
        let mut prefs = Prefs { persist: Some(persist), logged_out: false, ..self.prefs().clone() };
        prefs.want_running |= visited;
        prefs.control_url = control_url(&prefs).to_owned();
        self.put_prefs(prefs, now);
        if rotated {
            self.cached.forget();
            self.reconfigure();
            self.effects.push_back(Effect::Relays);
        }
        self.login_finished();
        self.notify_prefs();
        self.settle(now);
    }

    pub(super) fn login_failed(&mut self, error: &control::Error, retrying: bool, now: Moment) {
        self.login = if retrying { Login::UnderWay } else { Login::None };
        if !retrying && self.cached.holds() {
            self.forget_map();
        }
        self.auth_key = None;
        self.control_running &= !matches!(error, control::Error::ServerUrl { .. });
        // Nothing starts any more, and what follows must be seen.
        self.warm_at = None;
        self.health.clear(Warnable::WarmingUp);
        self.answered();
        self.health.clear(Warnable::ControlUnreachable);
        let text = error.to_string();
        let health = format!("You are logged out. The last login error was: {text}");
        self.health.set(Warnable::LoginState, health, now.mono, now.wall);
        self.notify(Notify { err_message: Some(text), ..Notify::default() });
        self.settle(now);
    }

    pub(super) fn key_expired(&mut self, now: Moment) {
        self.key_refused = true;
        self.cached.forget();
        self.login = Login::UnderWay;
        self.settle(now);
    }

    /// Another profile is in use: everything starts over.
    pub(super) fn profile_changed(&mut self, now: Moment) {
        self.forget_map();
        self.health.clear(Warnable::LoginState);
        self.health.clear(Warnable::ControlUnreachable);
        self.blocked = false;
        self.key_refused = false;
        self.auth_key = None;
        if self.state != State::NoState {
            self.state = State::NoState;
            self.notify(Notify { state: Some(State::NoState), ..Notify::default() });
        }
        self.start(None, now);
    }

    /// What control decided for another login does not count any more.
    pub(super) fn forget_map(&mut self) {
        self.have_netmap = false;
        self.cached.forget();
        self.cached.replaced();
        self.netmap = NetMap::default();
        self.changes = netmap::Changes::default();
        self.home = netmap::RegionId::NONE;
        self.forget_latencies();
        self.home_error.clear();
        self.health.clear(Warnable::DerpRegionError);
        self.suggest_anew();
        self.effects.push_back(Effect::Relays);
        self.reconfigure();
        self.effects.push_back(Effect::SyncPeers(PeerSet::All));
    }

    /// Puts settings in force and stores them.
    pub(super) fn put_prefs(&mut self, prefs: Prefs, now: Moment) {
        let network = self.netmap().map(super::map::network_profile);
        let rng = &mut self.rng;
        let id = || {
            let mut bytes = [0; 2];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        let changes = self.profiles.set_prefs(prefs, network, id, time(now));
        self.save(changes);
    }
}

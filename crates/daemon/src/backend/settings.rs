//! Commands of the LocalAPI that change settings or profiles.

use super::input::{Command, Reply};
use super::{Backend, Effect, Moment, PeerSet, edit};
use crate::parts::wishes;
use crate::state::Store;
use localapi::types::{MaskedPrefs, Prefs};

impl Backend {
    pub(super) fn handle_command(&mut self, command: Command, store: &Store, now: Moment) {
        match command {
            Command::Start(options, reply) => self.command_start(*options, now, reply),
            Command::EditPrefs(edit, reply) => reply.send(self.edit_prefs(&edit, now)),
            Command::CheckPrefs(prefs, reply) => reply.send(self.check(&prefs)),
            Command::LoginInteractive(reply) => self.login_interactive(now, reply),
            Command::Logout(reply) => self.logout(now, reply),
            Command::SwitchProfile(id, reply) => reply.send(self.switch_profile(&id, store, now)),
            Command::NewProfile(reply) => {
                if let Some(problem) = &self.store_problem {
                    return reply
                        .send(Err(format!("cannot log in when state store is unhealthy: {problem}")));
                }
                self.profiles.switch_to_new();
                self.profile_changed(now);
                reply.send(Ok(()));
            }
            Command::DeleteProfile(id, reply) => {
                let current = self.profiles.current().id == id;
                let changes = self.profiles.delete(&id);
                self.save(changes);
                if current {
                    self.profile_changed(now);
                }
                reply.send(Ok(()));
            }
            Command::ResetAuth(reply) => self.reset_auth(now, reply),
            Command::SetConfig(config, reply) => reply.send(self.set_config(*config, now)),
            Command::ExpireSooner(at, reply) => self.expire_sooner(at, reply),
            Command::UseExitNode(on, reply) => reply.send(self.use_exit_node(on, now)),
            Command::DisconnectControl(reply) => reply.send(self.disconnect_control(now)),
        }
    }

    /// Whether the user may have these settings.
    pub(super) fn check(&self, prefs: &Prefs) -> Result<(), String> {
        self.check_unlocked()?;
        self.check_settings(prefs)
    }

    /// Whether this node can have these settings.
    pub(super) fn check_settings(&self, prefs: &Prefs) -> Result<(), String> {
        edit::check(prefs, self.prefs(), self.profiles.current(), &self.profiles.list())
    }

    fn switch_profile(&mut self, id: &str, store: &Store, now: Moment) -> Result<(), String> {
        if self.profiles.current().id == id {
            return Ok(());
        }
        let changes = self.profiles.switch(id, store)?;
        self.save(changes);
        self.profile_changed(now);
        Ok(())
    }

    fn reset_auth(&mut self, now: Moment, reply: Reply<Result<(), String>>) {
        let changes = self.profiles.reset();
        self.save(changes);
        self.machine_key = None;
        self.profile_changed(now);
        reply.send(Ok(()));
    }

    /// `PATCH prefs`. An edit that changes nothing writes nothing and tells nobody.
    fn edit_prefs(&mut self, edit: &MaskedPrefs, now: Moment) -> Result<Prefs, String> {
        let old = self.prefs().clone();
        let mut next = edit::apply(&old, edit)?;
        self.check(&next)?;
        if let Some(refusal) = wishes::refused_dns(edit, &old) {
            return Err(refusal);
        }
        self.settle_exit_node(&mut next);
        if next == old {
            return Ok(next.redacted());
        }
        if let Some(problem) = self.store_problem.as_ref().filter(|_| next.want_running && !old.want_running)
        {
            return Err(format!("cannot start backend when state store is unhealthy: {problem}"));
        }
        self.change_prefs(next, &old, now);
        Ok(self.prefs().redacted())
    }

    /// Puts settings in force, with everything that follows from them.
    pub(super) fn change_prefs(&mut self, next: Prefs, old: &Prefs, now: Moment) {
        let wanted = next.want_running;
        self.put_prefs(next, now);
        self.report();
        if wanted && !old.want_running {
            self.login_again(now);
        }
        // Routes and filter may follow other rules now.
        self.reconfigure();
        self.effects.push_back(Effect::SyncPeers(PeerSet::All));
        self.settle(now);
        self.notify_prefs();
    }
}

//! Logins and their settings, as Go lays them out in the state file (features reference §5.3, §5.4).
//!
//! Owns: which profile is current, what each holds, and which keys of the store change when they do.
//! Leaves out: writing (an effect) and everything that settings mean.

use crate::state::Store;
use gojson::Map;
use keys::MachinePrivate;
use localapi::types::{
    DEFAULT_CONTROL_URL, Indent, LoginProfile, NetworkProfile, Persist, Prefs, Time, to_go_json,
};

const CURRENT: &str = "_current-profile";
const PROFILES: &str = "_profiles";
const MACHINE_KEY: &str = "_machinekey";
const LEGACY: &str = "_daemon";

/// Keys of the store to set or remove.
pub type Changes = Vec<(String, Option<Vec<u8>>)>;

/// All logins of the state file and the one in use.
#[derive(Debug)]
pub struct Profiles {
    known: Map<String, LoginProfile>,
    current: LoginProfile,
    prefs: Prefs,
}

impl Profiles {
    /// Reads what `store` holds. What cannot be understood is told in the second value and left alone in the
    /// store: a damaged profile never becomes a new identity that overwrites it.
    pub fn load(store: &Store) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let known: Map<String, LoginProfile> = match store.read(PROFILES) {
            Some(json) => gojson::from_slice(json).unwrap_or_else(|error| {
                problems.push(format!("the list of profiles in the state file is damaged: {error}"));
                Map::new()
            }),
            None => Map::new(),
        };
        let mut profiles = Self { known, current: LoginProfile::default(), prefs: new_prefs() };
        let key = store.read(CURRENT).map(|text| String::from_utf8_lossy(text).into_owned());
        let current = key.as_ref().and_then(|key| profiles.known.values().find(|p| p.key == *key).cloned());
        match current {
            Some(profile) => {
                if let Err(problem) = profiles.switch_to(profile, store) {
                    problems.push(problem);
                }
            }
            None => {
                // Before profiles existed, settings were stored under this key.
                let legacy = store.read(LEGACY).filter(|_| key.is_none() && profiles.known.is_empty());
                if let Some(prefs) = legacy.and_then(|json| Prefs::load(json).ok()) {
                    profiles.prefs = prefs;
                }
            }
        }
        (profiles, problems)
    }

    /// The settings in force.
    pub const fn prefs(&self) -> &Prefs {
        &self.prefs
    }

    /// The profile in use; its id is empty while it is new.
    pub const fn current(&self) -> &LoginProfile {
        &self.current
    }

    /// The keys of the current profile, if it has any.
    pub fn persist(&self) -> Option<&Persist> {
        self.prefs.persist.as_ref()
    }

    /// Every stored profile, oldest first.
    pub fn list(&self) -> Vec<LoginProfile> {
        let mut all: Vec<LoginProfile> = self.known.values().cloned().collect();
        all.sort_by(|a, b| {
            let order = |p: &LoginProfile| (p.created, p.name.clone(), p.network_profile.domain_name.clone());
            order(a).cmp(&order(b))
        });
        all
    }

    /// The stored profile with this id.
    pub fn find(&self, id: &str) -> Option<&LoginProfile> {
        self.known.get(id)
    }

    /// Puts `prefs` in force. A profile is stored only once control has told who it is (node id and login);
    /// until then nothing is written. `id` makes a new id, `network` is what the netmap says of the tailnet.
    pub fn set_prefs(
        &mut self,
        prefs: Prefs,
        network: Option<NetworkProfile>,
        id: impl FnOnce() -> [u8; 2],
        now: Time,
    ) -> Changes {
        self.prefs = prefs;
        let Some(persist) = self.prefs.persist.clone().filter(|p| !p.node_id.is_empty()) else {
            return Vec::new();
        };
        let mut changes = self.merge_duplicates(&persist);
        if self.current.id.is_empty() {
            let mut bytes = id();
            while self.known.contains_key(&hex(bytes)) {
                bytes = u16::from_be_bytes(bytes).wrapping_add(1).to_be_bytes();
            }
            self.current.id = hex(bytes);
            self.current.key = format!("profile-{}", self.current.id);
            self.current.created = now;
        }
        let login = &persist.user_profile.login_name;
        let name = if self.prefs.profile_name.is_empty() { login } else { &self.prefs.profile_name };
        self.current.name = name.clone();
        self.current.user_profile = persist.user_profile.clone();
        self.current.node_id = persist.node_id.clone();
        self.current.control_url = self.prefs.control_url.clone();
        if let Some(network) = network {
            self.current.network_profile = network;
        }
        self.known.insert(self.current.id.clone(), self.current.clone());
        changes.push((self.current.key.clone(), Some(to_go_json(&self.prefs, Indent::Tab).into_bytes())));
        changes.push(self.list_change());
        changes.push((CURRENT.to_owned(), Some(self.current.key.clone().into_bytes())));
        changes
    }

    /// The same user or node of the same control server twice is one profile: the first takes over.
    fn merge_duplicates(&mut self, persist: &Persist) -> Changes {
        let url = &self.prefs.control_url;
        let same = |p: &LoginProfile| {
            let user = persist.user_profile.id;
            p.control_url == *url
                && ((user != 0 && p.user_profile.id == user) || p.node_id == persist.node_id)
        };
        let mut twins: Vec<LoginProfile> = self.list().into_iter().filter(same).collect();
        if twins.is_empty() {
            return Vec::new();
        }
        let first = twins.remove(0);
        let own = std::mem::replace(&mut self.current, first);
        twins.extend((own.id != self.current.id && !own.id.is_empty()).then_some(own));
        twins.retain(|twin| twin.id != self.current.id);
        twins
            .into_iter()
            .map(|twin| {
                self.known.remove(&twin.id);
                (twin.key, None)
            })
            .collect()
    }

    /// Uses a stored profile. Its settings are read from `store`.
    pub fn switch(&mut self, id: &str, store: &Store) -> Result<Changes, String> {
        let profile = self.known.get(id).cloned().ok_or_else(|| "profile not found".to_owned())?;
        self.switch_to(profile, store)?;
        Ok(vec![(CURRENT.to_owned(), Some(self.current.key.clone().into_bytes()))])
    }

    fn switch_to(&mut self, profile: LoginProfile, store: &Store) -> Result<(), String> {
        let mut prefs = match store.read(&profile.key) {
            Some(json) => Prefs::load(json).map_err(|error| {
                format!("the settings of profile {} in the state file are damaged: {error}", profile.id)
            })?,
            None => new_prefs(),
        };
        if prefs.control_url == "https://login.tailscale.com" {
            prefs.control_url.clear();
        }
        self.prefs = prefs;
        self.current = profile;
        Ok(())
    }

    /// Uses a fresh profile that is not stored yet; the old one stays.
    pub fn switch_to_new(&mut self) {
        self.current = LoginProfile::default();
        self.prefs = new_prefs();
    }

    /// Forgets a stored profile; an unknown id changes nothing.
    pub fn delete(&mut self, id: &str) -> Changes {
        let Some(gone) = self.known.remove(id) else { return Vec::new() };
        if self.current.id == gone.id {
            self.switch_to_new();
        }
        vec![(gone.key, None), self.list_change()]
    }

    /// Forgets every profile and the machine key.
    pub fn reset(&mut self) -> Changes {
        let ids: Vec<String> = self.known.keys().cloned().collect();
        let mut changes: Changes = ids.iter().flat_map(|id| self.delete(id)).collect();
        self.switch_to_new();
        changes.push((MACHINE_KEY.to_owned(), None));
        changes
    }

    fn list_change(&self) -> (String, Option<Vec<u8>>) {
        (PROFILES.to_owned(), Some(to_go_json(&self.known, Indent::None).into_bytes()))
    }
}

/// What a profile starts with: default settings, logged out.
fn new_prefs() -> Prefs {
    Prefs { logged_out: true, ..Prefs::new_default() }
}

fn hex(bytes: [u8; 2]) -> String {
    format!("{:04x}", u16::from_be_bytes(bytes))
}

/// Where to log in: the profile's control server, or Tailscale's.
pub fn control_url(prefs: &Prefs) -> &str {
    if prefs.control_url.is_empty() { DEFAULT_CONTROL_URL } else { &prefs.control_url }
}

/// The stored machine key.
///
/// # Errors
/// When there is one that cannot be read: it must not be replaced.
pub(super) fn machine_key(store: &Store) -> Result<Option<MachinePrivate>, String> {
    let Some(text) = store.read(MACHINE_KEY) else { return Ok(None) };
    let key = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<MachinePrivate>().ok());
    match key.filter(|key| !key.is_zero()) {
        Some(key) => Ok(Some(key)),
        None => Err("the machine key in the state file is damaged".to_owned()),
    }
}

/// The change that stores a machine key.
pub(super) fn machine_key_change(key: &MachinePrivate) -> (String, Option<Vec<u8>>) {
    (MACHINE_KEY.to_owned(), Some(key.to_text().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::types::UserProfile;

    fn login(node: &str, user: i64) -> Prefs {
        let user_profile =
            UserProfile { id: user, login_name: format!("u{user}@example.com"), ..UserProfile::default() };
        let persist = Persist { node_id: node.to_owned(), user_profile, ..Persist::default() };
        Prefs { persist: Some(persist), want_running: true, ..Prefs::new_default() }
    }

    fn apply(store: &mut Store, changes: Changes) {
        store.write(changes).expect("memory");
    }

    fn set(profiles: &mut Profiles, store: &mut Store, prefs: Prefs, id: u16) {
        let changes = profiles.set_prefs(prefs, None, || id.to_be_bytes(), Time::from_unix(i64::from(id)));
        apply(store, changes);
    }

    #[test]
    fn nothing_is_stored_before_control_knows_us() {
        let (mut profiles, problems) = Profiles::load(&Store::memory());
        assert!(problems.is_empty());
        assert!(profiles.prefs().logged_out && !profiles.prefs().want_running && profiles.prefs().corp_dns);
        let changes = profiles.set_prefs(Prefs::new_default(), None, || [0, 1], Time::ZERO);
        assert!(changes.is_empty());
    }

    #[test]
    fn stored_and_found_again() {
        let mut store = Store::memory();
        let (mut profiles, _) = Profiles::load(&store);
        set(&mut profiles, &mut store, login("n1", 7), 0x3f2a);
        assert_eq!(store.read(CURRENT), Some(&b"profile-3f2a"[..]));
        let (again, problems) = Profiles::load(&store);
        assert!(problems.is_empty());
        assert_eq!(again.prefs(), profiles.prefs());
        assert_eq!(again.current().id, "3f2a");
        assert_eq!(again.current().name, "u7@example.com");
    }

    #[test]
    fn a_dangling_current_key_gives_a_new_profile() {
        let mut store = Store::memory();
        apply(&mut store, vec![(CURRENT.to_owned(), Some(b"profile-dead".to_vec()))]);
        let (profiles, problems) = Profiles::load(&store);
        assert!(profiles.current().id.is_empty() && problems.is_empty());
    }

    #[test]
    fn switching_deleting_and_twins() {
        let mut store = Store::memory();
        let (mut profiles, _) = Profiles::load(&store);
        set(&mut profiles, &mut store, login("n1", 1), 1);
        profiles.switch_to_new();
        set(&mut profiles, &mut store, login("n2", 2), 2);
        assert_eq!(profiles.list().iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["0001", "0002"]);
        let changes = profiles.switch("0001", &store).expect("switch");
        apply(&mut store, changes);
        assert_eq!(profiles.persist().map(|p| p.node_id.as_str()), Some("n1"));
        assert!(profiles.switch("ffff", &store).is_err());
        // Logging in as the same user again takes the old profile's place.
        profiles.switch_to_new();
        set(&mut profiles, &mut store, login("n3", 2), 3);
        assert_eq!(profiles.current().id, "0002");
        let changes = profiles.delete("0002");
        apply(&mut store, changes);
        assert!(profiles.current().id.is_empty());
        assert!(store.read("profile-0002").is_none());
        assert!(profiles.delete("0002").is_empty());
    }

    #[test]
    fn damage_is_told_and_left_alone() {
        let mut store = Store::memory();
        let (mut profiles, _) = Profiles::load(&store);
        set(&mut profiles, &mut store, login("n1", 1), 1);
        apply(&mut store, vec![("profile-0001".to_owned(), Some(b"{".to_vec()))]);
        let (_, problems) = Profiles::load(&store);
        assert_eq!(problems.len(), 1);
        apply(&mut store, vec![(MACHINE_KEY.to_owned(), Some(b"privkey:12".to_vec()))]);
        assert!(machine_key(&store).is_err());
    }
}

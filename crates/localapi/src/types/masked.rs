//! A change of some settings: preferences plus one flag for each that is meant.

use super::prefs::{AutoUpdatePrefs, Prefs};
use gojson::{Shape, Value, Zero};

/// Defines the flags, each named as the field of [`Prefs`] it stands for, and how they are applied.
macro_rules! prefs_mask {
    ($($field:ident: $t:ty => $key:literal,)*) => {
        go_object! {
            /// Which fields of the preferences are meant. `Config` has no flag: it is never changed this way.
            pub struct PrefsMask {
                $(pub $field: $t => $key omit,)*
            }
        }

        impl Prefs {
            /// Copies the fields that `edit` means.
            pub fn apply(&mut self, edit: &MaskedPrefs) {
                $(edit.mask.$field.copy(&edit.prefs.$field, &mut self.$field);)*
            }
        }
    };
}

prefs_mask! {
    control_url: bool => "ControlURLSet",
    route_all: bool => "RouteAllSet",
    exit_node_id: bool => "ExitNodeIDSet",
    exit_node_ip: bool => "ExitNodeIPSet",
    auto_exit_node: bool => "AutoExitNodeSet",
    internal_exit_node_prior: bool => "InternalExitNodePriorSet",
    exit_node_allow_lan_access: bool => "ExitNodeAllowLANAccessSet",
    corp_dns: bool => "CorpDNSSet",
    run_ssh: bool => "RunSSHSet",
    run_web_client: bool => "RunWebClientSet",
    want_running: bool => "WantRunningSet",
    logged_out: bool => "LoggedOutSet",
    shields_up: bool => "ShieldsUpSet",
    advertise_tags: bool => "AdvertiseTagsSet",
    hostname: bool => "HostnameSet",
    notepad_urls: bool => "NotepadURLsSet",
    force_daemon: bool => "ForceDaemonSet",
    egg: bool => "EggSet",
    advertise_routes: bool => "AdvertiseRoutesSet",
    advertise_services: bool => "AdvertiseServicesSet",
    sync: bool => "SyncSet",
    no_snat: bool => "NoSNATSet",
    no_stateful_filtering: bool => "NoStatefulFilteringSet",
    netfilter_mode: bool => "NetfilterModeSet",
    operator_user: bool => "OperatorUserSet",
    profile_name: bool => "ProfileNameSet",
    auto_update: AutoUpdateMask => "AutoUpdateSet",
    app_connector: bool => "AppConnectorSet",
    posture_checking: bool => "PostureCheckingSet",
    netfilter_kind: bool => "NetfilterKindSet",
    remote_config: bool => "RemoteConfigSet",
    drive_shares: bool => "DriveSharesSet",
    relay_server_port: bool => "RelayServerPortSet",
    relay_server_static_endpoints: bool => "RelayServerStaticEndpointsSet",
}

go_object! {
    /// Which halves of [`AutoUpdatePrefs`] are meant.
    pub struct AutoUpdateMask {
        pub check: bool => "CheckSet" omit,
        pub apply: bool => "ApplySet" omit,
    }
}

trait Flag<T> {
    fn copy(&self, from: &T, to: &mut T);
}

impl<T: Clone> Flag<T> for bool {
    fn copy(&self, from: &T, to: &mut T) {
        if *self {
            to.clone_from(from);
        }
    }
}

impl Flag<AutoUpdatePrefs> for AutoUpdateMask {
    fn copy(&self, from: &AutoUpdatePrefs, to: &mut AutoUpdatePrefs) {
        self.check.copy(&from.check, &mut to.check);
        self.apply.copy(&from.apply, &mut to.apply);
    }
}

/// The body of `PATCH prefs`: one flat object of all preferences and the flags that are set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MaskedPrefs {
    /// New values; only the meant ones count.
    pub prefs: Prefs,
    /// Which values are meant.
    pub mask: PrefsMask,
}

/// The members of both, one behind the other.
static TABLE: [u8; Prefs::TABLE.len() + PrefsMask::TABLE.len()] = join(Prefs::TABLE, PrefsMask::TABLE);
/// How many of them are of the preferences.
const PREFS: usize = gojson::members(Prefs::TABLE);

const fn join<const N: usize>(first: &[u8], second: &[u8]) -> [u8; N] {
    let mut joined = [0; N];
    let mut at = 0;
    while at < N {
        joined[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    joined
}

impl Value for MaskedPrefs {
    fn shape(&self) -> Shape {
        Shape::Object { table: &TABLE, keep: false }
    }
    fn at(&self, index: usize) -> Option<&dyn Value> {
        match index.checked_sub(PREFS) {
            Some(index) => self.mask.at(index),
            None => self.prefs.at(index),
        }
    }
    fn open(&mut self, index: usize) -> Option<&mut dyn Value> {
        match index.checked_sub(PREFS) {
            Some(index) => self.mask.open(index),
            None => self.prefs.open(index),
        }
    }
}

impl Zero for MaskedPrefs {
    fn zero() -> Self {
        Self::default()
    }
}

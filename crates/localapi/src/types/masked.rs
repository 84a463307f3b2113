//! A change of some settings: preferences plus one flag for each that is meant.

use super::object::{Object, Over};
use super::prefs::{AutoUpdatePrefs, Prefs};
use serde::de::{DeserializeSeed as _, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

impl Object for MaskedPrefs {
    fn encode_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.prefs.encode_members(map)?;
        self.mask.encode_members(map)
    }

    fn decode_member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        Ok(self.prefs.decode_member(key, map)? || self.mask.decode_member(key, map)?)
    }
}

impl Serialize for MaskedPrefs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.encode_members(&mut map)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for MaskedPrefs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Self::default();
        Over(&mut value).deserialize(deserializer)?;
        Ok(value)
    }
}

//! The user's settings, as the state file holds them and `tailscale set` changes them.
//!
//! Names, order and defaults are Go's (feature reference §5.1).

use super::persist::Persist;
use super::scalar::Addr;
use gojson::{Bad, OptBool, Raw, Shape, Token, Value, Writer, Zero};
use ipnet::IpNet;
use std::net::SocketAddr;

/// Where a node asks for its tailnet unless told otherwise.
pub const DEFAULT_CONTROL_URL: &str = "https://controlplane.tailscale.com";

go_object! {
    keep
    /// The settings of a profile. [`Default`] is Go's zero value (what decoding starts from);
    /// [`Prefs::new_default`] is what a new profile gets.
    pub struct Prefs {
        /// Empty until control was first contacted.
        pub control_url: String => "ControlURL",
        /// Accept subnet routes of others.
        pub route_all: bool => "RouteAll",
        /// Stable id, or `auto:any` while an automatic choice is pending.
        pub exit_node_id: String => "ExitNodeID",
        pub exit_node_ip: Addr => "ExitNodeIP",
        /// `any` for an automatic choice.
        pub auto_exit_node: String => "AutoExitNode" omit,
        /// The exit node before it was switched off; clients may not set it.
        pub internal_exit_node_prior: String => "InternalExitNodePrior",
        pub exit_node_allow_lan_access: bool => "ExitNodeAllowLANAccess",
        /// Use the tailnet's DNS settings.
        pub corp_dns: bool => "CorpDNS",
        pub run_ssh: bool => "RunSSH",
        pub run_web_client: bool => "RunWebClient",
        pub want_running: bool => "WantRunning",
        pub logged_out: bool => "LoggedOut",
        pub shields_up: bool => "ShieldsUp",
        pub advertise_tags: Option<Vec<String>> => "AdvertiseTags",
        pub hostname: String => "Hostname",
        pub notepad_urls: bool => "NotepadURLs",
        pub force_daemon: bool => "ForceDaemon" omit,
        pub egg: bool => "Egg" omit,
        /// Both default routes = offer to be an exit node.
        pub advertise_routes: Option<Vec<IpNet>> => "AdvertiseRoutes",
        pub advertise_services: Option<Vec<String>> => "AdvertiseServices",
        /// Talk to control; unset is yes.
        pub sync: OptBool => "Sync",
        pub no_snat: bool => "NoSNAT",
        pub no_stateful_filtering: OptBool => "NoStatefulFiltering" omit,
        pub netfilter_mode: NetfilterMode => "NetfilterMode",
        /// Login name of the user who may change settings besides root.
        pub operator_user: String => "OperatorUser" omit,
        pub profile_name: String => "ProfileName" omit,
        pub auto_update: AutoUpdatePrefs => "AutoUpdate",
        pub app_connector: AppConnectorPrefs => "AppConnector",
        pub posture_checking: bool => "PostureChecking",
        /// Empty, `iptables` or `nftables`.
        pub netfilter_kind: String => "NetfilterKind",
        pub remote_config: bool => "RemoteConfig",
        pub drive_shares: Option<Raw> => "DriveShares",
        /// Absent = no relay server, 0 = any port.
        pub relay_server_port: Option<u16> => "RelayServerPort" omit,
        pub relay_server_static_endpoints: Option<Vec<SocketAddr>> => "RelayServerStaticEndpoints" omit,
        /// Keys and login.
        pub persist: Option<Persist> => "Config",
    }
}

go_object! {
    /// Whether to look for and install newer versions.
    pub struct AutoUpdatePrefs {
        pub check: bool => "Check",
        pub apply: OptBool => "Apply",
    }
}

go_object! {
    /// App connector settings.
    pub struct AppConnectorPrefs {
        pub advertise: bool => "Advertise",
    }
}

/// How much of the packet filter of the kernel is managed; a number in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetfilterMode {
    /// Hands off.
    #[default]
    Off,
    /// Make the chains, divert nothing into them.
    NoDivert,
    /// Everything.
    On,
}

impl Zero for NetfilterMode {
    fn zero() -> Self {
        Self::Off
    }
}

impl Value for NetfilterMode {
    fn shape(&self) -> Shape {
        Shape::Leaf { zero: *self == Self::Off }
    }
    fn set(&mut self, token: Token<'_>) -> Result<(), Bad> {
        if matches!(token, Token::Null) {
            return Ok(());
        }
        *self = match token.whole(0, 2, "a NetfilterMode: 0, 1 or 2")? {
            0 => Self::Off,
            1 => Self::NoDivert,
            _ => Self::On,
        };
        Ok(())
    }
    fn put(&self, out: &mut Writer<'_>) {
        out.bare(&(*self as u8));
    }
}

impl Prefs {
    /// What Go's client starts a profile with on Linux.
    pub fn new_default() -> Self {
        Self {
            corp_dns: true,
            no_stateful_filtering: OptBool::True,
            netfilter_mode: NetfilterMode::On,
            auto_update: AutoUpdatePrefs { check: true, apply: OptBool::Unset },
            ..Self::default()
        }
    }

    /// Settings read from the state file: its members over the defaults of this version.
    ///
    /// # Errors
    /// When the text is not the JSON of preferences.
    pub fn load(json: &[u8]) -> Result<Self, gojson::Error> {
        let mut prefs = Self::new_default();
        gojson::from_slice_over(json, &mut prefs)?;
        Ok(prefs)
    }

    /// A copy without secrets, as `GET prefs` and the bus show it. Unknown members go too.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut prefs = self.clone();
        prefs.persist = self.persist.as_ref().map(Persist::redacted);
        prefs.extra.clear();
        prefs
    }
}

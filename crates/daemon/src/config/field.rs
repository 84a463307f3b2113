//! The fields of a configuration file: their names, their types, and the setting that each stands for.

use super::{AuthKey, Config};
use cli::nearest;
use gojson::{Pairs, Raw};
use ipnet::IpNet;
use localapi::types::{Addr, NetfilterMode, OptBool};
use std::net::SocketAddr;

/// What a field means.
#[derive(Clone, Copy)]
enum Meaning {
    /// Looked at before all others.
    Version,
    /// A truth value for a setting.
    Switch(fn(&mut Config, bool)),
    /// A text for a setting; it may find it wrong.
    Text(fn(&mut Config, &str) -> Result<(), String>),
    /// `AdvertiseRoutes`.
    Routes,
    /// `StaticEndpoints`.
    StaticEndpoints,
    /// `AdvertiseExitNode`.
    OffersExit,
    /// Of a feature that is not in this build: only this value is taken besides `null`.
    Missing(&'static str, Neutral),
}

/// What a field of a missing feature may hold.
#[derive(Clone, Copy)]
enum Neutral {
    /// `false`.
    False,
    /// An empty list.
    Empty,
    /// An object in which everything but this member, which may be anything, is false.
    FalseBut(&'static str),
    /// Nothing.
    Nothing,
}

/// A field.
#[derive(Clone, Copy)]
pub(super) struct Field {
    name: &'static str,
    meaning: Meaning,
}

const fn field(name: &'static str, meaning: Meaning) -> Field {
    Field { name, meaning }
}

/// Sets a preference and says that it is meant.
macro_rules! set {
    ($config:ident, $field:ident, $value:expr) => {{
        $config.edit.prefs.$field = $value;
        $config.edit.mask.$field = true;
    }};
}

use Meaning::{Missing, OffersExit, Routes, StaticEndpoints, Switch, Text, Version};

static FIELDS: &[Field] = &[
    field("Version", Version),
    field("Locked", Switch(|config, on| config.locked = on)),
    field(
        "ServerURL",
        Text(|config, url| {
            set!(config, control_url, url.to_owned());
            Ok(())
        }),
    ),
    field(
        "AuthKey",
        Text(|config, key| {
            config.auth_key = AuthKey::new(key);
            // Whoever gives a key wants the node logged in.
            config.edit.mask.logged_out = config.auth_key.is_some();
            Ok(())
        }),
    ),
    field("Enabled", Switch(|config, on| set!(config, want_running, on))),
    field(
        "OperatorUser",
        Text(|config, name| {
            set!(config, operator_user, name.to_owned());
            Ok(())
        }),
    ),
    field(
        "Hostname",
        Text(|config, name| {
            set!(config, hostname, name.to_owned());
            Ok(())
        }),
    ),
    field("acceptDNS", Switch(|config, on| set!(config, corp_dns, on))),
    field("acceptRoutes", Switch(|config, on| set!(config, route_all, on))),
    field("exitNode", Text(exit_node)),
    field("allowLANWhileUsingExitNode", Switch(|config, on| set!(config, exit_node_allow_lan_access, on))),
    field("AdvertiseRoutes", Routes),
    field("AdvertiseExitNode", OffersExit),
    field("DisableSNAT", Switch(|config, on| set!(config, no_snat, on))),
    field("AdvertiseServices", Missing("Tailscale Services", Neutral::Empty)),
    field("AppConnector", Missing("the app connector", Neutral::FalseBut(""))),
    field("NetfilterMode", Text(netfilter_mode)),
    field("NoStatefulFiltering", Switch(|config, on| set!(config, no_stateful_filtering, OptBool::from(on)))),
    field("PostureChecking", Missing("device posture", Neutral::False)),
    field("RunSSHServer", Missing("Tailscale SSH", Neutral::False)),
    field("RunWebClient", Missing("the web client", Neutral::False)),
    field("ShieldsUp", Switch(|config, on| set!(config, shields_up, on))),
    field("RemoteConfig", Missing("remote configuration", Neutral::False)),
    field("AutoUpdate", Missing("automatic update", Neutral::FalseBut("Check"))),
    field("ServeConfigTemp", Missing("serve", Neutral::Nothing)),
    field("StaticEndpoints", StaticEndpoints),
    field("RelayServerPort", Missing("the peer relay server", Neutral::Nothing)),
    field("RelayServerStaticEndpoints", Missing("the peer relay server", Neutral::Empty)),
];

/// The field of this name, in any case, as Go's decoder takes it.
pub(super) fn find(name: &str) -> Result<&'static Field, String> {
    if let Some(field) = FIELDS.iter().find(|field| field.name.eq_ignore_ascii_case(name)) {
        return Ok(field);
    }
    let shown: String = name.chars().take(64).collect();
    let near = nearest(&shown, &mut FIELDS.iter().map(|field| field.name));
    let hint = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    Err(format!("unknown field {shown:?}{hint}"))
}

impl Field {
    /// Takes the value over into `config`.
    pub(super) fn take(
        &self,
        value: &Raw,
        config: &mut Config,
        offers_exit: &mut bool,
    ) -> Result<(), String> {
        let name = self.name;
        let truth = || value.read().ok_or_else(|| format!("{name:?} must be true or false"));
        match self.meaning {
            Version => {}
            Switch(set) => set(config, truth()?),
            Text(set) => {
                let text: String = value.read().ok_or_else(|| format!("{name:?} must be a string"))?;
                set(config, &text).map_err(|why| format!("{name:?}: {why}"))?;
            }
            Routes => {
                set!(config, advertise_routes, Some(routes(value).map_err(|why| format!("{name:?}: {why}"))?))
            }
            StaticEndpoints => {
                config.static_endpoints = endpoints(value).map_err(|why| format!("{name:?}: {why}"))?;
            }
            OffersExit => *offers_exit = truth()?,
            Missing(what, neutral) if !neutral.holds(value) => {
                return Err(format!("{name:?}: {what} is not in this build; leave the field out"));
            }
            Missing(..) => {}
        }
        Ok(())
    }
}

impl Neutral {
    fn holds(self, value: &Raw) -> bool {
        match self {
            Self::False => value.text() == "false",
            Self::Empty => value.read::<Vec<Raw>>().is_some_and(|list| list.is_empty()),
            Self::FalseBut(any) => value.read::<Pairs<String, Raw>>().is_some_and(|members| {
                let fine = |value: &Raw| matches!(value.text(), "null" | "false");
                members.0.iter().all(|(name, value)| name.eq_ignore_ascii_case(any) || fine(value))
            }),
            Self::Nothing => false,
        }
    }
}

/// An address, or anything else as an id; either takes the place of the other.
fn exit_node(config: &mut Config, text: &str) -> Result<(), String> {
    let ip = text.parse().ok();
    set!(config, exit_node_ip, Addr(ip));
    set!(config, exit_node_id, if ip.is_some() { String::new() } else { text.to_owned() });
    Ok(())
}

fn netfilter_mode(config: &mut Config, text: &str) -> Result<(), String> {
    let mode = match text {
        "on" => NetfilterMode::On,
        "nodivert" => NetfilterMode::NoDivert,
        "off" => NetfilterMode::Off,
        other => return Err(format!("{other:?} is none of \"on\", \"nodivert\" and \"off\"")),
    };
    set!(config, netfilter_mode, mode);
    Ok(())
}

/// A string; of anything else nothing.
fn text(item: &Raw) -> String {
    item.read().unwrap_or_default()
}

fn endpoints(value: &Raw) -> Result<Vec<SocketAddr>, String> {
    let list: Vec<Raw> = value.read().ok_or("must be a list of addresses with ports")?;
    list.iter()
        .map(|item| {
            text(item).parse().map_err(|_| {
                let shown: String = item.text().chars().take(64).collect();
                format!("{shown} is not an address and port such as \"203.0.113.7:41641\"")
            })
        })
        .collect()
}

fn routes(value: &Raw) -> Result<Vec<IpNet>, String> {
    let list: Vec<Raw> = value.read().ok_or("must be a list of prefixes")?;
    list.iter()
        .map(|item| {
            let net: IpNet = text(item).parse().map_err(|_| {
                let shown: String = item.text().chars().take(64).collect();
                format!("{shown} is not a prefix such as \"192.168.88.0/24\"")
            })?;
            if net != net.trunc() {
                return Err(format!("route {net} has non-address bits set; expected {}", net.trunc()));
            }
            Ok(net)
        })
        .collect()
}

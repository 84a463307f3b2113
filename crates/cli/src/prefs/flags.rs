//! The flags that stand for preferences: their definitions, the field each one means, and its value now.

use localapi::types::{NetfilterMode, Prefs, PrefsMask};

use super::routes;
use crate::args::{Flag, duration, only_true, shell_quote, switch, text};

/// A flag's value: what `get` shows and what the revert check compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of a boolean flag.
    Bool(bool),
    /// Of any other.
    Text(String),
}

impl Value {
    /// `--name`, `--name=false`, `--name=` or `--name=word`, to be pasted into a shell.
    pub(crate) fn as_argument(&self, name: &str) -> String {
        match self {
            Self::Bool(true) => format!("--{name}"),
            Self::Bool(false) => format!("--{name}=false"),
            Self::Text(text) if text.is_empty() => format!("--{name}="),
            Self::Text(text) => format!("--{name}={}", shell_quote(text)),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(on) => write!(f, "{on}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Flags that `up`, `login` and `set` share.
pub(crate) static SHARED: &[Flag] = &[
    switch("accept-dns", true, "use the DNS settings of the tailnet"),
    switch("accept-routes", false, "accept routes that other nodes advertise"),
    switch("advertise-connector", false, "be an app connector (not in this build)"),
    switch("advertise-exit-node", false, "offer to be an exit node for internet traffic"),
    text(
        "advertise-routes",
        "",
        "routes to advertise, comma-separated, e.g. 10.0.0.0/8,192.168.0.0/24; empty for none",
    ),
    text("exit-node", "", "exit node to use (IP, name or auto:any); empty for none"),
    switch(
        "exit-node-allow-lan-access",
        false,
        "reach the local network directly while an exit node is in use",
    ),
    text("hostname", "", "host name to use instead of the system's"),
    text("netfilter-mode", "on", "netfilter mode: on, nodivert or off"),
    text("operator", "", "user who may operate tailscaled without root"),
    switch("report-posture", false, "let the tailnet gather posture information (not in this build)"),
    switch("shields-up", false, "refuse incoming connections"),
    switch("snat-subnet-routes", true, "source NAT traffic to advertised routes"),
    switch("ssh", false, "run an SSH server (not in this build)"),
    switch("stateful-filtering", false, "filter forwarded packets by connection state"),
];

/// Flags that only `up` and `login` have.
pub(crate) static UP_ONLY: &[Flag] = &[
    text("advertise-tags", "", "ACL tags to request, comma-separated; \"tag:\" is added where missing"),
    text("audience", "", "workload identity (not in this build)").hidden(),
    text("auth-key", "", "node authorization key, or file:PATH of a file that holds it"),
    text("client-id", "", "workload identity (not in this build)").hidden(),
    text("client-secret", "", "OAuth (not in this build)").hidden(),
    text("id-token", "", "workload identity (not in this build)").hidden(),
    only_true("host-routes", "always true").hidden(),
    text("login-server", localapi::types::DEFAULT_CONTROL_URL, "base URL of the control server"),
    switch("qr", false, "show login URLs as QR code (not in this build)").hidden(),
    text("qr-format", "auto", "QR code format (not in this build)").hidden(),
    duration("timeout", "0s", "how long to wait for the node to run; 0s waits for ever"),
];

/// Flags that only `set` has.
pub(crate) static SET_ONLY: &[Flag] = &[
    switch("auto-update", false, "install updates (not in this build)"),
    text("nickname", "", "name for the current account"),
    text("relay-server-port", "", "port of a peer relay server (not in this build)"),
    text("relay-server-static-endpoints", "", "endpoints of a peer relay server (not in this build)"),
    switch("remote-config", false, "let the tailnet's admin change all settings (not in this build)")
        .hidden(),
    switch("sync", false, "take configuration from control").hidden(),
    switch("update-check", true, "tell about newer versions"),
    switch("webclient", false, "serve a web interface (not in this build)"),
];

/// Preference flags of `up`, sorted; the revert check goes through these.
pub(crate) const UP: [&str; 17] = [
    "accept-dns",
    "accept-routes",
    "advertise-connector",
    "advertise-exit-node",
    "advertise-routes",
    "advertise-tags",
    "exit-node",
    "exit-node-allow-lan-access",
    "hostname",
    "login-server",
    "netfilter-mode",
    "operator",
    "report-posture",
    "shields-up",
    "snat-subnet-routes",
    "ssh",
    "stateful-filtering",
];

/// Names that `get` shows, sorted; those with `true` only when asked for by name.
pub(crate) const GET: [(&str, bool); 23] = [
    ("accept-dns", false),
    ("accept-routes", false),
    ("advertise-connector", false),
    ("advertise-exit-node", false),
    ("advertise-routes", false),
    ("auto-update", false),
    ("exit-node", false),
    ("exit-node-allow-lan-access", false),
    ("hostname", false),
    ("netfilter-mode", false),
    ("nickname", false),
    ("operator", false),
    ("relay-server-port", false),
    ("relay-server-static-endpoints", false),
    ("remote-config", true),
    ("report-posture", false),
    ("shields-up", false),
    ("snat-subnet-routes", false),
    ("ssh", false),
    ("stateful-filtering", false),
    ("sync", true),
    ("update-check", false),
    ("webclient", false),
];

/// The value that `flag` would need to leave `prefs` as they are; `exit_node` is the address of the chosen exit
/// node. Unknown names give an empty text.
pub(crate) fn value(flag: &str, prefs: &Prefs, exit_node: &str) -> Value {
    let advertised = prefs.advertise_routes.as_deref().unwrap_or_default();
    match flag {
        "accept-dns" => Value::Bool(prefs.corp_dns),
        "accept-routes" => Value::Bool(prefs.route_all),
        "advertise-connector" => Value::Bool(prefs.app_connector.advertise),
        "advertise-exit-node" => Value::Bool(routes::has_exit_node(advertised)),
        "advertise-routes" => Value::Text(routes::listed(advertised)),
        "advertise-tags" => Value::Text(prefs.advertise_tags.as_deref().unwrap_or_default().join(",")),
        "auto-update" => Value::Bool(prefs.auto_update.apply.value() == Some(true)),
        "exit-node" => Value::Text(exit_node.to_owned()),
        "exit-node-allow-lan-access" => Value::Bool(prefs.exit_node_allow_lan_access),
        "hostname" => Value::Text(prefs.hostname.clone()),
        "login-server" => Value::Text(prefs.control_url.clone()),
        "netfilter-mode" => Value::Text(netfilter_name(prefs.netfilter_mode).to_owned()),
        "nickname" => Value::Text(prefs.profile_name.clone()),
        "operator" => Value::Text(prefs.operator_user.clone()),
        "relay-server-port" => {
            Value::Text(prefs.relay_server_port.map(|port| port.to_string()).unwrap_or_default())
        }
        "relay-server-static-endpoints" => {
            let endpoints = prefs.relay_server_static_endpoints.as_deref().unwrap_or_default();
            Value::Text(endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        "remote-config" => Value::Bool(prefs.remote_config),
        "report-posture" => Value::Bool(prefs.posture_checking),
        "shields-up" => Value::Bool(prefs.shields_up),
        "snat-subnet-routes" => Value::Bool(!prefs.no_snat),
        "ssh" => Value::Bool(prefs.run_ssh),
        // Off only where it was switched off; unset counts as on.
        "stateful-filtering" => Value::Bool(prefs.no_stateful_filtering.value() != Some(true)),
        "sync" => Value::Bool(prefs.sync.value() == Some(true)),
        "update-check" => Value::Bool(prefs.auto_update.check),
        "webclient" => Value::Bool(prefs.run_web_client),
        _ => Value::Text(String::new()),
    }
}

/// Marks the fields that `flag` means. Flags that stand for no preference mark nothing.
pub(crate) fn mark(flag: &str, mask: &mut PrefsMask) {
    match flag {
        "accept-dns" => mask.corp_dns = true,
        "accept-routes" => mask.route_all = true,
        "advertise-connector" => mask.app_connector = true,
        "advertise-exit-node" | "advertise-routes" => mask.advertise_routes = true,
        "advertise-tags" => mask.advertise_tags = true,
        "auto-update" => mask.auto_update.apply = true,
        "exit-node" => {
            mask.exit_node_ip = true;
            mask.exit_node_id = true;
        }
        "exit-node-allow-lan-access" => mask.exit_node_allow_lan_access = true,
        "hostname" => mask.hostname = true,
        "login-server" => mask.control_url = true,
        "netfilter-mode" => mask.netfilter_mode = true,
        "nickname" => mask.profile_name = true,
        "operator" => mask.operator_user = true,
        "relay-server-port" => mask.relay_server_port = true,
        "relay-server-static-endpoints" => mask.relay_server_static_endpoints = true,
        "remote-config" => mask.remote_config = true,
        "report-posture" => mask.posture_checking = true,
        "shields-up" => mask.shields_up = true,
        "snat-subnet-routes" => mask.no_snat = true,
        "ssh" => mask.run_ssh = true,
        "stateful-filtering" => mask.no_stateful_filtering = true,
        "sync" => mask.sync = true,
        "update-check" => mask.auto_update.check = true,
        "webclient" => mask.run_web_client = true,
        _ => {}
    }
}

/// `off`, `nodivert` or `on`.
pub(crate) fn netfilter_name(mode: NetfilterMode) -> &'static str {
    match mode {
        NetfilterMode::Off => "off",
        NetfilterMode::NoDivert => "nodivert",
        NetfilterMode::On => "on",
    }
}

/// The mode of that name, with what its user should know.
///
/// # Errors
/// When there is no such mode.
pub(crate) fn netfilter_mode(name: &str) -> Result<(NetfilterMode, Option<&'static str>), String> {
    match name {
        "on" => Ok((NetfilterMode::On, None)),
        "nodivert" => Ok((
            NetfilterMode::NoDivert,
            Some("netfilter=nodivert; add iptables calls to ts-* chains manually."),
        )),
        "off" => Ok((NetfilterMode::Off, Some("netfilter=off; configure iptables yourself."))),
        _ => Err(format!("invalid value --netfilter-mode={}", crate::args::quote(name))),
    }
}

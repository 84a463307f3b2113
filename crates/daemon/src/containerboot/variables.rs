//! The `TS_*` variables there are: which this build reads, which it lacks and why, and what a misspelt one was meant
//! to be.
//!
//! Leaves out: what those that are read mean (`settings`).

use cli::{nearest, parse_bool};

/// What becomes of a variable.
enum Use {
    /// The container's start reads it.
    Read,
    /// Daemon or command line read it, or would in a build with more features.
    Passed,
    /// The same for one that is true or false.
    Switch,
    /// It asks for what is so anyway.
    Needless,
    /// Nobody reads it, and this is what to do.
    Lacking(&'static str),
}

const NAT: &str = "this build forwards no single address; advertise a route with TS_ROUTES";
const OAUTH: &str = "this build has no OAuth and workload identity; make an auth key and set TS_AUTHKEY";
const KUBERNETES: &str = "there is no Kubernetes in this build; state is in TS_STATE_DIR";
const PROXY: &str = "this build has no SOCKS5 and HTTP proxy";
const SERVE: &str = "this build has no serve";
const LOGS: &str = "this build sends its log nowhere and writes no file of it; it is the container's log";
const KEEPALIVE: &str = "this build carries no TCP connections in user space";

/// Every variable of the official container and of its daemon, sorted. Others of `TS_DEBUG_*` are the daemon's.
const KNOWN: &[(&str, Use)] = &[
    ("TS_ACCEPT_DNS", Use::Read),
    ("TS_AUDIENCE", Use::Lacking(OAUTH)),
    ("TS_AUTHKEY", Use::Read),
    ("TS_AUTH_KEY", Use::Read),
    ("TS_AUTH_ONCE", Use::Read),
    ("TS_BE_CLI", Use::Switch),
    ("TS_BOOT_TIMEOUT", Use::Lacking("this container never gives up; leave it out")),
    ("TS_CLIENT_ID", Use::Lacking(OAUTH)),
    ("TS_CLIENT_SECRET", Use::Lacking(OAUTH)),
    ("TS_DEBUG_ADDR_PORT", Use::Lacking("this build has no debug server")),
    ("TS_DEBUG_DISABLE_UDP_GRO", Use::Switch),
    ("TS_DEBUG_DISABLE_UDP_GSO", Use::Switch),
    ("TS_DEBUG_NEVER_DIRECT_UDP", Use::Switch),
    ("TS_DEBUG_USE_DERP_HTTP", Use::Switch),
    ("TS_DEST_IP", Use::Lacking(NAT)),
    ("TS_DISABLE_PORTMAPPER", Use::Switch),
    ("TS_DISABLE_SSH_SERVER", Use::Needless),
    ("TS_DISABLE_TAILDROP", Use::Needless),
    ("TS_DISABLE_UPNP", Use::Switch),
    ("TS_DNS_ALLOW", Use::Read),
    ("TS_DNS_LISTEN", Use::Read),
    ("TS_EGRESS_PROXIES_CONFIG_PATH", Use::Lacking(KUBERNETES)),
    ("TS_ENABLE_HEALTH_CHECK", Use::Read),
    ("TS_ENABLE_METRICS", Use::Lacking("this build serves no metrics")),
    ("TS_ENABLE_RAW_DISCO", Use::Switch),
    ("TS_EXPERIMENTAL_CERT_SHARE", Use::Lacking(KUBERNETES)),
    ("TS_EXPERIMENTAL_DEST_DNS_NAME", Use::Lacking(NAT)),
    (
        "TS_EXPERIMENTAL_ENABLE_FORWARDING_OPTIMIZATIONS",
        Use::Lacking("this build does not tune the uplink's offloads"),
    ),
    ("TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT", Use::Lacking(SERVE)),
    (
        "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR",
        Use::Lacking("name the file itself: TS_TAILSCALED_EXTRA_ARGS=--config=PATH"),
    ),
    ("TS_EXTRA_ARGS", Use::Read),
    (
        "TS_FORCE_LINUX_BIND_TO_DEVICE",
        Use::Lacking("this build finds out by itself how its own packets leave the machine"),
    ),
    ("TS_FORCE_NOISE_443", Use::Switch),
    ("TS_HEALTHCHECK_ADDR_PORT", Use::Read),
    ("TS_HOSTNAME", Use::Read),
    ("TS_HOST_ENV", Use::Lacking("this build does not tell control where it runs")),
    ("TS_ID_TOKEN", Use::Lacking(OAUTH)),
    ("TS_INGRESS_PROXIES_CONFIG_PATH", Use::Lacking(KUBERNETES)),
    ("TS_KUBERNETES_READ_API_SERVER_ADDRESS_FROM_ENV", Use::Lacking(KUBERNETES)),
    ("TS_KUBE_SECRET", Use::Lacking(KUBERNETES)),
    ("TS_LOCAL_ADDR_PORT", Use::Read),
    ("TS_LOGIN_SERVER", Use::Read),
    ("TS_LOGS_DIR", Use::Lacking(LOGS)),
    ("TS_LOG_TARGET", Use::Lacking(LOGS)),
    ("TS_LOG_VERBOSITY", Use::Passed),
    ("TS_NETSTACK_KEEPALIVE_IDLE", Use::Lacking(KEEPALIVE)),
    ("TS_NETSTACK_KEEPALIVE_INTERVAL", Use::Lacking(KEEPALIVE)),
    ("TS_NO_LOGS_NO_SUPPORT", Use::Needless),
    ("TS_OUTBOUND_HTTP_PROXY_LISTEN", Use::Lacking(PROXY)),
    ("TS_OWNER", Use::Read),
    ("TS_PACKET_THREADS", Use::Passed),
    ("TS_PARENT_DEATH_FD", Use::Lacking("this build does not watch its parent; leave it out")),
    ("TS_PERMIT_CERT_UID", Use::Lacking("this build makes no certificates")),
    ("TS_ROUTES", Use::Read),
    ("TS_SERVE_CONFIG", Use::Lacking(SERVE)),
    ("TS_SOCKET", Use::Read),
    ("TS_SOCKS5_SERVER", Use::Lacking(PROXY)),
    ("TS_STATE_DIR", Use::Read),
    ("TS_TAILNET_TARGET_FQDN", Use::Lacking(NAT)),
    ("TS_TAILNET_TARGET_IP", Use::Lacking(NAT)),
    ("TS_TAILSCALED_EXTRA_ARGS", Use::Read),
    ("TS_TUN_DISABLE_TCP_GRO", Use::Switch),
    ("TS_TUN_DISABLE_TSO", Use::Switch),
    ("TS_TUN_DISABLE_UDP_GRO", Use::Switch),
    ("TS_USERSPACE", Use::Read),
    ("TS_USE_CACHED_NETMAP", Use::Switch),
    ("TS_USE_CONTROL_DIAL_PLAN", Use::Lacking("this build dials the control server by its name")),
];

/// One line for each variable that is read and is no text. What it holds is not shown: it may be a key.
pub(super) fn refusals(vars: &[(String, String)]) -> Vec<String> {
    let read = |name: &str| match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, of)) => matches!(of, Use::Read | Use::Passed | Use::Switch),
        None => name == "PORT",
    };
    let broken =
        vars.iter().filter(|(name, value)| value.contains(char::REPLACEMENT_CHARACTER) && read(name));
    broken.map(|(name, _)| format!("{name} has characters that are not UTF-8: write it anew")).collect()
}

/// One line for each variable that is set and has no effect.
pub(super) fn remarks(vars: &[(String, String)]) -> Vec<String> {
    vars.iter().filter_map(|(name, value)| remark(name, value)).collect()
}

fn remark(name: &str, value: &str) -> Option<String> {
    // What is empty or off asks for nothing.
    let asks = !value.trim().is_empty() && parse_bool(value.trim()) != Ok(false);
    if !name.starts_with("TS_") || !asks {
        return None;
    }
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, Use::Switch)) if parse_bool(value.trim()).is_err() => {
            Some(format!("{name}={:?} has no effect: write true or false", value.trim()))
        }
        Some((_, Use::Lacking(why))) => Some(format!("{name} has no effect: {why}")),
        Some(_) => None,
        None if name.starts_with("TS_DEBUG_") => None,
        None => {
            let useful = KNOWN.iter().filter(|(_, of)| !matches!(of, Use::Lacking(_)));
            let near = nearest(name, &mut useful.map(|(known, _)| *known));
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            Some(format!("{name} is unknown and has no effect{hint}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the container of the reference version asks its environment for (`cmd/containerboot`).
    const UPSTREAM: &str = "TS_ACCEPT_DNS TS_AUDIENCE TS_AUTHKEY TS_AUTH_KEY TS_AUTH_ONCE TS_BOOT_TIMEOUT \
        TS_CLIENT_ID TS_CLIENT_SECRET TS_DEBUG_ADDR_PORT TS_DEST_IP TS_EGRESS_PROXIES_CONFIG_PATH \
        TS_ENABLE_HEALTH_CHECK TS_ENABLE_METRICS TS_EXPERIMENTAL_CERT_SHARE TS_EXPERIMENTAL_DEST_DNS_NAME \
        TS_EXPERIMENTAL_ENABLE_FORWARDING_OPTIMIZATIONS TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT \
        TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR TS_EXTRA_ARGS TS_HEALTHCHECK_ADDR_PORT TS_HOSTNAME TS_ID_TOKEN \
        TS_INGRESS_PROXIES_CONFIG_PATH TS_KUBERNETES_READ_API_SERVER_ADDRESS_FROM_ENV TS_KUBE_SECRET \
        TS_LOCAL_ADDR_PORT TS_OUTBOUND_HTTP_PROXY_LISTEN TS_ROUTES TS_SERVE_CONFIG TS_SOCKET TS_SOCKS5_SERVER \
        TS_STATE_DIR TS_TAILNET_TARGET_FQDN TS_TAILNET_TARGET_IP TS_TAILSCALED_EXTRA_ARGS TS_USERSPACE";

    #[test]
    fn every_variable_of_the_official_container_is_known() {
        for name in UPSTREAM.split_whitespace() {
            assert!(KNOWN.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    /// The product's sources but this file, as one text.
    fn sources() -> String {
        let mut text = String::new();
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() && !["lab", "sim", "testcontrol", "tests"].contains(&name.as_str()) {
                    folders.push(path);
                } else if name.ends_with(".rs") && !["variables.rs", "tests.rs"].contains(&name.as_str()) {
                    text.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        text
    }

    #[test]
    fn whatever_the_sources_read_is_known_and_what_is_passed_is_read() {
        let text = sources();
        let read: Vec<&str> = text.split('"').filter(|word| word.starts_with("TS_")).collect();
        let variable =
            |word: &&&str| word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        for name in read.iter().filter(variable).filter(|name| name.len() > 3) {
            assert_eq!(remark(name, "x").filter(|line| line.contains("unknown")), None, "{name}");
        }
        for (name, of) in KNOWN {
            let is_read = read.contains(name);
            match of {
                Use::Read | Use::Passed | Use::Switch => assert!(is_read, "nobody reads {name}"),
                Use::Needless | Use::Lacking(_) => assert!(!is_read, "{name} is read"),
            }
        }
    }

    #[test]
    fn the_help_has_every_variable_that_is_read() {
        const OLD_SPELLINGS: [&str; 2] = ["TS_AUTH_KEY", "TS_HEALTHCHECK_ADDR_PORT"];
        for (name, _) in KNOWN.iter().filter(|(_, of)| matches!(of, Use::Read)) {
            let told = super::super::HELP.contains(&format!("  {name} "));
            assert_eq!(told, !OLD_SPELLINGS.contains(name), "{name}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_names_each_once() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn what_is_unknown_is_told_with_the_nearest_name() {
        let near = |name: &str| remark(name, "x");
        assert_eq!(
            near("TS_AUTHKEYS").as_deref(),
            Some("TS_AUTHKEYS is unknown and has no effect (did you mean TS_AUTHKEY?)")
        );
        assert_eq!(near("TS_WEATHER").as_deref(), Some("TS_WEATHER is unknown and has no effect"));
        assert!(near("TS_DEST_IP").is_some_and(|line| line.starts_with("TS_DEST_IP has no effect: ")));
        for silent in ["TS_ROUTES", "TS_LOG_VERBOSITY", "TS_DEBUG_ANYTHING", "HOME", "POD_IP"] {
            assert_eq!(near(silent), None, "{silent}");
        }
        assert_eq!(remark("TS_ENABLE_METRICS", "false"), None);
        assert_eq!(remark("TS_KUBE_SECRET", ""), None);
    }

    #[test]
    fn a_switch_that_is_neither_on_nor_off_is_told() {
        let told = |value| remark("TS_DISABLE_UPNP", value);
        assert_eq!(
            told("yes\r").as_deref(),
            Some("TS_DISABLE_UPNP=\"yes\" has no effect: write true or false")
        );
        for fine in ["true\r", " 1", "False", "", " "] {
            assert_eq!(told(fine), None, "{fine:?}");
        }
        for name in ["TS_FORCE_NOISE_443", "TS_USE_CACHED_NETMAP", "TS_DEBUG_USE_DERP_HTTP"] {
            assert!(remark(name, "on").is_some(), "{name}");
        }
    }
}

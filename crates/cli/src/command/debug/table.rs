//! The commands of `debug`, sorted by name as help lists them.

use localapi::types::mask;

use super::calls::{
    act, component_logs, derp, endpoint_changes, expire, force_prefer_derp, knobs, metrics, state_dir,
};
use super::{derp_map, localapi, netmap, prefs, reload_config, watch};
use crate::args::{Command, Flag, duration, int, switch};
use crate::command::Handler;

/// A command without flags whose usage is its name and `$words`.
macro_rules! plain {
    ($name:literal, $about:literal, $run:expr) => {
        plain!($name, "", $about, $run)
    };
    ($name:literal, $words:literal, $about:literal, $run:expr) => {
        &const { plain($name, concat!("tailscale debug ", $name, $words), $about, $run) }
    };
}

const fn plain(name: &'static str, usage: &'static str, about: &'static str, run: Handler) -> Command {
    Command { name, usage, about, run: Some(run), ..Command::PLAIN }
}

/// All of it.
pub(in crate::command) static COMMAND: Command = Command {
    commands: &[
        plain!("break-derp-conns", "Close the connections to DERP relays", act),
        plain!("break-tcp-conns", "Close all TCP connections of the daemon", act),
        plain!("clear-netmap-cache", "Remove network maps that were stored", act),
        &COMPONENT_LOGS,
        plain!("control-knobs", "Print what control has switched on or off", knobs),
        plain!("derp", " <region>", "Have the daemon test a DERP region", derp),
        &DERP_MAP,
        plain!("derp-set-on-demand", "Have no home relay (others cannot reach this node)", act),
        plain!("derp-unset-on-demand", "Have a home relay again", act),
        plain!("force-netmap-update", "Have the daemon go through the network map again", act),
        plain!(
            "force-prefer-derp",
            " <region-id>",
            "Prefer a DERP region as home, by its number; 0 ends it",
            force_prefer_derp
        ),
        &LOCALAPI,
        plain!("metrics", "Print what the daemon counts", metrics),
        plain!("netmap", "Print the network map", netmap),
        plain!(
            "peer-endpoint-changes",
            " <hostname-or-IP>",
            "Print how the ways to a peer have changed",
            endpoint_changes
        ),
        plain!("peer-relay-servers", "Print peers that may relay for us", knobs),
        plain!("pick-new-derp", "Move to another home relay for a while", act),
        &PREFS,
        plain!(
            "rebind",
            "Have every connection prove that it still works, as after a change of the network",
            act
        ),
        &RELOAD_CONFIG,
        plain!("restun", "Measure the way to the relays anew", act),
        plain!("rotate-disco-key", "Make a new discovery key", act),
        &SET_EXPIRE,
        plain!("statedir", "Print the daemon's state directory", state_dir),
        &WATCH,
    ],
    more: "",
    ..ALWAYS
};

/// What asks for nothing that a daemon may lack: few bytes, and the first things to look at when there is trouble.
pub(in crate::command) const ALWAYS: Command = Command {
    name: "debug",
    usage: "tailscale debug <subcommand>",
    about: "Look inside the daemon",
    more: MORE,
    hidden: true,
    commands: &[&DERP_MAP, &LOCALAPI, &PREFS, &RELOAD_CONFIG, &WATCH],
    ..Command::PLAIN
};

const MORE: &str = "The other commands come with feature debug, which is not in this build.";

const COMPONENT_LOGS: Command = Command {
    flags: &[&[duration("for", "1h0m0s", "how long; 0s ends it")]],
    ..plain(
        "component-logs",
        "tailscale debug component-logs [magicsock|sockstats|syspolicy]",
        "Have one component log more for a while",
        component_logs,
    )
};

const DERP_MAP: Command = plain("derp-map", "tailscale debug derp-map", "Print the DERP map", derp_map);

const RELOAD_CONFIG: Command = plain(
    "reload-config",
    "tailscale debug reload-config",
    "Have the configuration file read again",
    reload_config,
);

const LOCALAPI: Command = Command {
    flags: &[&[switch("v", false, "print status and headers, too")]],
    ..plain(
        "localapi",
        "tailscale debug localapi [<method>] <path> [<body> | \"-\"]",
        "Make a LocalAPI request",
        localapi,
    )
};

const PREFS: Command = Command {
    flags: &[&[switch("pretty", false, "in one line (not in this build)").hidden()]],
    ..plain("prefs", "tailscale debug prefs", "Print the preferences", prefs)
};

const SET_EXPIRE: Command = Command {
    flags: &[&[duration("in", "0s", "from now on")]],
    ..plain("set-expire", "tailscale debug set-expire --in=1m", "Let the node key expire sooner", expire)
};

const WATCH: Command = Command {
    flags: &[
        &[int("count", "0", "stop after this many messages, 0 for no end")],
        &[
            switch("engine-updates", false, "ask the engine every 2 s"),
            switch("health-actions", false, "keep what to do about a problem apart from its text"),
            switch("initial", false, "begin with state and preferences"),
            switch("initial-client-version", false, "begin with the newest version known"),
            switch("initial-drive-shares", false, "begin with Taildrive shares"),
            switch("initial-health", false, "begin with the health"),
            switch("initial-outgoing-files", false, "begin with Taildrop transfers"),
            switch("initial-status", false, "begin with the whole status"),
            switch("initial-suggested-exit-node", false, "begin with the suggested exit node"),
            switch("peer-changes", true, "peers that come, change or go"),
            switch("peer-patches", true, "small changes of peers"),
            switch("peer-wireguard-state", false, "states of WireGuard sessions"),
        ] as &[Flag],
    ],
    ..plain("watch-ipn", "tailscale debug watch-ipn", "Print the messages of the daemon's bus", watch)
};

/// The bits of the bus's mask that the switches of `watch-ipn` stand for.
pub(super) const WATCH_BITS: [(&str, u64); 12] = [
    ("engine-updates", mask::WATCH_ENGINE_UPDATES),
    ("health-actions", mask::HEALTH_ACTIONS),
    ("initial", mask::INITIAL_STATE | mask::INITIAL_PREFS),
    ("initial-client-version", mask::INITIAL_CLIENT_VERSION),
    ("initial-drive-shares", mask::INITIAL_DRIVE_SHARES),
    ("initial-health", mask::INITIAL_HEALTH_STATE),
    ("initial-outgoing-files", mask::INITIAL_OUTGOING_FILES),
    ("initial-status", mask::INITIAL_STATUS),
    ("initial-suggested-exit-node", mask::INITIAL_SUGGESTED_EXIT_NODE),
    ("peer-changes", mask::PEER_CHANGES),
    ("peer-patches", mask::PEER_PATCHES),
    ("peer-wireguard-state", mask::PEER_WIREGUARD_STATE),
];

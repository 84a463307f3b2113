//! The optional features of the node, one folder each; the only place in the workspace with feature `cfg`.
//!
//! A folder holds `enabled.rs` and `disabled.rs` with the same signatures: callers never ask whether a feature is
//! in the build, they get a value that says "not in this build". `wishes` refuses settings that nothing here could
//! follow. Leaves out: which features belong together (`Cargo.toml`, `cargo xtask features`).

pub mod advertiseexitnode;
pub mod advertiseroutes;
pub mod allroots;
pub mod c2n;
pub mod cachenetmap;
pub mod debug;
pub mod dns;
pub mod health;
pub mod ipnbus;
pub mod iptables;
pub mod listenrawdisco;
pub mod netstack;
pub mod osrouter;
pub mod peerapiclient;
pub mod peerapiserver;
pub mod portmapper;
pub mod unixsocketidentity;
pub mod useexitnode;
pub mod useroutes;
pub mod wishes;

use localapi::types::OptionalFeatures;

/// The command line of this build.
pub static COMMANDS: cli::Command = cli::Command::root(
    &const {
        cli::Parts {
            debug: debug::FEATURE.is_some(),
            dns: dns::FEATURE.is_some(),
            exit_node: useexitnode::FEATURE.is_some(),
        }
        .commands()
    },
);

/// The features this binary was built with.
pub fn built() -> Vec<&'static str> {
    [
        advertiseexitnode::FEATURE,
        advertiseroutes::FEATURE,
        allroots::FEATURE,
        c2n::FEATURE,
        cachenetmap::FEATURE,
        debug::FEATURE,
        dns::FEATURE,
        health::FEATURE,
        ipnbus::FEATURE,
        iptables::FEATURE,
        listenrawdisco::FEATURE,
        netstack::FEATURE,
        osrouter::FEATURE,
        peerapiclient::FEATURE,
        peerapiserver::FEATURE,
        portmapper::FEATURE,
        unixsocketidentity::FEATURE,
        useexitnode::FEATURE,
        useroutes::FEATURE,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The features that whoever built this binary wanted in it and that are not written yet.
pub fn missing() -> Vec<&'static str> {
    option_env!("SMALLTAIL_MISSING_FEATURES").unwrap_or("").split_whitespace().collect()
}

/// Everything that can be told of features, for `version --features` and LocalAPI.
pub fn told() -> OptionalFeatures {
    OptionalFeatures {
        features: built().into_iter().map(|name| (name.to_owned(), true)).collect(),
        missing: missing().into_iter().map(str::to_owned).collect(),
    }
}

/// Why this node can carry no packets, if nothing in the build or in use does.
pub fn carries_nothing(interface: bool) -> Option<&'static str> {
    match (interface, osrouter::FEATURE) {
        (true, _) => None,
        (false, Some(_)) => Some(
            "without a kernel interface this node joins and answers pings, but cannot carry packets: \
             feature netstack has no userspace networking yet",
        ),
        (false, None) => Some(
            "this build cannot carry packets, it only joins and answers pings: it lacks feature osrouter; \
             install a build with it, such as the router image",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_built() {
        let names: Vec<_> = told().features.into_keys().collect();
        assert_eq!(names, built());
        assert!(built().is_sorted());
    }

    #[test]
    fn a_node_without_a_way_out_says_so() {
        assert_eq!(carries_nothing(true), None);
        let text = carries_nothing(false).expect("a sentence");
        let lacking = if osrouter::FEATURE.is_some() { "netstack" } else { "osrouter" };
        assert!(text.contains("cannot carry packets") && text.contains(lacking), "{text}");
    }
}

//! Which endpoints this build has. The others are 404 for everybody, with any method, as in a build of upstream's
//! that omits them; clients are made for that.

use crate::parts::{advertiseroutes, debug, dns, ipnbus, useexitnode};

/// Endpoints of parts that are not in the tree yet, and of those that never will be.
const ABSENT: [&str; 16] = [
    "debug-capture",
    "debug-derp-region",
    "debug-packet-filter-matches",
    "debug-packet-filter-rules",
    "debug-peer-endpoint-changes",
    "debug-portmap",
    "debug-rotate-disco-key",
    "dial",
    "goroutines",
    "logtap",
    "metrics",
    "policy/",
    "pprof",
    "set-udp-gro-forwarding",
    "tka/status",
    "usermetrics",
];

/// Whether the endpoint `name` answers in this build.
pub(super) fn in_this_build(name: &str) -> bool {
    let gated = match name {
        "watch-ipn-bus" => ipnbus::FEATURE,
        "bugreport" | "component-debug-logging" | "debug" => debug::FEATURE,
        "check-ip-forwarding" | "check-udp-gro-forwarding" => advertiseroutes::FEATURE,
        "dns-osconfig" | "dns-query" => dns::FEATURE,
        "set-use-exit-node-enabled" | "suggest-exit-node" => useexitnode::FEATURE,
        "disconnect-control" => advertiseroutes::FEATURE.or(debug::FEATURE),
        // Upstream's belongs to `debug`; here every build tells what it is.
        "debug-optional-features" => Some(""),
        name if name.starts_with("debug-") => debug::FEATURE,
        _ => Some(""),
    };
    gated.is_some() && !ABSENT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::server::ENDPOINTS;

    #[test]
    fn what_is_absent_is_an_endpoint() {
        for name in ABSENT {
            assert!(ENDPOINTS.iter().any(|endpoint| endpoint.name == name), "{name}");
            assert!(!in_this_build(name));
        }
        assert!(in_this_build("status") && in_this_build("profiles/"));
        assert_eq!(in_this_build("bugreport"), debug::FEATURE.is_some());
        assert_eq!(in_this_build("check-ip-forwarding"), advertiseroutes::FEATURE.is_some());
        assert!(in_this_build("debug-optional-features"));
        assert_eq!(in_this_build("watch-ipn-bus"), ipnbus::FEATURE.is_some());
    }
}

//! The table of everything that can be wrong: codes, titles and rules as upstream's, texts our own.

use netmap::Timestamp;
use std::time::Duration;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Something does not work.
    Medium,
    /// Nothing works, or security is at stake.
    High,
}

impl Severity {
    /// As LocalAPI writes it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One thing that can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warnable {
    /// The first seconds after start; hides all others.
    WarmingUp,
    /// `tailscale down`.
    WantRunningFalse,
    /// The state file cannot be used.
    StateStore,
    /// Logged out, with the last error.
    LoginState,
    /// Control cannot be reached now (told early, while nothing works yet).
    ControlUnreachable,
    /// No interface is up.
    NetworkStatus,
    /// There is no UDP socket of IPv4.
    NoUdp4Bind,
    /// Control has not been reached for long.
    NotInMapPoll,
    /// The settings say that nothing is taken from control.
    SyncDisabled,
    /// Nothing comes by the map stream any more.
    MapResponseTimeout,
    /// No home DERP region.
    NoDerpHome,
    /// The home DERP region is not connected. Upstream's `derp-timed-out` is no case of its own: a relay that is silent
    /// for two minutes is left at once.
    NoDerpConnection,
    /// What a DERP server says about itself.
    DerpRegionError,
    /// Tailnet Lock is on and this node cannot verify signatures.
    TailnetLock,
    /// Routes or rules of the kernel could not be set.
    Router,
    /// The machine's resolver could not be told.
    DnsSetOsConfigFailed,
    /// Nobody answers the queries that are forwarded.
    DnsForwardFailing,
    /// Networks are advertised and this machine does not forward packets.
    IpForwardingOff,
    /// An exit node leaves the addresses of its users as they are.
    NoSnatExitNode,
    /// A newer version exists.
    UpdateAvailable,
    /// A newer version exists that mends a security problem.
    SecurityUpdateAvailable,
}

/// The fixed facts of a [`Warnable`].
#[derive(Debug)]
pub struct Spec {
    /// Name on the wire.
    pub code: &'static str,
    /// One line.
    pub title: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The node may be cut off because of it.
    pub impacts_connectivity: bool,
    /// Hidden while one of these holds; [`Warnable::WarmingUp`] is always among them.
    pub depends_on: &'static [Warnable],
    /// Not shown before it has lasted this long.
    pub visible_after: Duration,
}

impl Warnable {
    /// Its fixed facts (features reference §6.2).
    pub const fn spec(self) -> &'static Spec {
        use Severity::{High, Low, Medium};
        const DOWN: &[Warnable] = &[Warnable::WantRunningFalse];
        const OFFLINE: &[Warnable] = &[Warnable::WantRunningFalse, Warnable::NetworkStatus];
        const NOT_HOME: &[Warnable] = &[
            Warnable::WantRunningFalse,
            Warnable::NetworkStatus,
            Warnable::LoginState,
            Warnable::NoDerpHome,
        ];
        macro_rules! spec {
            ($code:literal, $title:literal, $severity:expr, $impacts:literal, $deps:expr, $secs:literal) => {
                const {
                    &Spec {
                        code: $code,
                        title: $title,
                        severity: $severity,
                        impacts_connectivity: $impacts,
                        depends_on: $deps,
                        visible_after: Duration::from_secs($secs),
                    }
                }
            };
        }
        match self {
            Self::WarmingUp => spec!("warming-up", "Tailscale is starting", Low, false, &[], 0),
            Self::WantRunningFalse => spec!("wantrunning-false", "Tailscale off", Low, false, &[], 0),
            Self::StateStore => spec!("state-store-health", "State store unusable", High, true, &[], 0),
            Self::LoginState => spec!("login-state", "Logged out", Medium, false, DOWN, 0),
            Self::ControlUnreachable => {
                spec!("control-unreachable", "Coordination server unreachable", Medium, true, OFFLINE, 0)
            }
            Self::NetworkStatus => spec!("network-status", "Network down", Medium, true, DOWN, 5),
            Self::NoUdp4Bind => {
                spec!("no-udp4-bind", "NAT traversal setup failure", Medium, true, OFFLINE, 0)
            }
            Self::NotInMapPoll => spec!("not-in-map-poll", "Out of sync", Medium, false, OFFLINE, 480),
            Self::SyncDisabled => {
                spec!("sync-disabled", "Synchronization is off", High, false, &[], 0)
            }
            Self::MapResponseTimeout => {
                spec!("mapresponse-timeout", "Network map response timeout", Medium, false, OFFLINE, 0)
            }
            Self::NoDerpHome => spec!("no-derp-home", "No home relay server", Medium, true, OFFLINE, 10),
            Self::NoDerpConnection => {
                spec!("no-derp-connection", "Relay server unavailable", Medium, true, NOT_HOME, 10)
            }
            Self::DerpRegionError => {
                spec!("derp-region-error", "Relay server error", Low, false, NOT_HOME, 0)
            }
            Self::TailnetLock => spec!("tailnet-lock", "Tailnet Lock not supported", Medium, false, DOWN, 0),
            Self::Router => spec!("router", "Routes are not set", Medium, false, DOWN, 0),
            Self::DnsSetOsConfigFailed => {
                spec!("dns-set-os-config-failed", "DNS of this machine is not set", Medium, false, DOWN, 0)
            }
            Self::DnsForwardFailing => {
                spec!("dns-forward-failing", "DNS unavailable", Medium, true, OFFLINE, 15)
            }
            Self::IpForwardingOff => {
                spec!("ip-forwarding-off", "IP forwarding is disabled", Medium, true, DOWN, 0)
            }
            Self::NoSnatExitNode => {
                spec!("nosnat-with-advertised-exit-node", "Exit node without SNAT", Medium, false, DOWN, 0)
            }
            Self::UpdateAvailable => spec!("update-available", "Update available", Low, false, DOWN, 0),
            Self::SecurityUpdateAvailable => {
                spec!("security-update-available", "Security update available", Medium, false, DOWN, 0)
            }
        }
    }
}

/// One thing that is wrong now and may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhealthy {
    /// Code on the wire; `control-health.<id>` for messages of control.
    pub code: String,
    /// One line.
    pub title: String,
    /// What is wrong and what to do.
    pub text: String,
    /// How bad.
    pub severity: Severity,
    /// Since when.
    pub since: Timestamp,
    /// Codes it depends on.
    pub depends_on: Vec<&'static str>,
    /// The node may be cut off because of it.
    pub impacts_connectivity: bool,
    /// URL and label of what to do about it; only messages of control have any.
    pub action: Option<(Box<str>, Box<str>)>,
}

#[cfg(test)]
mod tests {
    /// This file and the page for users, which are to name the same codes.
    const SOURCE: &str = include_str!("warnable.rs");
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshooting.md");

    /// The codes in quotation marks that follow `before`, and end with `after`.
    fn quoted<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
        let rest = text.split(before).skip(1);
        rest.filter_map(|rest| rest.split_once(after)).map(|(code, _)| code).collect()
    }

    #[test]
    fn every_code_has_a_row_in_the_docs() {
        let page = std::fs::read_to_string(PAGE).expect("docs/troubleshooting.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let told: Vec<&str> = rows
            .flat_map(|cell| cell.split('`').filter(|code| code.contains('-') || *code == "router"))
            .collect();
        let source = SOURCE.split("#[cfg(test)]").next().unwrap_or_default();
        let mut known = quoted(source, "spec!(\"", "\"");
        assert!(known.len() > 15, "{known:?}");
        known.push("control-health.…");
        for code in &known {
            assert!(told.contains(code), "{code} has no row");
        }
        for code in &told {
            assert!(known.contains(code), "{code} is told and never shown");
        }
    }
}

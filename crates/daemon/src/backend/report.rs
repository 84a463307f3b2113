//! What we tell control about ourselves.

use super::Backend;
use crate::parts::advertiseroutes;
use control::{Command, Hostinfo, NetInfo, SelfReport};

/// What does not change while the process runs.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// The machine's own name, first label.
    pub hostname: String,
    /// Kernel release.
    pub os_version: String,
    /// `uname -m`.
    pub machine: String,
    /// Architecture as Go names it.
    pub go_arch: &'static str,
    /// The process runs in a container.
    pub container: bool,
    /// Names the distribution (`debian`), may be empty.
    pub distro: String,
    /// Its version, may be empty.
    pub distro_version: String,
}

impl Backend {
    /// Tells control what we are now; it sends only what has changed.
    pub(super) fn report(&mut self) {
        let report = self.self_report();
        self.control(Command::Report(Box::new(report)));
    }

    fn self_report(&self) -> SelfReport {
        let prefs = self.prefs();
        let routes = advertiseroutes::networks(prefs);
        let mut tags = prefs.advertise_tags.clone().unwrap_or_default();
        tags.sort_unstable();
        let label = self.hostname().split('.').next().unwrap_or("").to_owned();
        let hostinfo = Hostinfo {
            ipn_version: crate::version::LONG.to_owned(),
            // This node sends no logs, so its log id is the one that stands for none.
            backend_log_id: "0".repeat(64),
            os: "linux".to_owned(),
            os_version: self.host.os_version.clone(),
            container: Some(self.host.container),
            distro: self.host.distro.clone(),
            distro_version: self.host.distro_version.clone(),
            hostname: label,
            shields_up: prefs.shields_up,
            no_logs_no_support: true,
            machine: self.host.machine.clone(),
            go_arch: self.host.go_arch.to_owned(),
            routable_ips: sorted(routes),
            request_tags: tags,
            net_info: (!self.home.is_none()).then(|| self.net_info()),
            userspace: Some(!self.tun),
            userspace_router: Some(!self.tun),
            state_encrypted: Some(false),
            ..Hostinfo::default()
        };
        SelfReport {
            hostinfo,
            endpoints: self.endpoints.clone(),
            disco_key: self.disco,
            debug_flags: Vec::new(),
            ephemeral: self.ephemeral,
        }
    }

    fn net_info(&self) -> NetInfo {
        NetInfo { preferred_derp: self.home.0, ..NetInfo::default() }
    }
}

/// By length of the prefix, then address, each once.
fn sorted(mut routes: Vec<netmap::IpNet>) -> Vec<netmap::IpNet> {
    routes.sort_unstable_by_key(|net| (net.addr().is_ipv6(), net.prefix_len(), net.addr()));
    routes.dedup();
    routes
}

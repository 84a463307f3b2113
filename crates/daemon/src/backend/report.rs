//! What we tell control about ourselves.

use super::routing::AUTO;
use super::{Backend, Effect, Moment};
use crate::parts::{dns, portmapper, useexitnode};
use control::{Command, Hostinfo, NetInfo, SelfReport, Service};
use engine::netcheck::Report;
use netmap::{Map, RegionId};
use std::net::SocketAddr;

/// Version of the service by which exit-node clients ask for names.
const DNS_PROXY: u16 = 1;

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
    /// A socket can be bound to `::1`.
    pub has_ipv6: bool,
}

impl Backend {
    /// Tells control what we are now; it sends only what has changed.
    pub(super) fn report(&mut self) {
        let report = self.self_report();
        self.control(Command::Report(Box::new(report)));
    }

    fn self_report(&self) -> SelfReport {
        let prefs = self.prefs();
        let routes = self.advertised();
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
            services: self.services(),
            net_info: (!self.home.is_none()).then(|| self.net_info()),
            userspace: Some(!self.tun),
            userspace_router: Some(!self.tun),
            // While it waits for one it uses none.
            exit_node_id: Some(prefs.exit_node_id.clone())
                .filter(|id| useexitnode::in_use(prefs) && !id.starts_with(AUTO))
                .unwrap_or_default(),
            state_encrypted: Some(false),
        };
        let flags = [
            (self.router_failed, "warn-router-unhealthy"),
            (self.not_forwarding.is_some(), "warn-ip-forwarding-off"),
        ];
        SelfReport {
            hostinfo,
            endpoints: self.endpoints.clone(),
            disco_key: self.disco,
            debug_flags: flags.iter().filter(|(up, _)| *up).map(|(_, flag)| (*flag).to_owned()).collect(),
            ephemeral: self.ephemeral,
        }
    }

    /// What other nodes can ask us for, as far as it listens.
    fn services(&self) -> Vec<Service> {
        let service = |proto: &str, port| Service { proto: proto.to_owned(), port, ..Service::default() };
        let kind = |at: &SocketAddr| if at.is_ipv4() { "peerapi4" } else { "peerapi6" };
        let mut all: Vec<_> = self.peerapi.iter().map(|at| service(kind(at), at.port())).collect();
        if !all.is_empty() && dns::FEATURE.is_some() {
            all.push(service("peerapi-dns-proxy", DNS_PROXY));
        }
        all
    }

    fn net_info(&self) -> NetInfo {
        let Looked { net_info, mapping, .. } = &self.looked;
        let portmapper::Mapping { external, pmp, pcp, upnp } = *mapping;
        let (have_port_map, preferred_derp) = (external.is_some(), self.home.0);
        let firewall_mode = self.looked.firewall.to_owned();
        NetInfo { have_port_map, pmp, pcp, upnp, preferred_derp, firewall_mode, ..net_info.clone() }
    }

    /// The network has been looked at: home may be another region, and control is told what is new.
    pub(super) fn looked(&mut self, report: &Report, now: Moment) {
        let usable = |id: &RegionId| {
            let region = self.netmap.derp_map.regions.get(id);
            region.is_some_and(|region| !region.no_measure_no_home && !region.nodes.is_empty())
        };
        let old = &self.looked.net_info;
        let families = [(&report.region_v4_latency, "v4"), (&report.region_v6_latency, "v6")];
        let seconds = families.into_iter().flat_map(|(all, family)| {
            all.iter().map(move |(id, took)| (format!("{id}-{family}"), took.as_secs_f64()))
        });
        // A report may have asked the nearest regions only; of one about all, who does not answer any more is not near.
        if report.full && report.udp {
            self.looked.latencies.clear();
        }
        for (region, took) in seconds {
            self.looked.latencies.insert(region, took);
        }
        let new = NetInfo {
            // What one server alone cannot tell is as it was.
            mapping_varies_by_dest_ip: report.mapping_varies.or(old.mapping_varies_by_dest_ip),
            working_udp: Some(report.udp),
            working_ipv6: Some(report.ipv6),
            working_icmpv4: Some(false),
            os_has_ipv6: Some(self.host.has_ipv6),
            // How far the relays are changes all the time and is told with the rest only.
            derp_latency: old.derp_latency.clone(),
            ..NetInfo::default()
        };
        let same = *old == new;
        // Peers learn of another home from control alone: without it they would go on to look for us at the old one.
        let chosen = Some(report.preferred_derp).filter(usable);
        let may_move = self.in_map_poll || self.home.is_none();
        self.looked.home_withheld = !may_move && chosen.is_some_and(|home| home != self.home);
        let home = chosen.filter(|_| may_move);
        let home = home.or_else(|| {
            // Nothing answered: any region is better than none, and the same one each time.
            self.home.is_none().then(|| self.netmap.derp_map.regions.keys().find(|id| usable(id)).copied())?
        });
        let moved = home.is_some_and(|home| home != self.home);
        if !same || moved {
            self.looked.net_info = NetInfo { derp_latency: self.looked.latencies.clone(), ..new };
        }
        if let Some(home) = home {
            self.set_home(home);
        }
        if !same && !moved {
            self.report();
        }
        self.suggest_anew();
        if !self.prefs().auto_exit_node.is_empty() {
            // Which one is near could not be said before there was a home.
            self.follow_exit_node(now);
        }
    }

    /// Control hears us again: whether a home was withheld while it did not.
    pub(super) fn forget_withheld_home(&mut self) -> bool {
        std::mem::take(&mut self.looked.home_withheld)
    }

    /// The system's packet filter is spoken to in this way.
    pub(super) fn firewall_chosen(&mut self, name: &'static str) {
        if self.looked.firewall != name {
            self.looked.firewall = name;
            // It is told with the rest; before there is a home there is no rest.
            if !self.home.is_none() {
                self.report();
            }
        }
    }

    /// How many seconds a relay region is away, as far as is known.
    pub(super) fn seconds_to(&self, region: RegionId) -> Option<f64> {
        let known = &self.looked.latencies;
        let both = ["v4", "v6"].iter().filter_map(|family| known.get(&format!("{region}-{family}")));
        both.copied().min_by(f64::total_cmp)
    }

    /// Regions of another map may have the same numbers.
    pub(super) fn forget_latencies(&mut self) {
        self.looked.latencies.clear();
        self.looked.net_info.derp_latency.clear();
    }

    /// The router in front of us forwards something else now.
    pub(super) fn port_mapping_changed(&mut self, mapping: portmapper::Mapping) {
        if self.looked.mapping.external != mapping.external {
            self.effects.push_back(Effect::PortMapping(mapping.external));
        }
        self.looked.mapping = mapping;
        self.report();
    }
}

/// What is known of the network.
#[derive(Default)]
pub(super) struct Looked {
    /// As far as it follows from reports, as control was told last.
    net_info: NetInfo,
    /// Seconds to the relay regions as last measured, by the names that they have in [`NetInfo`].
    latencies: Map<String, f64>,
    mapping: portmapper::Mapping,
    /// Another home has been chosen while control did not hear us.
    home_withheld: bool,
    /// How the system's packet filter is spoken to.
    firewall: &'static str,
}

#[cfg(test)]
impl Looked {
    pub(super) fn os_has_ipv6(&self) -> Option<bool> {
        self.net_info.os_has_ipv6
    }
}

/// By length of the prefix, then address, each once.
fn sorted(mut routes: Vec<netmap::IpNet>) -> Vec<netmap::IpNet> {
    routes.sort_unstable_by_key(|net| (net.addr().is_ipv6(), net.prefix_len(), net.addr()));
    routes.dedup();
    routes
}

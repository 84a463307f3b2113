//! Keeping the TUN interface, its routes and the packet filter as the backend wants them.
//!
//! Owns: where routes are put, who has this node's address, how the daemon's own packets stay out of the tunnel, putting
//! back what others have removed. Leaves out: how the kernel is told (`router`), when to look (`node`).

use super::Bind;
use super::owner::Owner;
use super::switches::Switches;
use crate::backend::{RouterConfig, is_tailnets};
use crate::network::Uplinks;
use crate::parts::iptables;
use localapi::types::NetfilterMode;
use router::{Config, Layout, Router, Tun};
use std::sync::Arc;

/// Says where routes are put: `main`, `policy` or `auto`.
const LAYOUT: &str = "TS_DEBUG_ROUTE_LAYOUT";

/// Lets the kernel judge by marks where answers would go (protocol reference §8.2).
const SRC_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";

/// The interface as the run loop has it.
pub struct Interface {
    tun: Arc<Tun>,
    router: Router,
    rules: iptables::Rules,
    switches: Switches,
    mtu: u32,
    owner: Owner,
    /// What is wanted, and what followed from it.
    wanted: Option<Wanted>,
    /// The ways out of this machine may be others than when they were read.
    moved: bool,
}

/// What is wanted.
struct Wanted {
    config: RouterConfig,
    uplinks: Uplinks,
    /// It was applied without a problem.
    applied: bool,
}

/// The ways out with which `config` is to be applied; `None`: it is in force. They are read only where they may differ from
/// those of `last`: where there are many routes that takes long, and a map message in ten asks.
fn due(
    last: Option<&Wanted>,
    config: &RouterConfig,
    moved: bool,
    read: &mut dyn FnMut() -> Uplinks,
) -> Option<Uplinks> {
    let last = last.filter(|last| last.applied && last.config == *config);
    if last.is_some() && !moved {
        return None;
    }
    let uplinks = read();
    last.is_none_or(|last| last.uplinks != uplinks).then_some(uplinks)
}

/// The main table, which every kernel follows, as long as nothing but tailnets' addresses leads here. Of everything else the
/// daemon's own packets have to be kept out of the tunnel, which policy rules do best. Or as somebody says.
fn layout(wanted: Option<&str>, config: &RouterConfig) -> Layout {
    match wanted {
        Some("auto") => Layout::Auto,
        Some("policy") => Layout::Policy,
        Some("main") => Layout::Main,
        _ if config.leads_beyond() => Layout::Auto,
        _ => Layout::Main,
    }
}

impl Interface {
    pub(super) fn new(tun: Arc<Tun>, router: Router, mtu: u32, owner: Owner) -> Self {
        let (rules, switches) = (iptables::Rules::default(), Switches::default());
        let mut interface = Self { tun, router, rules, switches, mtu, owner, wanted: None, moved: false };
        // Away with what a killed run may have left on an interface that outlived it.
        for problem in interface.apply(&RouterConfig::default(), &mut |_| {}) {
            log::warn!(target: crate::logging::UNLIMITED, "{problem}");
        }
        interface
    }

    /// As the system calls it.
    pub fn name(&self) -> &str {
        self.tun.name()
    }

    /// Whether it can have IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.router.has_ipv6()
    }

    /// As whom changes are asked of the kernel.
    pub const fn port(&self) -> u32 {
        self.router.port()
    }

    /// Whether even packets for this node itself have to be forwarded.
    pub fn forwards_own_address(&self) -> bool {
        self.owner == Owner::RouterOs
    }

    /// The packet filter in use, in upstream's words; empty: none.
    pub fn firewall(&self) -> &'static str {
        self.rules.name()
    }

    /// Brings addresses, routes and rules to `config`; what does not work is tried again next time, and returned.
    pub fn apply(&mut self, config: &RouterConfig, bind: Bind<'_>) -> Vec<String> {
        let needed = config.leads_beyond() || self.forwards_own_address();
        let moved = std::mem::take(&mut self.moved);
        let (router, name) = (&mut self.router, self.tun.name());
        let mut read = || if needed { uplinks(router, name) } else { Uplinks::default() };
        let Some(uplinks) = due(self.wanted.as_ref(), config, moved, &mut read) else { return Vec::new() };
        let problems = self.bring_to(config, &uplinks, bind);
        self.wanted = Some(Wanted { config: config.clone(), uplinks, applied: problems.is_empty() });
        problems
    }

    /// The ways out of this machine may have become others: [`Self::apply`] is to look.
    pub const fn network_moved(&mut self) {
        self.moved = true;
    }

    /// Looks whether everything is there still and puts back what others have removed, or what could not be set the last
    /// time. Whether there was something, and the problems.
    pub fn mend(&mut self, bind: Bind<'_>) -> (bool, Vec<String>) {
        let changes = |this: &Self| this.router.changes().wrapping_add(this.rules.changes());
        let before = changes(self);
        let Some(mut wanted) = self.wanted.take() else { return (false, Vec::new()) };
        let problems = self.bring_to(&wanted.config, &wanted.uplinks, bind);
        let changed = changes(self).wrapping_sub(before);
        if changed != 0 && wanted.applied {
            log::warn!(
                "somebody had removed what belongs to {}: put back by {changed} changes of addresses, routes or rules",
                self.tun.name()
            );
        }
        wanted.applied = problems.is_empty();
        self.wanted = Some(wanted);
        (changed != 0, problems)
    }

    fn bring_to(&mut self, config: &RouterConfig, uplinks: &Uplinks, bind: Bind<'_>) -> Vec<String> {
        let mut texts = Vec::new();
        let mut wanted = Config {
            mtu: self.mtu,
            up: true,
            addresses: config.addresses.clone(),
            routes: config.routes.clone(),
            shut: config.shut.clone(),
            around: config.around.clone(),
            routers: uplinks.routers(),
            layout: layout(std::env::var(LAYOUT).ok().as_deref(), config),
            ..Config::default()
        };
        let mut firewall = config.firewall.clone();
        if self.forwards_own_address() {
            hand_over(&mut wanted, &mut texts);
            firewall.mode = NetfilterMode::Off;
        }
        let beyond = config.leads_beyond();
        if beyond && wanted.layout == Layout::Auto && self.router.layout().is_none() {
            // Before more than tailnets leads into the tunnel it must be known what keeps our own packets out of it.
            let routes = config.routes.iter().filter(|net| is_tailnets(net)).copied().collect();
            self.router.apply(&Config { routes, shut: Vec::new(), ..wanted.clone() });
        }
        if beyond && wanted.layout == Layout::Auto && self.router.layout() == Some(Layout::Main) {
            wanted.layout = Layout::Main;
        }
        let main = wanted.layout == Layout::Main;
        // Those of other interfaces are in the main table themselves.
        let behind = config.behind.iter().filter(|net| !config.around.iter().any(|near| near.contains(*net)));
        if main { &mut wanted.beyond } else { &mut wanted.around }.extend(behind);
        let names = uplinks.names();
        let mut switches = Vec::new();
        // Without a way out all that this node speaks to is on the networks around it; only an exit node's user wants silence.
        let bound = beyond && main && (config.leads_out() || *uplinks != Uplinks::default());
        if bound {
            bind(Some(names));
        }
        if beyond && !main && firewall.mode == NetfilterMode::On {
            switches.push((SRC_VALID_MARK.to_owned(), "1"));
        }
        if beyond {
            // Marks are not enough even where they are put back onto answers: a connection that a peer began has none.
            let [v4, _] = names;
            let loose = format!("net/ipv4/conf/{v4}/rp_filter");
            // It was strict, unless that is our doing; then it has to stay as it is.
            if self.switches.is_strict(v4) || self.switches.holds(&loose) {
                switches.push((loose, "2"));
            }
        }
        let refused = self.switches.want(&switches);
        if names.iter().any(|name| self.switches.is_strict(name)) && beyond {
            texts.extend(refused.iter().map(|text| {
                format!("{text}; answers of peers are dropped while an exit node or networks behind peers are in use: let it be set, or switch rp_filter off")
            }));
        }
        texts.extend(self.router.apply(&wanted).iter().map(ToString::to_string));
        if !main {
            // What another interface has stays there, which the kernel does not say of a table of our own.
            let taken = config.routes.iter().filter(|net| config.around.contains(net));
            texts.extend(taken.map(|net| router::Error::Taken(*net).to_string()));
        }
        if !bound {
            bind(None);
        }
        let config =
            RouterConfig { firewall, addresses: config.addresses.clone(), ..RouterConfig::default() };
        texts.extend(self.rules.apply(self.tun.name(), self.router.has_ipv6(), &config));
        texts
    }

    /// Removes what was set.
    pub fn close(mut self) {
        let name = self.tun.name();
        let mut problems = self.rules.close();
        problems.extend(self.router.close().iter().map(ToString::to_string));
        problems.extend(self.switches.want(&[]));
        for problem in problems {
            log::warn!(target: crate::logging::UNLIMITED, "{name}: {problem}");
        }
    }
}

/// The ways out of this machine that do not lead to the interface `own`.
fn uplinks(router: &mut Router, own: &str) -> Uplinks {
    let v6 = router.way_out_v6().unwrap_or_else(|error| {
        log::warn!("cannot read the default route of IPv6: {error}");
        None
    });
    Uplinks::read(own, v6)
}

/// The addresses of this node go to the router in front instead of the interface, as far as there is one.
fn hand_over(wanted: &mut Config, texts: &mut Vec<String>) {
    for address in std::mem::take(&mut wanted.addresses) {
        let v4 = address.addr().is_ipv4();
        if wanted.routers.iter().any(|(_, router)| router.is_ipv4() == v4) {
            wanted.beyond.push(address);
            continue;
        }
        wanted.addresses.push(address);
        if v4 {
            texts.push(format!(
                "{}=routeros: there is no default route by which {} could be handed to the router; give the veth a gateway",
                Owner::VARIABLE,
                address.addr()
            ));
        } else {
            log::info!("without a default route of IPv6 this machine keeps {} itself", address.addr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::IpNet;

    #[test]
    fn where_routes_are_put() {
        let plain = RouterConfig::default();
        let with = |net: &str| RouterConfig {
            routes: ["100.64.0.0/10", "fd7a:115c:a1e0::53/128", net]
                .map(|net| net.parse().expect("net"))
                .into(),
            ..RouterConfig::default()
        };
        let (tailnet, out, lan) = (with("100.65.0.0/16"), with("::/0"), with("10.0.0.0/8"));
        for (text, layouts) in [
            ("", [Layout::Main, Layout::Main, Layout::Auto, Layout::Auto]),
            ("x", [Layout::Main, Layout::Main, Layout::Auto, Layout::Auto]),
            ("main", [Layout::Main; 4]),
            ("policy", [Layout::Policy; 4]),
            ("auto", [Layout::Auto; 4]),
        ] {
            let got = [&plain, &tailnet, &out, &lan].map(|config| layout(Some(text), config));
            assert_eq!(got, layouts, "{text}");
        }
        assert_eq!(layout(None, &out), Layout::Auto);
    }

    #[test]
    fn ways_out_are_read_only_where_they_may_be_others() {
        let [one, other] = ["10.0.0.0/8", "10.0.0.0/9"]
            .map(|net| RouterConfig { routes: vec![net.parse().expect("net")], ..RouterConfig::default() });
        let uplinks = |name: &str| {
            let v4 = Some(crate::network::Uplink { name: name.to_owned(), index: 1, router: None });
            Uplinks { v4, v6: None }
        };
        let mut read = 0;
        let mut due = |last: Option<&Wanted>, config: &RouterConfig, moved: bool, now: &str| {
            let due = due(last, config, moved, &mut || {
                read += 1;
                uplinks(now)
            });
            (due.is_some(), std::mem::take(&mut read))
        };
        assert_eq!(due(None, &one, false, "a"), (true, 1));
        let mut last = Wanted { config: one.clone(), uplinks: uplinks("a"), applied: true };
        assert_eq!(due(Some(&last), &one, false, "b"), (false, 0), "nobody has told of a change");
        assert_eq!(due(Some(&last), &one, true, "a"), (false, 1));
        assert_eq!(due(Some(&last), &one, true, "b"), (true, 1));
        assert_eq!(due(Some(&last), &other, false, "a"), (true, 1));
        last.applied = false;
        assert_eq!(due(Some(&last), &one, false, "a"), (true, 1), "what was refused is tried again");
    }

    #[test]
    fn addresses_are_handed_to_a_router_that_is_there() {
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().expect("net")).collect::<Vec<IpNet>>();
        let own = nets(&["100.64.0.7/32", "fd7a:115c:a1e0::7/128"]);
        let mut wanted = Config {
            addresses: own.clone(),
            routers: vec![(3, "172.18.0.1".parse().expect("address"))],
            ..Config::default()
        };
        let mut texts = Vec::new();
        hand_over(&mut wanted, &mut texts);
        assert_eq!((&wanted.addresses[..], &wanted.beyond[..]), (&own[1..], &own[..1]));
        assert!(texts.is_empty());
        let mut lonely = Config { addresses: own.clone(), ..Config::default() };
        hand_over(&mut lonely, &mut texts);
        assert_eq!(lonely.addresses, own);
        assert!(texts.len() == 1 && texts[0].contains("100.64.0.7"), "{texts:?}");
    }
}

//! The whole configuration, and what follows from it: a [`Resolver`] for quad-100 and an [`OsConfig`] for the machine.
//!
//! Protocol reference §9.5. A machine's resolver cannot be told to ask different servers for different names, so as
//! soon as there is anything but plain default resolvers, all of its questions come to us.

use crate::hosts::Hosts;
use crate::name;
use crate::providers;
use crate::server::Server;
use crate::upstream::Upstream;
use netmap::{SERVICE_V4, SERVICE_V6};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Head start of DNS over HTTPS before the same provider is asked by UDP.
pub const HTTPS_FIRST: Duration = Duration::from_millis(500);
/// How much later a provider's second address of a family is asked.
const SECOND_ADDRESS: Duration = Duration::from_millis(200);
/// Most upstreams of one route that are asked.
const MOST_STEPS: usize = 16;

/// All that is configured. Names are in lower case and without a final dot ([`name::canonical`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Names that control adds, with all their addresses.
    pub records: Hosts,
    /// The nodes, ourselves among them, by their full names.
    pub nodes: Hosts,
    /// MagicDNS is on, and this is the tailnet's suffix: `host` means `host.suffix`.
    pub magic: Option<Box<str>>,
    /// The reverse zones of Tailscale's addresses are ours.
    pub reverse: bool,
    /// Suffix to resolvers; a name below a suffix without resolvers exists here or nowhere.
    /// Every suffix once, in any order.
    pub routes: Vec<(Box<str>, Box<[Upstream]>)>,
    /// Resolvers of everything else.
    pub default: Box<[Upstream]>,
    /// Search domains.
    pub search: Box<[Box<str>]>,
    /// We have no IPv4 address: nodes have none for us either, and quad-100 is reached by IPv6.
    pub only_v6: bool,
    /// Nodes that have an IPv4 address show their IPv6 addresses too (attribute `magicdns-aaaa`).
    pub nodes_aaaa: bool,
    /// The nodes' names lie below no route, so that the machine has to ask us for everything to find them.
    pub nodes_unrouted: bool,
}

/// One upstream of a route and when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Whom.
    pub upstream: Upstream,
    /// How long after the query came.
    pub delay: Duration,
}

/// Upstreams for the names below a suffix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) suffix: Box<str>,
    pub(crate) steps: Rc<[Step]>,
}

/// Whom a [`Resolver`] asks for which names. Cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whom(Rc<[Route]>);

/// What answers and forwards by a configuration. Made anew for every configuration.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    pub(crate) config: Config,
    /// Longest suffix first; those without upstreams are in `local`.
    pub(crate) routes: Rc<[Route]>,
    /// Zones in which what we do not know does not exist, longest first.
    pub(crate) local: Box<[Box<str>]>,
}

/// What the machine's own resolver is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OsConfig {
    /// Whom to ask; when there is nobody, the machine's own configuration is left alone or restored.
    pub nameservers: Vec<Server>,
    /// What to append to a name without a dot.
    pub search: Vec<Box<str>>,
}

impl OsConfig {
    /// Nothing of ours is to be in force.
    pub fn is_empty(&self) -> bool {
        self.nameservers.is_empty()
    }
}

impl Config {
    /// Splits the configuration. `base` is what the machine had before us, without ourselves in it.
    pub fn compile(self, base: &OsConfig) -> (Resolver, OsConfig) {
        let mut search = self.search.to_vec();
        let routed = !self.routes.is_empty() || self.reverse;
        if self.default.is_empty() && !routed {
            let os = match search.is_empty() {
                true => OsConfig::default(),
                // Search domains alone would leave the machine without a server.
                false => OsConfig { nameservers: base.nameservers.clone(), search: blend(search, base) },
            };
            return (self.resolver(None), os);
        }
        let service = match self.only_v6 {
            true => vec![IpAddr::from(SERVICE_V6)],
            false => vec![SERVICE_V4.into(), SERVICE_V6.into()],
        };
        let service = service.into_iter().map(Server::from).collect();
        if self.default.is_empty() {
            search = blend(search, base);
            let default = base.nameservers.iter().map(|server| Upstream::Plain(server.at()));
            let default: Box<[_]> = default.filter(|one| !one.is_ourselves()).collect();
            return (self.resolver(Some(&default)), OsConfig { nameservers: service, search });
        }
        if !routed
            && !self.has_uncovered_names()
            && let Some(nameservers) = self.plain_default()
        {
            return (self.resolver(None), OsConfig { nameservers, search });
        }
        let default = self.default.clone();
        (self.resolver(Some(&default)), OsConfig { nameservers: service, search })
    }

    /// The default resolvers, when a machine's resolver can ask every one of them.
    fn plain_default(&self) -> Option<Vec<Server>> {
        let plain = |one: &Upstream| one.plain_ip().filter(|ip| !providers::is_https_only(*ip));
        self.default.iter().map(|one| plain(one).map(Server::from)).collect()
    }

    /// Whether we know names that lie below no route.
    fn has_uncovered_names(&self) -> bool {
        let covered = |host: &str| {
            self.routes.iter().any(|(suffix, _)| name::is_below(host.as_bytes(), suffix.as_bytes()))
        };
        self.nodes_unrouted || self.records.names().any(|host| !covered(host))
    }

    /// The resolver; without `default` it forwards nothing, because nobody was told to ask it.
    fn resolver(self, default: Option<&[Upstream]>) -> Resolver {
        let mut routes = Vec::new();
        let mut local = Vec::new();
        for (suffix, upstreams) in &self.routes {
            if upstreams.is_empty() {
                local.push(suffix.clone());
            } else if default.is_some() && (self.default.is_empty() || !suffix.is_empty()) {
                routes.push(Route { suffix: suffix.clone(), steps: plan(upstreams) });
            }
        }
        if let Some(default) = default.filter(|default| !default.is_empty()) {
            routes.push(Route { suffix: "".into(), steps: plan(default) });
        }
        let longest = |suffix: &str| std::cmp::Reverse(name::labels(suffix.as_bytes()));
        routes.sort_by_key(|route| longest(&route.suffix));
        local.sort_by_key(|suffix| longest(suffix));
        Resolver { routes: routes.into(), local: local.into(), config: self }
    }
}

/// Our search domains, and behind them the machine's own.
fn blend(mut search: Vec<Box<str>>, base: &OsConfig) -> Vec<Box<str>> {
    for domain in &base.search {
        if !search.contains(domain) {
            search.push(domain.clone());
        }
    }
    search
}

/// Who is asked when: known providers by HTTPS at once and by UDP later, all others at once. For a route that is not in
/// the configuration: the machine's own servers, which an exit node asks for its clients.
pub fn plan(upstreams: &[Upstream]) -> Rc<[Step]> {
    let mut steps: Vec<Step> = Vec::new();
    let known = |upstream: &Upstream| providers::by_address(upstream.plain_ip()?);
    for endpoint in upstreams.iter().filter_map(known) {
        let upstream = Upstream::Https(endpoint.url);
        if !steps.iter().any(|step| step.upstream == upstream) {
            steps.push(Step { upstream, delay: Duration::ZERO });
        }
    }
    let mut seen: Vec<(Box<str>, bool)> = Vec::new();
    for upstream in upstreams.iter().filter(|one| !one.is_ourselves()) {
        let mut delay = Duration::ZERO;
        if let Some(endpoint) = known(upstream) {
            if endpoint.https_only {
                continue;
            }
            let key = (endpoint.url, matches!(upstream.plain_ip(), Some(IpAddr::V6(_))));
            delay = HTTPS_FIRST + if seen.contains(&key) { SECOND_ADDRESS } else { Duration::ZERO };
            seen.push(key);
        }
        steps.push(Step { upstream: upstream.clone(), delay });
    }
    steps.truncate(MOST_STEPS);
    steps.into()
}

impl Resolver {
    /// Who is asked for a name and when; nobody when there is no route.
    pub fn steps(&self, name: &[u8]) -> Option<&Rc<[Step]>> {
        let route = self.routes.iter().find(|route| name::is_below(name, route.suffix.as_bytes()));
        route.map(|route| &route.steps)
    }

    /// Whom it asks: others than another one, or the same.
    pub fn whom(&self) -> Whom {
        Whom(Rc::clone(&self.routes))
    }

    /// What it was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it was made from, to be split anew over another base.
    pub fn into_config(self) -> Config {
        self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(list: &[&str]) -> Box<[Upstream]> {
        list.iter().map(|text| Upstream::parse(text)).collect()
    }

    fn config(routes: &[(&str, &[&str])], default: &[&str]) -> Config {
        Config {
            routes: routes.iter().map(|(suffix, list)| ((*suffix).into(), upstreams(list))).collect(),
            default: upstreams(default),
            search: ["tail1.ts.net".into()].into(),
            ..Config::default()
        }
    }

    fn base() -> OsConfig {
        let ips =
            ["192.168.88.1", "100.100.100.100"].map(|ip| ip.parse::<IpAddr>().expect("an address").into());
        OsConfig { nameservers: ips.into(), search: vec!["lan".into(), "tail1.ts.net".into()] }
    }

    fn asked(resolver: &Resolver, name: &str) -> Vec<String> {
        let steps = resolver.steps(name.as_bytes()).into_iter().flat_map(|steps| steps.iter());
        steps.map(|step| format!("{}+{}", step.upstream, step.delay.as_millis())).collect()
    }

    #[test]
    fn the_machine_is_told_as_little_as_possible() {
        let service = "100.100.100.100 fd7a:115c:a1e0::53";
        type Routes<'a> = &'a [(&'a str, &'a [&'a str])];
        let table: [(Routes<'_>, &[&str], &str, &str); 8] = [
            (&[], &[], "192.168.88.1 100.100.100.100", "tail1.ts.net lan"),
            (&[], &["9.9.9.9"], "9.9.9.9", "tail1.ts.net"),
            (&[], &["9.9.9.9", "10.0.0.1:5353"], service, "tail1.ts.net"),
            (&[], &["http://100.64.0.1:4/dns-query"], service, "tail1.ts.net"),
            (&[], &["185.71.138.138"], service, "tail1.ts.net"),
            (&[("corp", &["10.0.0.1"])], &["9.9.9.9"], service, "tail1.ts.net"),
            (&[("corp", &["10.0.0.1"])], &[], service, "tail1.ts.net lan"),
            (&[("tail1.ts.net", &[])], &[], service, "tail1.ts.net lan"),
        ];
        for (routes, default, servers, search) in table {
            let (_, os) = config(routes, default).compile(&base());
            let servers_told: Vec<_> = os.nameservers.iter().map(ToString::to_string).collect();
            assert_eq!(
                (servers_told.join(" "), os.search.join(" ")),
                (servers.into(), search.into()),
                "{routes:?}"
            );
        }
        let nothing = Config { search: [].into(), ..config(&[], &[]) };
        assert_eq!(nothing.compile(&base()).1, OsConfig::default());
    }

    #[test]
    fn names_that_only_we_know_bring_all_questions_here() {
        let mut records = crate::hosts::Builder::default();
        records.add("svc.corp", false, [IpAddr::from([10, 0, 0, 1])].into_iter());
        let uncovered = Config { records: records.finish(), ..config(&[], &["9.9.9.9"]) };
        let unrouted = Config { nodes_unrouted: true, ..config(&[], &["9.9.9.9"]) };
        let v6 = Config { only_v6: true, ..config(&[("x", &[])], &[]) };
        let told =
            |config: Config| config.compile(&base()).1.nameservers.iter().map(Server::ip).collect::<Vec<_>>();
        assert_eq!(told(uncovered), [IpAddr::from(SERVICE_V4), SERVICE_V6.into()]);
        assert_eq!(told(unrouted), [IpAddr::from(SERVICE_V4), SERVICE_V6.into()]);
        assert_eq!(told(v6), [IpAddr::from(SERVICE_V6)]);
    }

    #[test]
    fn the_longest_suffix_is_asked() {
        let routes =
            [("corp", &["10.0.0.1"][..]), ("eu.corp", &["10.0.0.2", "10.0.0.3:5353"]), ("local.corp", &[])];
        let (resolver, _) = config(&routes, &["9.9.9.12"]).compile(&base());
        for (name, expected) in [
            ("a.corp", "10.0.0.1+0"),
            ("corp", "10.0.0.1+0"),
            ("a.eu.corp", "10.0.0.2+0 10.0.0.3:5353+0"),
            ("eucorp", "9.9.9.12+0"),
            ("", "9.9.9.12+0"),
        ] {
            assert_eq!(asked(&resolver, name).join(" "), expected, "{name}");
        }
        // Without defaults of ours those of the machine; ourselves never.
        let (resolver, _) = config(&routes, &[]).compile(&base());
        assert_eq!(asked(&resolver, "example.com"), ["192.168.88.1+0"]);
        // Nobody was told to ask us.
        let (resolver, _) = config(&[], &["9.9.9.12"]).compile(&base());
        assert_eq!(asked(&resolver, "example.com"), [""; 0]);
    }

    #[test]
    fn whom_it_asks_is_the_same_whatever_else_changes() {
        let whom = |config: Config| config.compile(&base()).0.whom();
        let split = || config(&[("corp", &["10.0.0.1"])], &["9.9.9.12"]);
        assert_eq!(whom(split()), whom(Config { nodes_aaaa: true, search: [].into(), ..split() }));
        for other in [
            config(&[("corp", &["10.0.0.2"])], &["9.9.9.12"]),
            config(&[("corp", &["10.0.0.1"])], &["9.9.9.13"]),
            config(&[("cork", &["10.0.0.1"])], &["9.9.9.12"]),
            Config::default(),
        ] {
            assert_ne!(whom(split()), whom(other));
        }
        assert_eq!(whom(Config::default()), Whom::default());
    }

    #[test]
    fn providers_are_asked_by_https_first() {
        let list = ["8.8.8.8", "10.0.0.1", "8.8.4.4", "2001:4860:4860::8888", "2a07:a8c0::ab", "tls://x"];
        let (resolver, _) = config(&[], &list).compile(&base());
        assert_eq!(
            asked(&resolver, "x"),
            [
                "https://dns.google/dns-query+0",
                "https://dns.nextdns.io/ab+0",
                "8.8.8.8+500",
                "10.0.0.1+0",
                "8.8.4.4+700",
                "2001:4860:4860::8888+500",
                "tls://x+0"
            ]
        );
    }
}

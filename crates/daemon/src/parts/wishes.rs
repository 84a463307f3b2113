//! Settings that only a feature can follow, and the sentence for whoever wants one that is not in this build.
//!
//! Asked by the daemon, so that Go's command line is answered, too. What is as it was before, what is off and what is
//! empty is never refused: a state directory may come from a node that has the feature.

use super::{advertiseexitnode, advertiseroutes, dns, useexitnode, useroutes};
use ipnet::IpNet;
use localapi::types::{MaskedPrefs, Prefs};

/// A setting of a feature.
struct Wish {
    /// Upstream's name of the feature.
    feature: &'static str,
    /// The feature, if it is in this build.
    built: Option<&'static str>,
    /// There is a build that has it.
    written: bool,
    /// What was wished for.
    what: &'static str,
    /// The flag that does.
    flag: &'static str,
}

const ACCEPT_ROUTES: Wish = Wish {
    feature: "useroutes",
    built: useroutes::FEATURE,
    written: true,
    what: "reaching subnets behind other nodes",
    flag: "accept-routes",
};
const ADVERTISE_ROUTES: Wish = Wish {
    feature: "advertiseroutes",
    built: advertiseroutes::FEATURE,
    written: true,
    what: "being a subnet router",
    flag: "advertise-routes",
};
const ADVERTISE_EXIT: Wish = Wish {
    feature: "advertiseexitnode",
    built: advertiseexitnode::FEATURE,
    written: true,
    what: "being an exit node",
    flag: "advertise-exit-node",
};
const EXIT_NODE: Wish = Wish {
    feature: "useexitnode",
    built: useexitnode::FEATURE,
    written: true,
    what: "using an exit node",
    flag: "exit-node",
};
const ALLOW_LAN: Wish = Wish { flag: "exit-node-allow-lan-access", ..EXIT_NODE };
const ACCEPT_DNS: Wish =
    Wish { feature: "dns", built: dns::FEATURE, written: true, what: "MagicDNS", flag: "accept-dns" };

impl Wish {
    /// The sentence; `None` if the feature is in this build.
    fn refused(&self) -> Option<String> {
        let Self { feature, what, flag, .. } = self;
        match (self.built, self.written) {
            (Some(_), _) => None,
            (None, true) => Some(format!(
                "{what} is not in this build: it lacks feature {feature}; install one that has it (the router image, \
                 or `cargo xtask build --features {feature},…`), or leave --{flag} out"
            )),
            (None, false) => Some(format!(
                "{what} is not in this build: no build has feature {feature} yet; leave --{flag} out"
            )),
        }
    }
}

/// A sentence for each wish in `prefs` that is not in `old` and not in this build.
pub fn refused(prefs: &Prefs, old: &Prefs) -> Vec<String> {
    let exit = |prefs: &Prefs| (prefs.exit_node_id.clone(), prefs.exit_node_ip, prefs.auto_exit_node.clone());
    let uses_exit =
        !prefs.exit_node_id.is_empty() || prefs.exit_node_ip.0.is_some() || !prefs.auto_exit_node.is_empty();
    let advertises = |default: bool| {
        let was = |net: &IpNet| old.advertise_routes.iter().flatten().any(|before| before == net);
        let mut routes = prefs.advertise_routes.iter().flatten();
        routes.any(|net| (net.prefix_len() == 0) == default && !was(net))
    };
    let wishes = [
        (prefs.route_all && !old.route_all, ACCEPT_ROUTES),
        (advertises(false), ADVERTISE_ROUTES),
        (advertises(true), ADVERTISE_EXIT),
        (uses_exit && exit(prefs) != exit(old), EXIT_NODE),
        (prefs.exit_node_allow_lan_access && !old.exit_node_allow_lan_access, ALLOW_LAN),
    ];
    wishes.iter().filter(|(wished, _)| *wished).filter_map(|(_, wish)| wish.refused()).collect()
}

/// The sentence for an edit that turns DNS on without having it.
///
/// Not part of [`refused`], because DNS is on unless somebody says otherwise: `up --reset` and a first login restate
/// that with all the other settings and mean nothing by it.
pub fn refused_dns(edit: &MaskedPrefs, old: &Prefs) -> Option<String> {
    let mask = &edit.mask;
    let restates = mask.control_url && mask.route_all && mask.shields_up;
    let wished = mask.corp_dns && edit.prefs.corp_dns && !old.corp_dns && !restates;
    if wished { ACCEPT_DNS.refused() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::types::{Addr, PrefsMask};

    fn nets(list: &[&str]) -> Option<Vec<IpNet>> {
        Some(list.iter().map(|net| net.parse().expect("net")).collect())
    }

    /// Every wish with a setting that makes it.
    fn wished() -> Vec<(Wish, Prefs)> {
        let prefs = Prefs::new_default;
        vec![
            (ACCEPT_ROUTES, Prefs { route_all: true, ..prefs() }),
            (ADVERTISE_ROUTES, Prefs { advertise_routes: nets(&["10.1.0.0/16"]), ..prefs() }),
            (ADVERTISE_EXIT, Prefs { advertise_routes: nets(&["0.0.0.0/0", "::/0"]), ..prefs() }),
            (EXIT_NODE, Prefs { exit_node_id: "n1".to_owned(), ..prefs() }),
            (EXIT_NODE, Prefs { exit_node_ip: Addr("100.64.0.1".parse().ok()), ..prefs() }),
            (EXIT_NODE, Prefs { auto_exit_node: "any".to_owned(), ..prefs() }),
            (ALLOW_LAN, Prefs { exit_node_allow_lan_access: true, ..prefs() }),
        ]
    }

    #[test]
    fn a_wish_is_refused_unless_its_feature_is_in_or_nothing_changes() {
        for (wish, prefs) in wished() {
            let sentences = refused(&prefs, &Prefs::new_default());
            assert_eq!(sentences.is_empty(), wish.built.is_some(), "{}: {sentences:?}", wish.feature);
            for sentence in sentences {
                assert!(sentence.contains(wish.feature) && sentence.contains(wish.flag), "{sentence}");
            }
            // From a state directory of a node that has it.
            assert_eq!(refused(&prefs, &prefs), [""; 0]);
            assert_eq!(refused(&Prefs { hostname: "x".to_owned(), ..prefs.clone() }, &prefs), [""; 0]);
            // Turned off again.
            assert_eq!(refused(&Prefs::new_default(), &prefs), [""; 0]);
            assert_eq!(refused(&Prefs { advertise_routes: nets(&[]), ..Prefs::default() }, &prefs), [""; 0]);
        }
    }

    #[test]
    fn dns_is_refused_only_to_who_asks_for_it() {
        let off = Prefs { corp_dns: false, ..Prefs::new_default() };
        let edit = |mask: PrefsMask| MaskedPrefs { prefs: Prefs::new_default(), mask };
        let asked = edit(PrefsMask { corp_dns: true, ..PrefsMask::default() });
        let refused = refused_dns(&asked, &off);
        assert_eq!(refused.is_none(), dns::FEATURE.is_some());
        assert!(refused.is_none_or(|sentence| sentence.contains("feature dns")));
        assert_eq!(refused_dns(&asked, &Prefs::new_default()), None, "it is on already");
        let reset = PrefsMask {
            control_url: true,
            corp_dns: true,
            route_all: true,
            shields_up: true,
            ..PrefsMask::default()
        };
        assert_eq!(refused_dns(&edit(reset), &off), None);
        let away = MaskedPrefs { prefs: off, ..asked };
        assert_eq!(refused_dns(&away, &Prefs::new_default()), None);
    }
}

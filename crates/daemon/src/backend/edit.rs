//! Changing settings: what is refused, and what a change brings with it (features reference §5.2).

use ipnet::IpNet;
use localapi::types::{Addr, LoginProfile, MaskedPrefs, OptBool, Prefs};

/// Why these settings cannot be put in force; one line a reason.
pub(super) fn check(prefs: &Prefs, current: &LoginProfile, others: &[LoginProfile]) -> Result<(), String> {
    let mut reasons: Vec<String> = Vec::new();
    let name = &prefs.profile_name;
    if !name.is_empty() && others.iter().any(|p| p.id != current.id && p.name == *name) {
        reasons.push(format!("profile name {name:?} already in use"));
    }
    if prefs.run_ssh {
        reasons.push("Tailscale SSH is not in this build; leave --ssh out".to_owned());
    }
    if prefs.run_web_client {
        reasons.push("the web client is not in this build; leave --webclient out".to_owned());
    }
    if prefs.app_connector.advertise {
        reasons.push("app connectors are not in this build; leave --advertise-connector out".to_owned());
    }
    if prefs.relay_server_port.is_some() {
        reasons.push("the peer relay server is not in this build; leave --relay-server-port out".to_owned());
    }
    if prefs.auto_update.apply == OptBool::True {
        reasons.push("automatic updates are not in this build; leave --auto-update out".to_owned());
    }
    let uses_exit =
        !prefs.exit_node_id.is_empty() || prefs.exit_node_ip.0.is_some() || !prefs.auto_exit_node.is_empty();
    if uses_exit && advertises_exit(prefs) {
        reasons.push("Cannot advertise an exit node and use an exit node at the same time.".to_owned());
    }
    for route in prefs.advertise_routes.iter().flatten() {
        if *route != route.trunc() {
            reasons.push(format!("route {route} has non-address bits set; expected {}", route.trunc()));
        }
    }
    if !prefs.hostname.is_empty() && !hostname_ok(&prefs.hostname) {
        reasons.push(format!(
            "hostname {:?} is not valid: give at most 63 letters, digits and dashes",
            prefs.hostname
        ));
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("\n")) }
}

/// Both default routes are advertised.
pub(super) fn advertises_exit(prefs: &Prefs) -> bool {
    let has = |v4: bool| {
        let routes = prefs.advertise_routes.iter().flatten();
        routes.into_iter().any(|r: &IpNet| r.prefix_len() == 0 && r.addr().is_ipv4() == v4)
    };
    has(true) && has(false)
}

/// The settings after `edit`, as upstream adjusts them.
pub(super) fn apply(prefs: &Prefs, edit: &MaskedPrefs) -> Result<Prefs, String> {
    if edit.mask.internal_exit_node_prior {
        return Err("can't set InternalExitNodePrior".to_owned());
    }
    let mut next = prefs.clone();
    next.apply(edit);
    next.persist = prefs.persist.clone();
    next.egg = prefs.egg;
    if edit.mask.exit_node_id && edit.prefs.exit_node_id.is_empty() {
        next.internal_exit_node_prior.clear();
    }
    let set_exit = (edit.mask.exit_node_id && !edit.prefs.exit_node_id.is_empty())
        || (edit.mask.exit_node_ip && edit.prefs.exit_node_ip.0.is_some());
    if set_exit && !edit.mask.auto_exit_node {
        next.auto_exit_node.clear();
    }
    if edit.mask.exit_node_id && !edit.mask.exit_node_ip && !edit.prefs.exit_node_id.is_empty() {
        next.exit_node_ip = Addr(None);
    }
    Ok(next)
}

fn hostname_ok(name: &str) -> bool {
    name.split('.').all(|label| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() <= 63 && label.chars().all(legal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use localapi::types::PrefsMask;

    fn refused(prefs: Prefs) -> String {
        check(&prefs, &LoginProfile::default(), &[]).expect_err("refused")
    }

    #[test]
    fn what_is_refused() {
        assert!(check(&Prefs::new_default(), &LoginProfile::default(), &[]).is_ok());
        assert!(refused(Prefs { run_ssh: true, ..Prefs::default() }).contains("SSH"));
        let routes = vec!["10.1.1.1/8".parse().expect("net")];
        assert!(refused(Prefs { advertise_routes: Some(routes), ..Prefs::default() }).contains("10.0.0.0/8"));
        let exit = vec!["0.0.0.0/0".parse().expect("net"), "::/0".parse().expect("net")];
        let both = Prefs { advertise_routes: Some(exit), exit_node_id: "n1".to_owned(), ..Prefs::default() };
        assert!(refused(both).contains("exit node"));
        assert!(refused(Prefs { hostname: "a b".to_owned(), ..Prefs::default() }).contains("hostname"));
    }

    #[test]
    fn an_edit_keeps_what_it_does_not_mean() {
        let edit = MaskedPrefs {
            prefs: Prefs { hostname: "x".to_owned(), shields_up: true, ..Prefs::default() },
            mask: PrefsMask { hostname: true, ..PrefsMask::default() },
        };
        let next = apply(&Prefs::new_default(), &edit).expect("edit");
        assert_eq!((next.hostname.as_str(), next.shields_up, next.corp_dns), ("x", false, true));
    }

    #[test]
    fn choosing_an_exit_node_ends_the_automatic_choice() {
        let before = Prefs { auto_exit_node: "any".to_owned(), ..Prefs::default() };
        let edit = MaskedPrefs {
            prefs: Prefs { exit_node_id: "n2".to_owned(), ..Prefs::default() },
            mask: PrefsMask { exit_node_id: true, ..PrefsMask::default() },
        };
        assert_eq!(apply(&before, &edit).expect("edit").auto_exit_node, "");
    }
}

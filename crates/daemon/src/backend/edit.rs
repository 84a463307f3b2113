//! Changing settings: what is refused, and what a change brings with it (features reference §5.2).

use crate::parts::wishes;
use ipnet::IpNet;
use localapi::types::{Addr, LoginProfile, MaskedPrefs, OptBool, Prefs};

/// Why settings cannot be put in force that differ from `old`; one line a reason. What is as it was is not looked at:
/// a state directory that comes from the Go daemon may hold what this build does not have, and must not stand in the
/// way of other changes.
pub(super) fn check(
    prefs: &Prefs,
    old: &Prefs,
    current: &LoginProfile,
    others: &[LoginProfile],
) -> Result<(), String> {
    let mut reasons: Vec<String> = Vec::new();
    let name = &prefs.profile_name;
    if !name.is_empty() && others.iter().any(|p| p.id != current.id && p.name == *name) {
        reasons.push(format!("profile name {name:?} already in use"));
    }
    let missing = [
        (prefs.run_ssh && !old.run_ssh, "Tailscale SSH", "ssh"),
        (prefs.run_web_client && !old.run_web_client, "the web client", "webclient"),
        (
            prefs.app_connector.advertise && !old.app_connector.advertise,
            "the app connector",
            "advertise-connector",
        ),
        (
            prefs.relay_server_port.is_some() && prefs.relay_server_port != old.relay_server_port,
            "the peer relay server",
            "relay-server-port",
        ),
        (
            prefs.auto_update.apply == OptBool::True && old.auto_update.apply != OptBool::True,
            "automatic update",
            "auto-update",
        ),
    ];
    let wanted = missing.into_iter().filter(|(wanted, ..)| *wanted);
    reasons.extend(wanted.map(|(_, what, flag)| format!("{what} is not in this build; leave --{flag} out")));
    reasons.extend(wishes::refused(prefs, old));
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
    let hostname = &prefs.hostname;
    if !hostname.is_empty() && *hostname != old.hostname && !hostname_ok(hostname) {
        reasons
            .push(format!("hostname {hostname:?} is not valid: give at most 63 letters, digits and dashes"));
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
    // Another one or none: either ends the automatic choice.
    let set_exit = edit.mask.exit_node_id || edit.mask.exit_node_ip;
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
        check(&prefs, &Prefs::default(), &LoginProfile::default(), &[]).expect_err("refused")
    }

    #[test]
    fn what_is_refused() {
        assert!(allowed(&Prefs::new_default(), &Prefs::default()));
        assert!(refused(Prefs { run_ssh: true, ..Prefs::default() }).contains("SSH"));
        let routes = vec!["10.1.1.1/8".parse().expect("net")];
        assert!(refused(Prefs { advertise_routes: Some(routes), ..Prefs::default() }).contains("10.0.0.0/8"));
        let exit = vec!["0.0.0.0/0".parse().expect("net"), "::/0".parse().expect("net")];
        let both = Prefs { advertise_routes: Some(exit), exit_node_id: "n1".to_owned(), ..Prefs::default() };
        assert!(refused(both).contains("exit node"));
        assert!(refused(Prefs { hostname: "a b".to_owned(), ..Prefs::default() }).contains("hostname"));
    }

    fn allowed(prefs: &Prefs, old: &Prefs) -> bool {
        check(prefs, old, &LoginProfile::default(), &[]).is_ok()
    }

    #[test]
    fn what_was_there_before_stands_in_nobodys_way() {
        let old = Prefs { run_ssh: true, hostname: "no_good".to_owned(), ..Prefs::default() };
        assert!(allowed(&Prefs { shields_up: true, ..old.clone() }, &old));
        assert!(!allowed(&Prefs { hostname: "worse!".to_owned(), ..old.clone() }, &old));
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
        // Empty: none is to be used.
        for id in ["n2", ""] {
            let edit = MaskedPrefs {
                prefs: Prefs { exit_node_id: id.to_owned(), ..Prefs::default() },
                mask: PrefsMask { exit_node_id: true, ..PrefsMask::default() },
            };
            assert_eq!(apply(&before, &edit).expect("edit").auto_exit_node, "");
        }
    }
}

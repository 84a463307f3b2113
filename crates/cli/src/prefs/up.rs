//! The complete preferences that an `up` or `login` command line stands for.

use localapi::types::{Addr, OptBool, Prefs, Status};

use super::exit_node::{self, Choice};
use super::{flags, names, routes};
use crate::args::Matches;

/// Preferences built from defaults and flags, and warnings to show.
///
/// # Errors
/// One sentence about the first value that cannot be used.
pub(crate) fn from_flags(matches: &Matches, status: &Status) -> Result<(Prefs, Vec<&'static str>), String> {
    let advertised = routes::advertised(matches.word("advertise-routes"), matches.on("advertise-exit-node"))?;
    let exit_node = matches.word("exit-node");
    if exit_node.is_empty() && matches.on("exit-node-allow-lan-access") {
        return Err("--exit-node-allow-lan-access can only be used with --exit-node".to_owned());
    }
    let tags = names::tags(matches.word("advertise-tags"))?;

    let mut prefs = Prefs::new_default();
    prefs.control_url = matches.word("login-server").to_owned();
    prefs.want_running = true;
    let warning = shared(&mut prefs, matches)?;
    if !exit_node.is_empty() {
        match exit_node::choose(exit_node, status)? {
            Choice::Auto(expression) => prefs.auto_exit_node = expression,
            Choice::Ip(ip) => prefs.exit_node_ip = Addr(Some(ip)),
        }
    }
    // Go compares and writes an empty list as null here.
    prefs.advertise_routes = Some(advertised).filter(|list| !list.is_empty());
    prefs.advertise_tags = Some(tags).filter(|list| !list.is_empty());
    let warnings = snat_warning(&prefs).into_iter().chain(warning).collect();
    Ok((prefs, warnings))
}

/// The fields that `up` and `set` have from the same flags, with a warning to show.
///
/// # Errors
/// One sentence about a value that cannot be used.
pub(crate) fn shared(prefs: &mut Prefs, matches: &Matches) -> Result<Option<&'static str>, String> {
    prefs.profile_name = matches.word("nickname").to_owned();
    prefs.route_all = matches.on("accept-routes");
    prefs.corp_dns = matches.on("accept-dns");
    prefs.exit_node_allow_lan_access = matches.on("exit-node-allow-lan-access");
    prefs.shields_up = matches.on("shields-up");
    prefs.run_ssh = matches.on("ssh");
    prefs.hostname = names::check_hostname(matches.word("hostname"))?.to_owned();
    prefs.operator_user = matches.word("operator").to_owned();
    prefs.no_snat = !matches.on("snat-subnet-routes");
    prefs.app_connector.advertise = matches.on("advertise-connector");
    prefs.posture_checking = matches.on("report-posture");
    prefs.no_stateful_filtering = OptBool::from(!matches.on("stateful-filtering"));
    let (mode, warning) = flags::netfilter_mode(matches.word("netfilter-mode"))?;
    prefs.netfilter_mode = mode;
    Ok(warning)
}

/// What to say about an exit node that does not translate addresses.
pub(crate) fn snat_warning(prefs: &Prefs) -> Option<&'static str> {
    let exit_node = routes::has_exit_node(prefs.advertise_routes.as_deref().unwrap_or_default());
    (prefs.no_snat && exit_node).then_some(
        "--snat-subnet-routes=false is set with --advertise-exit-node; \
         internet traffic through this exit node may not work as expected",
    )
}

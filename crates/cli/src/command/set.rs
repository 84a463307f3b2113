//! `set`: changes the settings that are mentioned and no others.

use std::net::IpAddr;

use ipnet::IpNet;
use localapi::types::{Addr, MaskedPrefs, OptBool, Prefs, PrefsMask};

use super::risk::{ACCEPT_RISK, confirm, ssh_over_tailscale};
use super::{Run, no_words};
use crate::args::{Command, Matches, text};
use crate::prefs::exit_node::{self, Choice};
use crate::prefs::{flags, names, routes, unsupported, up};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "set",
    usage: "tailscale set [flags]",
    about: "Change single settings",
    more: "Only what is mentioned changes. There are no defaults.",
    flags: &[flags::SHARED, flags::SET_ONLY, &[text("accept-risk", "", ACCEPT_RISK)]],
    partial: true,
    run: Some(run),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let mut edit = MaskedPrefs::default();
    for flag in matches.all_given() {
        flags::mark(flag.name, &mut edit.mask);
    }
    if edit.mask == PrefsMask::default() {
        return Err(Stop::Help);
    }
    names::check_hostname(matches.word("hostname"))?;
    let status = run.status()?;
    let warning = fill(&mut edit.prefs, matches)?;
    if let Some(warning) = warning {
        run.console.say(&format!("Warning: {warning}\n"));
    }
    if let Some(choice) = Some(matches.word("exit-node")).filter(|word| !word.is_empty()) {
        match exit_node::choose(choice, &status)? {
            Choice::Auto(expression) => {
                edit.prefs.auto_exit_node = expression;
                edit.mask.auto_exit_node = true;
            }
            Choice::Ip(ip) => edit.prefs.exit_node_ip = Addr(Some(ip)),
        }
    }

    let current = run.prefs()?;
    unsupported::check(matches, Some(&current))?;
    if edit.mask.advertise_routes {
        edit.prefs.advertise_routes = advertised(matches, &current)?;
    }
    if edit.mask.run_ssh && edit.prefs.run_ssh != current.run_ssh && ssh_over_tailscale(run.env) {
        let question =
            "You are connected using Tailscale SSH; this action will result in your session disconnecting.";
        confirm(run, question, matches.word("accept-risk"), false)?;
    }
    let mut after = current;
    after.apply(&edit);
    if let Some(warning) = up::snat_warning(&after) {
        run.console.say(&format!("Warning: {warning}\n"));
    }
    run.wait(run.client.check_prefs(&after))?;
    run.wait(run.client.edit_prefs(&edit))?;
    if edit.prefs.run_web_client
        && let Some(ip) = status.tailscale_ips.first()
    {
        run.console.say(&format!("\nWeb interface now running at {}:5252\n", bracketed(*ip)));
    }
    Ok(())
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Every field from its flag; only the marked ones count.
fn fill(prefs: &mut Prefs, matches: &Matches) -> Result<Option<&'static str>, String> {
    let warning = up::shared(prefs, matches)?;
    prefs.run_web_client = matches.on("webclient");
    prefs.sync = OptBool::from(matches.on("sync"));
    prefs.auto_update.check = matches.on("update-check");
    prefs.auto_update.apply = OptBool::from(matches.on("auto-update"));
    prefs.remote_config = matches.on("remote-config");
    let port = matches.word("relay-server-port");
    if !port.is_empty() {
        let port = port
            .parse()
            .map_err(|_| format!("failed to set relay server port: {port} is not a port number"))?;
        prefs.relay_server_port = Some(port);
    }
    let endpoints = matches.word("relay-server-static-endpoints");
    if !endpoints.is_empty() {
        let mut list = Vec::new();
        for word in endpoints.split(',') {
            let quoted = crate::args::quote(word);
            let fault =
                || format!("failed to set relay server static endpoints: {quoted} is not a valid IP:port");
            let endpoint = word.parse().map_err(|_| fault())?;
            if let Err(at) = list.binary_search(&endpoint) {
                list.insert(at, endpoint);
            }
        }
        prefs.relay_server_static_endpoints = Some(list);
    }
    Ok(warning)
}

/// Subnets and exit node are one list: the half that is not mentioned stays.
fn advertised(matches: &Matches, current: &Prefs) -> Result<Option<Vec<IpNet>>, String> {
    let now = current.advertise_routes.as_deref().unwrap_or_default();
    let (wanted, exit_node) = (matches.word("advertise-routes"), matches.on("advertise-exit-node"));
    let list = if matches.given("advertise-routes") {
        let exit_node =
            if matches.given("advertise-exit-node") { exit_node } else { routes::has_exit_node(now) };
        routes::advertised(wanted, exit_node)?
    } else if routes::has_exit_node(now) == exit_node {
        return Ok(current.advertise_routes.clone());
    } else {
        let mut list: Vec<IpNet> = now.iter().filter(|net| net.prefix_len() != 0).copied().collect();
        if exit_node {
            list.extend(routes::default_routes());
        }
        list
    };
    Ok(Some(list).filter(|list| !list.is_empty()))
}

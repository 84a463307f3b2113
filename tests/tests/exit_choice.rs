//! An exit node that chooses itself: what control lets be suggested, what `exit-node suggest` says, and what is used with
//! `--exit-node=auto:any`, by ours and Go's.

use anyhow::{Context, Result, ensure};
use blackbox::direct::Control;
use blackbox::scenario;
use blackbox::site::{forwards, legacy_programs, set};
use blackbox::world::World;
use lab::{Flavour, Host, Lab, Need, Node, until};
use std::time::Duration;

/// By which control says that a node may be suggested.
const SUGGESTED: &str = "suggest-exit-node";

const SOON: Duration = Duration::from_secs(20);

fn joined(lab: &Lab, control: &Control, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    legacy_programs(&node.host)?;
    node.start()?;
    control.join(&node)?;
    Ok(node)
}

/// The first line that `exit-node suggest` says.
fn suggestion(user: &Node) -> Result<String> {
    let said = user.tailscale(&["exit-node", "suggest"])?.ok()?.stdout;
    Ok(said.lines().next().unwrap_or_default().trim_end_matches('.').to_owned())
}

fn wait_suggestion(users: &[Node], wanted: &str) -> Result<()> {
    users.iter().try_for_each(|user| {
        until(&format!("{} to hear: {wanted}", user.host.name), SOON, || {
            Ok((suggestion(user)? == wanted).then_some(()))
        })
        .with_context(|| users.iter().map(told).collect::<Vec<_>>().join("; "))
    })
}

/// The exit node that the settings name, and how it was chosen.
fn chosen(user: &Node) -> Result<[String; 2]> {
    let prefs = user.tailscale(&["debug", "prefs"])?.ok()?.stdout;
    let prefs: serde_json::Value = serde_json::from_str(&prefs).context("debug prefs")?;
    Ok(["ExitNodeID", "AutoExitNode"].map(|name| prefs[name].as_str().unwrap_or_default().to_owned()))
}

/// What a user knows, for a person.
fn told(user: &Node) -> String {
    let online = user.status().map(|status| {
        let peers = status["Peer"].as_object().into_iter().flatten();
        peers
            .map(|(_, peer)| format!("{} {} {}", peer["HostName"], peer["Online"], peer["ExitNodeOption"]))
            .collect::<Vec<_>>()
    });
    format!("{}: {:?}, {:?}, {online:?}", user.host.name, suggestion(user), chosen(user))
}

#[test]
fn the_exit_node_that_control_suggests_is_used_and_followed() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours], |lab| {
        let control = Control::start(lab)?;
        let mut carriers = Vec::new();
        for (name, flavour) in [("one", Flavour::Ours), ("two", Flavour::Go)] {
            let node = joined(lab, &control, name, flavour)?;
            forwards(&node.host)?;
            set(&node, "--advertise-exit-node")?;
            control.server.set_routes(&control.view(&node)?.key, &["0.0.0.0/0", "::/0"]);
            carriers.push(node);
        }
        let mut users = Vec::new();
        for (name, flavour) in [("ours", Flavour::Ours), ("go", Flavour::Go)] {
            users.push(joined(lab, &control, name, flavour)?);
        }
        let near: Vec<&Host> = carriers.iter().map(|node| &node.host).collect();
        let behind: Vec<&Host> = users.iter().map(|node| &node.host).collect();
        let world = World::new(&lab.host("world")?, &near, &behind)?;
        let suggest = |carrier: &Node, may: bool| -> Result<()> {
            let attributes: &[&str] = if may { &[SUGGESTED] } else { &[] };
            control.server.set_attributes(&control.view(carrier)?.key, attributes);
            Ok(())
        };
        let all_by = |carrier: Option<&Node>| {
            users.iter().try_for_each(|user| {
                let seen = world.sees(&user.host, carrier.map(|carrier| &carrier.host));
                seen.with_context(|| users.iter().map(told).collect::<Vec<_>>().join("; "))
            })
        };
        let says = |carrier: &Node| -> Result<String> {
            let name = carrier.status()?["Self"]["DNSName"].as_str().context("no name")?.to_owned();
            Ok(format!("Suggested exit node: {}", name.trim_end_matches('.')))
        };

        // Offered by two, but control suggests none: then nothing leaves.
        wait_suggestion(&users, "No exit node suggestion is available")?;
        users.iter().try_for_each(|user| world.sees(&user.host, Some(&user.host)))?;
        users.iter().try_for_each(|user| set(user, "--exit-node=auto:any"))?;
        all_by(None).context("nothing is suggested")?;

        suggest(&carriers[1], true)?;
        wait_suggestion(&users, &says(&carriers[1])?)?;
        all_by(Some(&carriers[1])).context("one is suggested")?;
        let [ours, go] = [chosen(&users[0])?, chosen(&users[1])?];
        ensure!(ours == go && ours[1] == "any" && !ours[0].is_empty(), "{ours:?}, and Go's {go:?}");

        // Another one, then the first again because the other goes away.
        suggest(&carriers[0], true)?;
        suggest(&carriers[1], false)?;
        wait_suggestion(&users, &says(&carriers[0])?)?;
        all_by(Some(&carriers[0])).context("another is suggested")?;
        suggest(&carriers[1], true)?;
        all_by(Some(&carriers[0])).context("both are suggested, and the one in use is kept")?;
        let both = says(&carriers[1])?;
        let gone = control.view(&carriers[0])?.id.to_string();
        carriers[0].kill();
        for user in &users {
            // The server itself would notice when it has something to say.
            let offline = serde_json::json!({"OnlineChange": {gone.as_str(): false}});
            ensure!(control.server.send_map(&control.view(user)?.key, offline), "no stream");
        }
        all_by(Some(&carriers[1])).context("the one in use has gone")?;
        wait_suggestion(&users, &both)?;
        users.iter().try_for_each(|user| set(user, "--exit-node="))?;
        users.iter().try_for_each(|user| {
            world.sees(&user.host, Some(&user.host)).with_context(|| format!("switched off: {}", told(user)))
        })
    });
}

/// Settings given with a new login take effect although nothing that control tells differs.
#[test]
fn settings_of_an_up_that_logs_in_anew_are_in_force() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours], |lab| {
        let control = Control::start(lab)?;
        let carrier = joined(lab, &control, "one", Flavour::Ours)?;
        forwards(&carrier.host)?;
        set(&carrier, "--advertise-exit-node")?;
        control.server.set_routes(&control.view(&carrier)?.key, &["0.0.0.0/0", "::/0"]);
        let user = joined(lab, &control, "ours", Flavour::Ours)?;
        let world = World::new(&lab.host("world")?, &[&carrier.host], &[&user.host])?;
        world.sees(&user.host, Some(&user.host))?;
        let server = format!("--login-server={}", control.server.url());
        let name = format!("--hostname={}", user.host.name);
        let (by_address, by_name) = (carrier.ipv4()?, carrier.host.name.clone());
        let key = "--auth-key=tskey-auth-test";
        let up = |more: &[&str]| -> Result<()> {
            let words = ["up", "--timeout=40s", &server, &name].into_iter().chain(more.iter().copied());
            user.tailscale(&words.collect::<Vec<_>>())?.ok()?;
            user.wait_running()
        };

        user.tailscale(&["down"])?.ok()?;
        up(&[&format!("--exit-node={by_address}")])?;
        world.sees(&user.host, Some(&carrier.host)).context("after a pause")?;
        up(&[key, "--exit-node="])?;
        world.sees(&user.host, Some(&user.host)).context("switched off while it runs")?;
        up(&[key, &format!("--exit-node={by_name}")])?;
        world.sees(&user.host, Some(&carrier.host)).context("while it runs")
    });
}

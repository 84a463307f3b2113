//! Process 1 of a container and logins: its key brings a node back whatever was set by hand, and whoever logs in by hand
//! is not disturbed by a key that control refuses.

use anyhow::{Context, Result, ensure};
use blackbox::container::Container;
use blackbox::traffic::tunnelled;
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Headscale, Lab};
use std::time::Duration;

/// For what takes seconds on a busy machine.
const SOON: Duration = Duration::from_secs(40);

fn container(lab: &Lab, headscale: &Headscale, name: &str, key: &str) -> Result<Container> {
    let mut container = Container::new(lab, name)?;
    container.set("TS_AUTHKEY", key);
    container.set("TS_LOGIN_SERVER", &headscale.url());
    container.set("TS_HOSTNAME", name);
    container.start()?;
    Ok(container)
}

#[test]
fn a_wrong_key_takes_nothing_from_a_node_that_runs() {
    const WRONG: &str = "hskey-auth-0123456789ab-0123456789abcdef0123456789abcdef";
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let key = headscale.auth_key()?;
        let server = format!("--login-server={}", headscale.url());
        let mut router = Container::new(lab, "router")?;
        router.set("TS_HOSTNAME", "router");
        router.set("TS_EXTRA_ARGS", &format!("{server} --auth-key {key}"));
        router.start()?;
        router.wait_health(true, "running", SOON)?;
        ensure!(!router.log()?.contains(&key), "the auth key is in the log");
        router.stop()?;

        // Among the flags of `up` as well a key is for logins only.
        router.set("TS_AUTHKEY", &key);
        router.set("TS_EXTRA_ARGS", &format!("{server} --auth-key={WRONG}"));
        router.set("TS_HOSTNAME", "again");
        router.start()?;
        router.wait_health(true, "running", SOON)?;
        lab::until("the new name", SOON, || Ok(headscale.node("again").ok()))?;
        let log = router.log()?;
        ensure!(!log.contains("error") && !log.contains(WRONG), "{log}");

        let by_key = format!("--auth-key={WRONG}");
        let up = ["/usr/bin/tailscale", "up", "--accept-dns=false", "--hostname=again", &server, &by_key];
        let refused = router.run(&up)?;
        ensure!(refused.code() == 1 && refused.stderr.contains("backend error"), "{refused}");
        // It still hears control.
        tunnelled(lab, &headscale, "go", Flavour::Go)?;
        lab::until("the new peer", SOON, || {
            let said = router.run(&["/usr/bin/tailscale", "status"])?.ok()?.stdout;
            Ok(said.contains(" go ").then_some(()))
        })?;
        let said = router.wait_health(true, "running", SOON)?;
        ensure!(!said.contains("login error"), "{said}");
        Ok(())
    });
}

fn id(headscale: &Headscale, name: &str) -> Result<String> {
    Ok(headscale.node(name)?["id"].to_string().trim_matches('"').to_owned())
}

#[test]
fn a_key_brings_a_node_back_whatever_was_set_by_hand() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let key = headscale.auth_key()?;
        let router = container(lab, &headscale, "router", &key)?;
        router.wait_health(true, "running", SOON)?;
        router.run(&["/usr/bin/tailscale", "set", "--accept-routes"])?.ok()?;

        headscale.expire_node("router")?;
        lab::until("a login with the node's own settings", SOON, || {
            Ok(router.log()?.contains("logs in with the settings that it has").then_some(()))
        })?;
        router.wait_health(true, "running", SOON)?;
        let set = router.run(&["/usr/bin/tailscale", "get", "accept-routes"])?.ok()?;
        ensure!(set.stdout.contains("true"), "{set}");

        let deleted = id(&headscale, "router")?;
        headscale.cli(&["nodes", "delete", "--identifier", &deleted])?;
        // Headscale tells a node so when it reports something; its state stays Running meanwhile.
        router.run(&["/usr/bin/tailscale", "set", "--hostname=again"])?.ok()?;
        lab::until("the node to be there again", SOON, || {
            Ok(id(&headscale, "again").ok().filter(|id| *id != deleted))
        })?;
        router.wait_health(true, "running", SOON)?;
        let set = router.run(&["/usr/bin/tailscale", "get", "accept-routes"])?.ok()?;
        ensure!(set.stdout.contains("true"), "{set}");
        ensure!(!router.log()?.contains(&key), "the auth key is in the log");
        Ok(())
    });
}

#[test]
fn whoever_logs_in_by_hand_wins_against_a_refused_key() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let (key, expired) = (headscale.auth_key()?, headscale.expired_key()?);
        let server = format!("--login-server={}", headscale.url());
        let refused = |container: &Container| {
            // Twice, so that the next time is ten seconds away.
            lab::until("the key to be refused", SOON, || {
                Ok(container.log()?.contains("it is tried again in 10 s").then_some(()))
            })
        };

        let other = container(lab, &headscale, "other", &expired)?;
        refused(&other)?;
        let by_key = format!("--auth-key={key}");
        let up = ["/usr/bin/tailscale", "up", "--accept-dns=false", "--hostname=other", &server, &by_key];
        other.run(&up)?.ok()?;
        other.wait_health(true, "running", SOON)?;

        let router = container(lab, &headscale, "router", &expired)?;
        refused(&router)?;
        // Whoever is shown a URL may go away and visit it later.
        let up =
            ["/usr/bin/tailscale", "up", "--accept-dns=false", "--hostname=router", &server, "--timeout=2s"];
        let asked = router.run(&up)?;
        let words = asked.stderr.split_whitespace();
        let start = format!("{}/", headscale.url());
        let url =
            words.into_iter().find(|word| word.starts_with(&start)).with_context(|| asked.to_string())?;
        std::thread::sleep(Duration::from_secs(13));
        headscale.approve(url)?;
        router.wait_health(true, "running", SOON)?;
        Ok(())
    });
}

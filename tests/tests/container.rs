//! The binary as process 1 of a container: it joins by its environment alone, keeps running, ends in time, and says
//! how it is.

use anyhow::{Context, Result, ensure};
use blackbox::container::{Container, UPLINK, send};
use blackbox::traffic::{echo, transfer, tunnelled};
use blackbox::{EVERYTHING, OUTAGE, number, scenario};
use lab::{Flavour, Headscale, Lab, Node};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// For what takes seconds on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// What stopping may take in all.
const STOP: Duration = Duration::from_secs(3);

/// What process 1 may have for itself beside the daemon.
const OWN_KIB: u64 = 300;

fn container(lab: &Lab, headscale: &Headscale, name: &str, key: &str) -> Result<Container> {
    let mut container = Container::new(lab, name)?;
    container.set("TS_AUTHKEY", key);
    container.set("TS_LOGIN_SERVER", &headscale.url());
    container.set("TS_HOSTNAME", name);
    Ok(container)
}

/// A file below `/proc/sys`, as the container sees it.
fn sysctl(container: &Container, path: &str) -> Result<String> {
    Ok(container.host.run(&["cat", &format!("/proc/sys/{path}")])?.trim().to_owned())
}

/// Echoes and a stream in both directions.
fn traffic(container: &Container, go: &Node) -> Result<()> {
    for address in container.addresses()? {
        echo(&go.host, address, SOON)?;
        transfer(&go.host, &container.host, address, 64)?;
    }
    let go_address: IpAddr = go.ipv4()?.parse()?;
    echo(&container.host, go_address, SOON)?;
    transfer(&container.host, &go.host, go_address, 64).map(drop)
}

/// Private memory of a process, in KiB.
fn private_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    Ok(text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum())
}

/// The status line that `/healthz` answers with.
fn healthz(container: &Container) -> Result<String> {
    let at = (container.host.ipv4, 9002);
    let mut stream = container.host.inside(|| TcpStream::connect(at))??;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_router_joins_by_its_environment_and_outlives_its_daemon() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let mut router = container(lab, &headscale, "router", &headscale.auth_key()?)?;
        router.set("TS_ROUTES", "192.168.88.0/24,fd00:88::/64");
        router.set("TS_DEST_IP", "10.0.0.1");
        // As a file of variables with lines of Windows gives them.
        router.set("TS_SOCKET", "/var/run/tailscale/tailscaled.sock\r");
        router.set("TS_STATE_DIR", "/var/lib/tailscale\r");
        router.set("PORT", "41641\r");
        let started = lab::now();
        router.start()?;
        let said = router.wait_health(true, "running at 100.64.", SOON)?;
        number("container start to healthy", format!("{:?}", started.elapsed()));
        traffic(&router, &go)?;
        let status = router.run(&["/usr/bin/tailscale", "status"])?.ok()?;
        ensure!(status.stdout.contains("router") && status.stdout.contains("go"), "{status}");
        let routes = router.run(&["/usr/bin/tailscale", "get", "advertise-routes"])?.ok()?;
        ensure!(routes.stdout.contains("192.168.88.0/24,fd00:88::/64"), "{routes}");
        ensure!(headscale.node("router").is_ok(), "headscale does not know it by its name");

        for (path, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            (&format!("net/ipv6/conf/{UPLINK}/accept_ra"), "2"),
        ] {
            ensure!(sysctl(&router, path)? == value, "{path} is {}", sysctl(&router, path)?);
        }
        let log = router.log()?;
        ensure!(log.matches("TS_DEST_IP has no effect").count() == 1, "no word of TS_DEST_IP: {log}");
        ensure!(!log.contains(&headscale_key(&router)), "the auth key is in the log");

        let own = private_kib(router.init()?)?;
        number("private memory of process 1", format!("{own} KiB"));
        number("private memory of the daemon beside it", format!("{} KiB", private_kib(router.daemon()?)?));
        ensure!(own <= OWN_KIB, "process 1 has {own} KiB for itself");

        let inside = PathBuf::from(format!("/proc/{}/root", router.init()?));
        let socket = inside.join("run/tailscale/tailscaled.sock");
        for signal in [Signal::KILL, Signal::ABORT] {
            let before = router.daemon()?;
            let address = router.addresses()?[0];
            // What a container with TS_SOCKET elsewhere leaves in a root that persists.
            std::fs::remove_file(&socket)?;
            std::os::unix::fs::symlink("/tmp/tailscaled.sock", &socket)?;
            send(before, signal)?;
            let killed = lab::now();
            echo(&go.host, address, SOON).context("after the daemon was killed")?;
            number("daemon killed to first echo", format!("{:?}", killed.elapsed()));
            ensure!(router.daemon()? != before, "it is the same daemon");
            ensure!(
                router.wait_health(true, "running", SOON)?.contains(said.split(", ").nth(1).unwrap_or(""))
            );
        }
        let log = router.log()?;
        ensure!(log.contains("tailscaled was ended by signal 9 (SIGKILL)"), "{log}");
        ensure!(log.contains("tailscaled was ended by signal 6 (SIGABRT)"), "{log}");
        ensure!(headscale.nodes()?.len() == 2, "there is another node");

        orphans(&router, 300)?;
        let (code, took) = router.stop()?;
        number("container stop", format!("{took:?}"));
        ensure!(code == 0 && took < STOP, "status {code} after {took:?}");
        Ok(())
    });
}

fn headscale_key(container: &Container) -> String {
    let key = container.environment.iter().find(|(name, _)| name == "TS_AUTHKEY");
    key.map_or_else(String::new, |(_, value)| value.clone())
}

/// Leaves process 1 so many children that have ended or are about to.
fn orphans(container: &Container, count: usize) -> Result<()> {
    let script = format!("i=0; while [ $i -lt {count} ]; do (sh -c 'exit 3' &); i=$((i+1)); done");
    let target = format!("--target={}", container.init()?);
    container.host.run(&["nsenter", &target, "--pid", "--", "sh", "-c", &script])?;
    lab::until("no zombie to be left", Duration::from_secs(10), || {
        Ok((container.zombies()? == 0).then_some(()))
    })
}

#[test]
fn an_expired_key_hurts_nobody_who_is_registered() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let mut router = container(lab, &headscale, "router", &headscale.auth_key()?)?;
        router.start()?;
        router.wait_health(true, "running", SOON)?;
        let addresses = router.addresses()?;
        router.stop()?;

        let expired = headscale.expired_key()?;
        for once in ["false", "true"] {
            router.set("TS_AUTHKEY", &expired);
            router.set("TS_AUTH_ONCE", once);
            router.set("TS_HOSTNAME", &format!("router-{once}"));
            let started = lab::now();
            router.start()?;
            router.wait_health(true, "running", SOON).with_context(|| format!("TS_AUTH_ONCE={once}"))?;
            number("container restart to healthy", format!("{:?}", started.elapsed()));
            ensure!(router.addresses()? == addresses, "another identity");
            traffic(&router, &go)?;
            let name = format!("router-{once}");
            lab::until("the new name", SOON, || {
                let said = router.run(&["/usr/bin/tailscale", "get", "hostname"])?.ok()?.stdout;
                Ok(said.contains(&name).then_some(()))
            })?;
            router.stop()?;
        }
        // A bare `down` of somebody's: the next start brings the node up again, unless it is told to leave it alone.
        router.set("TS_AUTH_ONCE", "true");
        router.start()?;
        router.wait_health(true, "running", SOON)?;
        router.run(&["/usr/bin/tailscale", "down"])?.ok()?;
        // And a setting by hand that the environment does not mention.
        router.run(&["/usr/bin/tailscale", "set", "--shields-up"])?.ok()?;
        router.stop()?;
        router.start()?;
        router.wait_health(false, "stopped", SOON)?;
        router.stop()?;
        router.set("TS_AUTH_ONCE", "false");
        router.start()?;
        router.wait_health(true, "running", SOON)?;
        ensure!(
            router.log()?.contains("the settings of the environment are not in force"),
            "{}",
            router.log()?
        );
        ensure!(headscale.nodes()?.len() == 2, "there is another node");
        Ok(())
    });
}

#[test]
fn health_is_told_as_it_is() {
    scenario(OUTAGE, |lab| {
        let relay = lab.relay()?;
        let mut headscale = lab.headscale_beside(std::slice::from_ref(&relay))?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let (key, expired) = (headscale.auth_key()?, headscale.expired_key()?);

        // Before its WAN: nobody answers, and nothing ends.
        headscale.stop();
        let mut router = container(lab, &headscale, "router", &key)?;
        router.set("TS_ENABLE_HEALTH_CHECK", "true");
        router.start()?;
        router.wait_health(false, "Cannot reach the coordination server", SOON)?;
        ensure!(healthz(&router)?.contains(" 503 "), "{}", healthz(&router)?);
        headscale.start_again()?;
        router.wait_health(true, "running", SOON)?;
        ensure!(healthz(&router)?.contains(" 200 "), "{}", healthz(&router)?);

        // Control away with a good map.
        let address = router.addresses()?[0];
        echo(&go.host, address, SOON)?;
        headscale.stop();
        router.wait_health(true, "running", SOON)?;
        echo(&go.host, address, SOON)?;
        headscale.start_again()?;

        router.run(&["/usr/bin/tailscale", "down"])?.ok()?;
        router.wait_health(false, "stopped by", SOON)?;
        // Words of its own are of no interest: whoever types so little may be told to type more.
        router.run(&["/usr/bin/tailscale", "up"])?;

        // A daemon that hangs.
        let daemon = router.daemon()?;
        send(daemon, Signal::STOP)?;
        ensure!(router.health()?.1.contains("tailscaled has not answered"), "{:?}", router.health()?);
        // It is killed when all has to end, as it does not end by itself.
        let (code, took) = router.stop()?;
        ensure!(code == 128 + 9 && took < STOP + Duration::from_secs(1), "status {code} after {took:?}");

        // A key that is refused, and then none: a URL.
        let mut fresh = container(lab, &headscale, "fresh", &expired)?;
        fresh.start()?;
        let said = fresh.wait_health(false, "login error", SOON)?;
        ensure!(said.contains("not logged in"), "{said}");
        lab::until("the next attempt to be told", SOON, || {
            Ok(fresh.log()?.contains("it is tried again in 5 s").then_some(()))
        })?;
        fresh.stop()?;
        fresh.unset("TS_AUTHKEY");
        fresh.start()?;
        let url = format!("visit {}", headscale.url());
        fresh.wait_health(false, &url, SOON)?;
        let said = fresh.log()?;
        let url = said.split_whitespace().find(|word| word.starts_with(&format!("{}/", headscale.url())));
        headscale.approve(url.with_context(|| format!("no URL in {said}"))?)?;
        fresh.wait_health(true, "running", SOON)?;
        fresh.stop()?;

        // Nothing to write on: it runs, and says what is missing.
        fresh.state = None;
        fresh.set("TS_AUTHKEY", &key);
        fresh.start()?;
        fresh.wait_health(false, "", SOON)?;
        let missing =
            "/var/lib/tailscale cannot be written: mount a folder there; until then the node does nothing";
        ensure!(fresh.log()?.contains(missing), "{}", fresh.log()?);
        fresh.stop()?;

        // Values that cannot be meant.
        fresh.set("TS_ROUTES", "lan");
        fresh.set("TS_LOGIN_SERVER", "headscale.lab");
        fresh.start()?;
        ensure!(fresh.wait(SOON)? == 1, "it was started");
        let log = fresh.log()?;
        for name in ["TS_ROUTES: ", "TS_LOGIN_SERVER="] {
            ensure!(log.matches(name).count() == 1, "no word of {name}: {log}");
        }
        Ok(())
    });
}

//! The image on machines of its own whose kernels are like RouterOS's: 64 KiB pages on arm64, 32-bit ARM, x_tables and no
//! nf_tables on both, 128 MB, and a clock that starts in 1970. `cargo xtask test --nightly`.

use anyhow::{Context as _, Result, ensure};
use blackbox::container::archive;
use blackbox::guest::{ARM64, ARMV7, Guest, HOST};
use blackbox::{number, skip};
use std::path::Path;
use std::time::Duration;
use testcontrol::{Options, Server};

/// An emulated processor is some thirty times slower than this one.
const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn the_image_joins_on_a_kernel_with_large_pages() {
    let said = booted(ARM64);
    assert!(said.is_none_or(|said| said.contains("KernelPageSize:       64 kB")));
}

#[test]
fn the_image_joins_on_32_bit_arm() {
    let said = booted(ARMV7);
    assert!(said.is_none_or(|said| said.contains("KernelPageSize:        4 kB")));
}

/// An address of the tailnet's range that no node has.
const STRANGER: &str = "100.99.0.1";

/// What the machine said; nothing when it cannot run here.
fn booted(guest: Guest) -> Option<String> {
    let archive = archive("router-shell", guest.arch);
    let missing =
        guest.missing().or_else(|| (!archive.exists()).then(|| format!("no {}", archive.display())));
    if let Some(missing) = missing {
        skip(&missing);
        return None;
    }
    Some(joins(guest, &archive).expect("the image starts, joins and sets up its interface"))
}

/// The image's own entry point, set by environment alone, joins as a subnet router; everything that follows is asked of
/// the machine from inside. There is no program there that lists the rules, so they show by what they do: a packet from
/// the tailnet's addresses that does not come out of the tunnel is dropped while the node runs, not before and not after.
/// Health would tell of every table that the kernel refused.
fn joins(guest: Guest, archive: &Path) -> Result<String> {
    let server = Server::start(Options::default())?;
    let port = server.url().rsplit_once(':').map_or_else(String::new, |(_, port)| port.to_owned());
    let script = format!(
        "export TS_AUTHKEY=tskey-auth-test TS_LOGIN_SERVER=http://{HOST}:{port} TS_HOSTNAME=guest TS_ROUTES=192.0.2.0/24
date
knock() {{
  ip addr add {STRANGER}/32 dev lo
  if ping -c 1 -W 2 -I {STRANGER} {STRANGER} >/dev/null 2>&1; then echo \"$1: it passes\"; else echo \"$1: it is dropped\"; fi
  ip addr del {STRANGER}/32 dev lo
}}
knock before
/usr/bin/containerboot &
tries=0
until tailscale ip -4 2>/dev/null | grep '^100'; do
  tries=$((tries + 1)); [ $tries -lt 90 ] || break
  sleep 1
done
sleep 8
knock while
grep -m1 KernelPageSize /proc/self/smaps
tailscale status
tailscale status --json | sed -n '/\"Health\"/,/]/p'
ip addr show dev tailscale0
ip rule; ip route; ip route show table 52
for name in /proc/net/ip_tables_names /proc/net/ip6_tables_names; do tr '\\n' ' ' < $name; done; echo
for dir in /proc/[0-9]*; do
  [ \"$(cat $dir/comm 2>/dev/null)\" = tailscaled ] && grep VmRSS $dir/status
done
kill -TERM %1; wait; echo the container has ended
knock after
"
    );
    let said = guest.run(archive, &script, PATIENCE)?;
    let node = server.nodes().into_iter().next();
    let node = node.with_context(|| format!("nobody joined; the console said: {said}"))?;
    // It looked for nf_tables first.
    ensure!(node.firewall == "ipt", "the packet filter is {:?}: {said}", node.firewall);
    for wanted in [
        "1970",
        "tailscale0",
        "inet 100.",
        "inet6 fd7a:",
        "before: it passes",
        "while: it is dropped",
        "the container has ended",
        "after: it passes",
    ] {
        ensure!(said.contains(wanted), "no {wanted:?} in what the console said: {said}");
    }
    // All tables, for both families.
    let names = said.lines().find(|line| line.contains("mangle")).unwrap_or_default();
    let twice = |name: &&str| names.split(' ').filter(|word| word == name).count() == 2;
    ensure!(["filter", "nat", "mangle"].iter().all(twice), "tables of x_tables: {names:?}: {said}");
    ensure!(said.contains("\"Health\"") && !said.contains("rules of table"), "{said}");
    ensure!(!said.contains("panic") && !said.contains("Unable to handle"), "{said}");
    for line in said.lines().filter(|line| line.starts_with("VmRSS")) {
        number(&format!("memory on {}, 128 MB, packed", guest.arch), line);
    }
    Ok(said)
}

//! What changes on the machine while names are answered: its own name servers, and the address where a LAN asks.

use anyhow::{Result, ensure};
use blackbox::names::{by_udp, query};
use blackbox::scenario;
use blackbox::upstreams::{Does, Upstreams};
use lab::{Flavour, Host, Need, Node};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Ours];

/// The machine's files are looked at every 15 seconds, a listener's address every ten.
const PATIENCE: Duration = Duration::from_secs(25);

/// A name server on one link alone, and what it says.
const ON_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x53);
const SAID: [u8; 4] = [192, 0, 2, 6];

/// Says the same to every question at port 53 of `host`.
fn says(host: &Host) -> Result<()> {
    host.run(&["ip", "address", "add", &format!("{ON_LINK}/64"), "dev", "eth0", "nodad"])?;
    let socket = host.inside(|| UdpSocket::bind("[::]:53"))??;
    std::thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut room) {
            let mut answer = room[..length].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(SAID);
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(())
}

/// What quad-100 answers about a name outside the tailnet.
fn ask(node: &Node, name: &str) -> Result<Option<Vec<u8>>> {
    by_udp(&node.host, SocketAddr::from(([100, 100, 100, 100], 53)), &query(name, 1).bytes)
}

#[test]
fn name_servers_behind_a_link_are_followed() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let (first, second, third) = (lab.host("first")?, lab.host("second")?, lab.host("third")?);
        let upstreams = Upstreams::default();
        for host in [&first, &second] {
            upstreams.start(host, host.ipv4, Does::Well)?;
        }
        says(&third)?;
        let mut ours = lab.node("ours", Flavour::Ours)?;
        ours.tun = "tailscale0".to_owned();
        // As NetworkManager, OpenWrt and others have it; there are no servers yet.
        let file = ours.host.etc().join("resolv.conf");
        let kept = ours.host.etc().join("by-dhcp.conf");
        std::fs::write(&kept, "# nothing yet\n")?;
        std::fs::remove_file(&file)?;
        symlink("by-dhcp.conf", &file)?;
        ours.start()?;
        ours.join(&headscale)?;
        let health =
            |about: &str| -> Result<bool> { Ok(ours.status()?["Health"].to_string().contains(about)) };
        const NOBODY: &str = "Names outside the tailnet are not found";
        lab::until("a line of health", PATIENCE, || {
            ask(&ours, "zero.example.test")?;
            Ok(health(NOBODY)?.then_some(()))
        })?;
        for (host, name) in [(&first, "one.example.test"), (&second, "two.example.test")] {
            std::fs::write(&kept, format!("nameserver {}\n", host.ipv4))?;
            lab::until(&format!("{} to be asked", host.name), PATIENCE, || {
                ask(&ours, name)?;
                Ok((upstreams.asked(host.ipv4, "udp", name) > 0).then_some(()))
            })?;
            lab::until("health", PATIENCE, || Ok((!health(NOBODY)?).then_some(())))?;
        }
        std::fs::write(&kept, format!("nameserver {ON_LINK}%eth0\n"))?;
        lab::until("the server on the link to be asked", PATIENCE, || {
            let answer = ask(&ours, "three.example.test")?;
            Ok(answer.filter(|bytes| bytes.ends_with(&SAID)).map(drop))
        })?;
        ours.stop()?;
        ensure!(file.is_symlink(), "the link is none any more");
        ensure!(std::fs::read_to_string(&file)?.contains("%eth0"), "{}", std::fs::read_to_string(&file)?);
        Ok(())
    });
}

#[test]
fn a_lans_address_may_change_its_subnet_and_go() {
    const LISTENS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let lan = lab.host("lan")?;
        for ip in [NEAR, FAR] {
            lan.run(&["ip", "address", "add", &format!("{ip}/28"), "dev", "eth0"])?;
        }
        let mut ours = lab.node("ours", Flavour::Ours)?;
        ours.host.run(&["ip", "address", "add", "192.0.2.2/30", "dev", "eth0"])?;
        ours.host.run(&["ip", "route", "add", "192.0.2.8/29", "dev", "eth0"])?;
        ours.arguments.push(format!("--dns-listen={LISTENS}"));
        ours.start()?;
        ours.join(&headscale)?;
        let is_answered = |from: Ipv4Addr| -> Result<bool> {
            lan.inside(|| {
                let socket = UdpSocket::bind((from, 0))?;
                socket.set_read_timeout(Some(Duration::from_secs(1)))?;
                socket.send_to(&query("ours.tail.lab", 1).bytes, (LISTENS, 53))?;
                Ok(socket.recv(&mut [0; 512]).is_ok())
            })?
        };
        let until_answered = |from: Ipv4Addr| {
            lab::until(&format!("an answer to {from}"), PATIENCE, || Ok(is_answered(from)?.then_some(())))
        };
        until_answered(NEAR)?;
        ensure!(!is_answered(FAR)?, "a stranger is answered");
        ours.host.run(&["ip", "address", "add", "192.0.2.2/28", "dev", "eth0"])?;
        ours.host.run(&["ip", "address", "del", "192.0.2.2/30", "dev", "eth0"])?;
        until_answered(FAR)?;
        ours.host.run(&["ip", "address", "del", "192.0.2.2/28", "dev", "eth0"])?;
        lab::until("the log to tell of it", PATIENCE, || {
            let text = ours.daemon()?.log_text();
            Ok(text.contains("192.0.2.2 is no address of this machine any more").then_some(()))
        })?;
        ours.host.run(&["ip", "address", "add", "192.0.2.2/30", "dev", "eth0"])?;
        until_answered(NEAR)?;
        ensure!(!is_answered(FAR)?, "a stranger is answered once more");
        Ok(())
    });
}

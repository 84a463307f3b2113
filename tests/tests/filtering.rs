//! Rules of the packet filter seen by what they do to traffic, in x_tables and in nf_tables: who may begin a connection into
//! the tailnet, and who may come with an address of it by another way.

use anyhow::{Context, Result, ensure};
use blackbox::direct::Control;
use blackbox::site::{Site, set};
use blackbox::traffic::{addresses, datagrams};
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Host, Lab, Need, Refused, until};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// What the kernel of each site lacks, so that it has the other.
const KINDS: [(&str, Refused); 2] = [("legacy", Refused::NfTables), ("nft", Refused::XTables)];

/// How long it may take until a setting is in force.
const SOON: Duration = Duration::from_secs(10);

/// In which an answer that is not held up is there.
const MOMENT: Duration = Duration::from_millis(400);

/// Sites that are not started, one for each kind of filter.
fn prepared(lab: &Lab) -> Result<Vec<Site>> {
    let site = |(number, (name, lacks))| {
        let mut site = Site::prepared(lab, (name, Flavour::Ours), number)?;
        site.node.lacks = Some(vec![lacks]);
        Ok(site)
    };
    (1..).zip(KINDS).map(site).collect()
}

/// A connection that exists.
struct Talk {
    ends: [TcpStream; 2],
}

impl Talk {
    fn begin(from: &Host, to: &Host, address: IpAddr) -> Result<Self> {
        let listener = to.inside(|| TcpListener::bind((address, 0)))??;
        let at = listener.local_addr()?;
        let out = from.inside(|| TcpStream::connect_timeout(&at, MOMENT))?;
        let out = out.with_context(|| format!("{} connects to {at}", from.name))?;
        let (incoming, _) = listener.accept()?;
        let mut talk = Self { ends: [out, incoming] };
        talk.goes_on()?;
        Ok(talk)
    }

    /// Both ways.
    fn goes_on(&mut self) -> Result<()> {
        for _ in 0..2 {
            let [from, to] = &mut self.ends;
            to.set_read_timeout(Some(SOON))?;
            from.write_all(b"word")?;
            let mut room = [0; 4];
            to.read_exact(&mut room).context("a connection that existed")?;
            ensure!(&room == b"word", "{room:?}");
            self.ends.swap(0, 1);
        }
        Ok(())
    }
}

fn ping(from: &Host, to: IpAddr) -> bool {
    from.run(&["ping", "-n", "-c", "1", "-W", "0.4", &to.to_string()]).is_ok()
}

/// Whether one of a few datagrams arrives.
fn arrives(from: &Host, source: IpAddr, to: &Host, address: IpAddr) -> Result<bool> {
    let hearer = to.inside(|| UdpSocket::bind((address, 0)))??;
    hearer.set_read_timeout(Some(MOMENT))?;
    let sender = from.inside(|| UdpSocket::bind((source, 0)))??;
    for _ in 0..3 {
        sender.send_to(b"word", hearer.local_addr()?)?;
    }
    let mut room = [0; 8];
    Ok(hearer.recv_from(&mut room).is_ok_and(|(_, by)| by.ip() == source || source.is_unspecified()))
}

/// What of TCP, UDP and ICMP gets from one to the other when it is new.
fn begins(from: &Host, to: &Host, address: IpAddr) -> Result<[bool; 3]> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let tcp = Talk::begin(from, to, address).is_ok();
    Ok([tcp, arrives(from, any, to, address)?, ping(from, address)])
}

#[test]
fn who_may_begin_with_stateful_filtering() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let user = Site::new(lab, &headscale, ("user", Flavour::Go), 9, &[])?.node;
        let theirs = addresses(&user)?;
        for mut site in prepared(lab)? {
            site.start(&headscale, &[])?;
            site.way_back()?;
            site.wait(&user.host, true)?;
            let name = site.node.host.name.clone();
            let outward = |v6: bool| begins(&site.machine, &user.host, theirs[usize::from(v6)]);
            let inward = |v6: bool| begins(&user.host, &site.machine, site.machine_address(v6));
            let mut talks = Vec::new();
            for v6 in [false, true] {
                until(&format!("{name}: either may begin"), SOON, || {
                    Ok((outward(v6)? == [true; 3] && inward(v6)? == [true; 3]).then_some(()))
                })?;
                talks.push(Talk::begin(&site.machine, &user.host, theirs[usize::from(v6)])?);
                talks.push(Talk::begin(&user.host, &site.machine, site.machine_address(v6))?);
            }
            set(&site.node, "--stateful-filtering")?;
            for v6 in [false, true] {
                until(&format!("{name}: nothing begins on the LAN"), SOON, || {
                    Ok((outward(v6)? == [false; 3]).then_some(()))
                })?;
                until(&format!("{name}: everything begins in the tailnet"), SOON, || {
                    Ok((inward(v6)? == [true; 3]).then_some(()))
                })?;
                // Answers belong to a connection, those of UDP as well.
                datagrams(&user.host, &site.machine, site.machine_address(v6))?;
            }
            talks.iter_mut().try_for_each(Talk::goes_on).with_context(|| name.clone())?;
            set(&site.node, "--stateful-filtering=false")?;
            for v6 in [false, true] {
                until(&format!("{name}: either may begin again"), SOON, || {
                    Ok((outward(v6)? == [true; 3] && inward(v6)? == [true; 3]).then_some(()))
                })?;
            }
            site.node.stop()?;
        }
        Ok(())
    });
}

/// An address of the tailnet's range that nobody in the tailnet has, and one that guests of ChromeOS have.
const STRANGERS: [[u8; 4]; 2] = [[100, 99, 1, 1], [100, 115, 92, 7]];

#[test]
fn who_has_an_address_of_the_tailnet_outside_of_it() {
    scenario(&[Need::Namespaces, Need::Ours, Need::Iptables], |lab| {
        let control = Control::start(lab)?;
        let [stranger, guest] = STRANGERS.map(IpAddr::from);
        for mut site in prepared(lab)? {
            // Only our rule is to judge.
            let settings = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.lan0.rp_filter=0"];
            site.node.host.run(&[&["sysctl", "-qw"][..], &settings].concat())?;
            for address in [stranger, guest] {
                site.machine.run(&["ip", "address", "add", &format!("{address}/32"), "dev", "lo"])?;
            }
            let near = site.node_address(false);
            let heard = |from: IpAddr, node: &lab::Node| arrives(&site.machine, from, &node.host, near);
            ensure!(heard(stranger, &site.node)?, "it does not arrive without a node");
            site.node.start()?;
            control.join(&site.node)?;
            let name = site.node.host.name.clone();
            let becomes = |what: &str, wanted: bool| {
                until(&format!("{name}: {what}"), SOON, || {
                    let same = heard(stranger, &site.node)? == wanted;
                    let others = heard(site.machine_address(false), &site.node)? && heard(guest, &site.node)?;
                    ensure!(others, "nobody else gets through");
                    Ok(same.then_some(()))
                })
            };
            becomes("a stranger to be dropped", false)?;
            let key = control.view(&site.node)?.key;
            control.server.set_attributes(&key, &["disable-linux-cgnat-drop-rule"]);
            becomes("a stranger to pass with the attribute", true)?;
            control.server.set_attributes(&key, &[]);
            becomes("a stranger to be dropped again", false)?;
            set(&site.node, "--netfilter-mode=off")?;
            becomes("a stranger to pass without rules", true)?;
            site.node.stop()?;
        }
        Ok(())
    });
}

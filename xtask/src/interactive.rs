//! `cargo xtask lab`: the lab of the black-box tests, kept open for a person.

use anyhow::{Context, Result};
use lab::{Flavour, Lab, Need, Node};

/// Sets it up, prints how to use it, waits for Enter, takes it down.
pub(crate) fn run() -> Result<()> {
    if let Some(reason) = lab::missing(&[Need::Namespaces, Need::Headscale, Need::Go]) {
        anyhow::bail!("{reason}");
    }
    let lab = Lab::new()?;
    println!("starting headscale");
    let headscale = lab.headscale()?;
    let key = headscale.auth_key()?;
    let mut nodes: Vec<Node> = Vec::new();
    let ours = lab::missing(&[Need::Ours]);
    if let Some(reason) = &ours {
        println!("no node of ours: {reason}");
    }
    let wanted = [("go", Flavour::Go), ("one", Flavour::Ours), ("two", Flavour::Ours)];
    for (name, flavour) in wanted.into_iter().filter(|(_, flavour)| *flavour == Flavour::Go || ours.is_none())
    {
        println!("starting {name}");
        let mut node = lab.node(name, flavour)?;
        node.start()?;
        match node.join(&headscale) {
            Ok(()) => {}
            Err(error) => println!("{name} did not join: {error:#}"),
        }
        nodes.push(node);
    }
    println!("\nheadscale: {}  auth key: {key}", headscale.url());
    println!("logs:      {}/logs", lab.dir().display());
    for node in &nodes {
        let name = &node.host.name;
        println!(
            "\n{name}: {} ({:?})",
            node.ipv4().unwrap_or_else(|_| "no address yet".to_owned()),
            node.flavour
        );
        println!("  namespace: ip netns exec {} sh", node.host.namespace_name());
        println!("  tailscale: {} --socket={} status", node.flavour.cli().display(), node.socket().display());
    }
    println!("\nEnter ends the lab.");
    std::io::stdin().read_line(&mut String::new()).context("waiting for Enter")?;
    Ok(())
}

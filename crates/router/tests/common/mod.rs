//! A host of its own for each test, and prefixes from text.
#![allow(dead_code, reason = "not every test file needs all of it")]

use ipnet::IpNet;
use lab::{Host, Lab, Need};

pub(crate) fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("prefix")).collect()
}

pub(crate) fn ranges() -> Vec<IpNet> {
    nets(&["100.64.0.0/10", "fd7a:115c:a1e0::/48"])
}

static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs `body` in the network of a fresh host.
pub(crate) fn in_host(body: impl FnOnce(&Host) + Send) {
    if let Some(reason) = lab::missing(&[Need::Namespaces, Need::Iptables]) {
        return lab::skip(&reason);
    }
    // Tables are apart, but their lock is the machine's.
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lab = Lab::new().expect("lab");
    let host = lab.host("one").expect("host");
    host.inside(|| body(&host)).expect("namespace");
}

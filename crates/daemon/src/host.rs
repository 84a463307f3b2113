//! What there is to say about the machine we run on.

use crate::backend::HostFacts;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

/// Asks the system once.
pub fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let name = text(uname.nodename());
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or("").trim_matches('"').to_owned()
    };
    HostFacts {
        hostname: name.split('.').next().filter(|label| !label.is_empty()).unwrap_or("localhost").to_owned(),
        os_version: text(uname.release()),
        machine: text(uname.machine()),
        go_arch: go_arch(std::env::consts::ARCH),
        container: in_container(),
        distro: field("ID"),
        distro_version: field("VERSION_ID"),
        has_ipv6: UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
    }
}

fn go_arch(arch: &str) -> &'static str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm",
        _ => "",
    }
}

/// Marks that container runtimes leave behind.
fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
        || std::process::id() == 1
}

//! Whether the kernel forwards packets between the tunnel and other interfaces.

use netmap::IpNet;
use std::fmt::Write as _;
use std::path::Path;

/// The switches of both families: what is said of one that is off, and where it is below `/proc/sys`.
const SWITCHES: [(bool, &str, &str); 2] = [
    (true, "IP forwarding is disabled, subnet routing/exit nodes will not work.", "net/ipv4/ip_forward"),
    (
        false,
        "IPv6 forwarding is disabled, subnet routing/exit nodes may not work correctly.",
        "net/ipv6/conf/all/forwarding",
    ),
];

/// What keeps packets of `routes` from being forwarded, with the way out; `None` if nothing does, or nobody can tell.
pub fn forwarding_problem(routes: &[IpNet]) -> Option<String> {
    problem(routes, Path::new("/proc/sys"))
}

fn problem(routes: &[IpNet], root: &Path) -> Option<String> {
    let mut text = String::new();
    for (v4, what, switch) in SWITCHES {
        let needed = routes.iter().any(|net| net.addr().is_ipv4() == v4);
        let value = std::fs::read_to_string(root.join(switch)).ok();
        // A machine without the family has nothing to forward.
        if needed && value.is_some_and(|value| value.trim() == "0") {
            let setting = switch.replace('/', ".");
            let _ = writeln!(text, "{what} Run: sysctl -w {setting}=1 (for a container: outside of it)");
        }
    }
    (!text.is_empty()).then(|| text + "See https://tailscale.com/s/ip-forwarding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_off() {
        let root = tempfile::tempdir().expect("a folder");
        let set = |switch: &str, value: &str| {
            let path = root.path().join(switch);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, value).expect("a file");
        };
        let nets = |texts: &[&str]| texts.iter().map(|net| net.parse().expect("net")).collect::<Vec<IpNet>>();
        let (v4, both) = (nets(&["10.0.0.0/8"]), nets(&["10.0.0.0/8", "fd00::/64"]));
        assert_eq!(problem(&both, root.path()), None, "nobody can tell");
        set("net/ipv4/ip_forward", "0\n");
        set("net/ipv6/conf/all/forwarding", "0\n");
        assert_eq!(problem(&[], root.path()), None);
        let text = problem(&v4, root.path()).expect("a problem");
        assert!(text.starts_with("IP forwarding is disabled") && !text.contains("IPv6"), "{text}");
        assert!(text.contains("net.ipv4.ip_forward=1"), "{text}");
        assert_eq!(problem(&both, root.path()).expect("problems").lines().count(), 3);
        set("net/ipv4/ip_forward", "1\n");
        assert!(problem(&both, root.path()).expect("a problem").starts_with("IPv6"));
        assert_eq!(problem(&v4, root.path()), None);
    }
}

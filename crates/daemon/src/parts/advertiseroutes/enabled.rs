//! Which networks are announced to control and let in by the packet filter.

#[path = "forwarding.rs"]
mod forwarding;

pub use forwarding::forwarding_problem;

use localapi::types::Prefs;
use netmap::IpNet;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("advertiseroutes");

/// The networks behind this node. The default routes are not among them: they make an exit node, which only feature
/// `advertiseexitnode` may announce, because it keeps strangers out of the networks around it.
pub fn networks(prefs: &Prefs) -> Vec<IpNet> {
    let wanted = prefs.advertise_routes.iter().flatten();
    wanted.filter(|net| net.prefix_len() != 0).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_not_announced() {
        let nets = ["10.0.0.0/8", "0.0.0.0/0", "::/0"].map(|net| net.parse().expect("net")).to_vec();
        let prefs = Prefs { advertise_routes: Some(nets), ..Prefs::default() };
        assert_eq!(networks(&prefs), ["10.0.0.0/8".parse::<IpNet>().expect("net")]);
        assert_eq!(networks(&Prefs::default()), []);
    }
}

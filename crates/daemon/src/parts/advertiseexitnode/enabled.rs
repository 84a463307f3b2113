//! The default routes are announced to control and, without the networks around us, let in by the packet filter.

use localapi::types::Prefs;
use netmap::IpNet;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("advertiseexitnode");

/// The default routes, if this node is to be an exit node.
pub fn networks(prefs: &Prefs) -> Vec<IpNet> {
    let wanted = prefs.advertise_routes.iter().flatten();
    wanted.filter(|net| net.prefix_len() == 0).copied().collect()
}

/// What is wrong with being an exit node under these settings.
pub fn problem(prefs: &Prefs) -> Option<&'static str> {
    (prefs.no_snat && !networks(prefs).is_empty()).then_some(
        "This node is an exit node and leaves the addresses of its users as they are (--snat-subnet-routes=false): \
         the internet has no way back to them. Run: tailscale set --snat-subnet-routes=true",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_default_routes_and_only_with_masquerading() {
        let nets = ["10.0.0.0/8", "0.0.0.0/0", "::/0"].map(|net| net.parse().expect("net")).to_vec();
        let prefs = Prefs { advertise_routes: Some(nets.clone()), ..Prefs::default() };
        assert_eq!(networks(&prefs), nets[1..]);
        assert_eq!(problem(&prefs), None);
        assert!(problem(&Prefs { no_snat: true, ..prefs }).is_some());
        assert_eq!(problem(&Prefs { no_snat: true, ..Prefs::default() }), None);
    }
}

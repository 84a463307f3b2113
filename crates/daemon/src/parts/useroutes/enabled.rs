//! Networks behind other nodes are reached if the settings say so.

use localapi::types::Prefs;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("useroutes");

/// Whether networks behind other nodes are reached.
pub fn accepts(prefs: &Prefs) -> bool {
    prefs.route_all
}

/// What status says to somebody who could reach such networks and does not.
pub fn advice(prefs: &Prefs) -> Option<&'static str> {
    (!prefs.route_all).then_some("Some peers are advertising routes but --accept-routes is false")
}

//! Without feature `advertiseroutes` there are no networks behind this node, whatever its settings say.

use localapi::types::Prefs;
use netmap::IpNet;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// None.
pub fn networks(_prefs: &Prefs) -> Vec<IpNet> {
    Vec::new()
}

/// Nothing is forwarded.
pub fn forwarding_problem(_routes: &[IpNet]) -> Option<String> {
    None
}

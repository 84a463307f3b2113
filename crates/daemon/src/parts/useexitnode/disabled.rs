//! Without feature `useexitnode` traffic to the internet never goes through another node, whatever the settings say.

use localapi::types::Prefs;
use netmap::{NetMap, Node, RegionId};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Never.
pub fn in_use(_prefs: &Prefs) -> bool {
    false
}

/// Never.
pub fn carries(_prefs: &Prefs, _node: &Node) -> bool {
    false
}

/// Nothing is chosen.
pub fn settle(_prefs: &mut Prefs, _map: Option<&NetMap>, _suggested: Option<&Node>) {}

/// Nobody.
pub fn suggest<'a>(
    _map: &'a NetMap,
    _home: RegionId,
    _far: &dyn Fn(RegionId) -> Option<f64>,
    _previous: &str,
    _dice: u32,
) -> Result<Option<&'a Node>, &'static str> {
    Ok(None)
}

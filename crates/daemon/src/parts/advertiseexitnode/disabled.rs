//! Without feature `advertiseexitnode` this node carries nobody's internet traffic, whatever its settings say.

use localapi::types::Prefs;
use netmap::IpNet;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// None.
pub fn networks(_prefs: &Prefs) -> Vec<IpNet> {
    Vec::new()
}

/// None.
pub fn problem(_prefs: &Prefs) -> Option<&'static str> {
    None
}

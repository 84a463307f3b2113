//! Without feature `useroutes` networks behind other nodes are not reached, whatever the settings say.

use localapi::types::Prefs;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Never.
pub fn accepts(_prefs: &Prefs) -> bool {
    false
}

/// Nothing that could be done about it.
pub fn advice(_prefs: &Prefs) -> Option<&'static str> {
    None
}

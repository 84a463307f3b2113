//! The system's packet filter is left alone.

use crate::backend::RouterConfig;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// None.
#[derive(Default)]
pub struct Rules;

impl Rules {
    /// Does nothing.
    pub fn apply(&mut self, _interface: &str, _ipv6: bool, _config: &RouterConfig) -> Vec<String> {
        Vec::new()
    }

    /// None.
    pub fn name(&self) -> &'static str {
        ""
    }

    /// None.
    pub fn changes(&self) -> u32 {
        0
    }

    /// Does nothing.
    pub fn close(self) -> Vec<String> {
        Vec::new()
    }
}

/// There is nothing to clean up.
///
/// # Errors
/// None.
pub fn cleanup() -> Result<(), String> {
    Ok(())
}

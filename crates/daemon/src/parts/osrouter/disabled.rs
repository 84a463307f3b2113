//! Without feature `osrouter` there is no kernel interface: the node starts and carries nothing through one.

use super::Bind;
use crate::backend::RouterConfig;
use engine::lines::batch::Run;
use std::os::fd::BorrowedFd;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// There is none.
pub enum Interface {}

/// There are none.
#[derive(Clone)]
pub enum Packets {}

/// Nothing, whatever the names.
///
/// # Errors
/// None.
pub fn open(_names: &[String]) -> Result<Option<(Interface, Packets)>, String> {
    Ok(None)
}

/// There is nothing to clean up.
///
/// # Errors
/// None.
pub fn cleanup(_names: &[String]) -> Result<(), String> {
    Ok(())
}

impl Interface {
    /// Cannot be called.
    pub fn name(&self) -> &str {
        match *self {}
    }

    /// Cannot be called.
    pub fn has_ipv6(&self) -> bool {
        match *self {}
    }

    /// Cannot be called.
    pub fn port(&self) -> u32 {
        match *self {}
    }

    /// Cannot be called.
    pub fn forwards_own_address(&self) -> bool {
        match *self {}
    }

    /// Cannot be called.
    pub const fn network_moved(&mut self) {
        match *self {}
    }

    /// Cannot be called.
    pub fn firewall(&self) -> &'static str {
        match *self {}
    }

    /// Cannot be called.
    pub fn apply(&mut self, _config: &RouterConfig, _bind: Bind<'_>) -> Vec<String> {
        match *self {}
    }

    /// Cannot be called.
    pub fn mend(&mut self, _bind: Bind<'_>) -> (bool, Vec<String>) {
        match *self {}
    }

    /// Cannot be called.
    pub fn close(self) {
        match self {}
    }
}

impl Packets {
    /// Cannot be called.
    pub fn mtu(&self) -> usize {
        match *self {}
    }

    /// Cannot be called.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    /// Cannot be called.
    pub fn in_large(&self) -> bool {
        match *self {}
    }

    /// Cannot be called.
    pub fn read(&mut self, _room: &mut [u8]) -> std::io::Result<usize> {
        match *self {}
    }

    /// Cannot be called.
    pub fn write(&mut self, _run: Run<'_>) -> usize {
        match *self {}
    }
}

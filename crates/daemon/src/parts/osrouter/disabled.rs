//! Without feature `osrouter` there is only userspace networking.

use super::USERSPACE;
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

/// Nothing, if userspace networking is asked for.
///
/// # Errors
/// That this build has no interface, and what to do.
pub fn open(names: &[String]) -> Result<Option<(Interface, Packets)>, String> {
    if names.iter().any(|name| name == USERSPACE) {
        return Ok(None);
    }
    let names = names.join(",");
    Err(format!(
        "--tun={names}: this build has no osrouter and cannot use a kernel interface; start it with --tun={USERSPACE}"
    ))
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
    pub fn apply(&mut self, _config: &RouterConfig) {
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
    pub fn read(&mut self, _room: &mut [u8]) -> std::io::Result<usize> {
        match *self {}
    }

    /// Cannot be called.
    pub fn write(&mut self, _run: Run<'_>) -> usize {
        match *self {}
    }
}

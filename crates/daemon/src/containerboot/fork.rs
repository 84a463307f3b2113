//! Becoming two processes.
//!
//! No exec follows, so that the pages of a packed binary, once unpacked, are shared by all of them; and the child may do
//! whatever a freshly started program may, because no other thread exists.
#![expect(
    unsafe_code,
    reason = "fork is unsafe where other threads exist, and nobody has wrapped the check that none do"
)]

use nix::unistd::{ForkResult, fork};
use rustix::process::Pid;
use std::io::{Error, Result};

/// Which of the two one is.
pub(super) enum Side {
    /// The old one; this is the new one's number.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Forks.
///
/// # Errors
/// When there is another thread, when that cannot be told (no `/proc`), and what the kernel says.
pub(super) fn split() -> Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.take(2).count() != 1 {
        return Err(Error::other("there is another thread"));
    }
    // SAFETY: this is the only thread, so no lock is held by one that the child lacks.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            Pid::from_raw(child.as_raw()).map(Side::Parent).ok_or_else(|| Error::other("no process number"))
        }
        ForkResult::Child => Ok(Side::Child),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn beside_another_thread_it_is_refused() {
        let refused = std::thread::scope(|scope| scope.spawn(super::split).join());
        let Ok(Err(error)) = refused else { panic!("forked") };
        assert_eq!(error.to_string(), "there is another thread");
    }
}

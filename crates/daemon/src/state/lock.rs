//! The lock file that keeps two daemons out of one state folder.

use super::StoreError;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for the life of the daemon; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, or says who has it. A folder that cannot be written to is not locked:
    /// the store will say so itself.
    pub fn take(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("tailscaled.lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let Ok(file) = opened else { return Ok(None) };
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(StoreError::Locked { path: dir.to_owned(), lock: path })
            }
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = DirLock::take(dir.path()).expect("free");
        assert!(matches!(DirLock::take(dir.path()), Err(StoreError::Locked { .. })));
        drop(first);
        assert!(DirLock::take(dir.path()).expect("free again").is_some());
    }

    #[test]
    fn a_missing_folder_is_not_our_business() {
        assert!(DirLock::take(Path::new("/nonexistent/folder")).expect("no lock").is_none());
    }
}

//! What survives a restart: the key–value store behind prefs, profiles and keys.
//!
//! Owns: Go's `tailscaled.state` format, its safe writing, the fall-back copy, the lock against a second daemon.
//! Leaves out: what the values mean (`backend::profiles`).

mod file;
mod lock;

pub use file::{FileStore, read_capped, remove_leftovers, replace, with_suffix};
pub use lock::DirLock;

use netmap::Map;
use std::path::{Path, PathBuf};

/// Why a store cannot be used. Every text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its folder cannot be read or written.
    #[error(
        "state file {path}: {source}; check that the folder exists and is writable, and that the disk is not full"
    )]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither the file nor its copy can be understood.
    #[error(
        "state file {path} is damaged ({reason}) and there is no good copy; restore it from a backup, or remove it to join as a new node"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Sealed by a TPM.
    #[error(
        "state file {path} is sealed by a TPM and cannot be read by this build; export it unsealed first (`tailscaled --encrypt-state=false`)"
    )]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// A second daemon.
    #[error(
        "another tailscaled uses the state folder {path} (lock file {lock}); stop it first or give another --statedir"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
}

/// Keys and values, in memory or on flash. Reads never fail; a write that fails keeps the new value in memory.
#[derive(Debug)]
pub enum Store {
    /// `mem:`: nothing is written; the node registers as ephemeral.
    Memory(Map<String, Vec<u8>>),
    /// Go's state file.
    File(FileStore),
}

impl Store {
    /// An empty store that forgets everything at exit.
    pub const fn memory() -> Self {
        Self::Memory(Map::new())
    }

    /// Opens the state file at `path`, creating it and its folder if they do not exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        FileStore::open(path).map(Self::File)
    }

    /// As [`Self::open`], and takes the lock of the folder `dir` that the file is in.
    pub fn open_locked(path: &Path, dir: &Path) -> Result<(Self, Option<DirLock>), StoreError> {
        // The folder may have to be made first; a file that is read twice is no harm, one written twice is.
        if let Some(lock) = DirLock::take(dir)? {
            return Ok((Self::open(path)?, Some(lock)));
        }
        let store = Self::open(path)?;
        Ok((store, DirLock::take(dir)?))
    }

    /// The value of `key`.
    pub fn read(&self, key: &str) -> Option<&[u8]> {
        match self {
            Self::Memory(values) => values.get(key).map(Vec::as_slice),
            Self::File(file) => file.read(key),
        }
    }

    /// Sets (`Some`) or removes (`None`) values and writes them at once, in one atomic step; does nothing if all
    /// of them are as they were.
    pub fn write(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        match self {
            Self::Memory(values) => {
                apply(values, changes);
                Ok(())
            }
            Self::File(file) => file.write(changes),
        }
    }

    /// The time that files are stamped with from now on. A machine's own clock may be years ahead, and the stamp of the
    /// state file is what it is told by at the next boot.
    pub fn set_time(&mut self, now: std::time::SystemTime) {
        if let Self::File(file) = self {
            file.set_time(now);
        }
    }

    /// A line for the log if the store had to fall back to its copy.
    pub fn warning(&self) -> Option<&str> {
        match self {
            Self::Memory(_) => None,
            Self::File(file) => file.warning(),
        }
    }
}

/// Applies `changes`; true if any value differs from before.
fn apply(values: &mut Map<String, Vec<u8>>, changes: Vec<(String, Option<Vec<u8>>)>) -> bool {
    let mut changed = false;
    for (key, value) in changes {
        match value {
            Some(value) => changed |= values.insert(key, value.clone()).is_none_or(|old| old != value),
            None => changed |= values.remove(&key).is_some(),
        }
    }
    changed
}

//! The few things done with files, so that tests can stop or refuse each of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file of so many bytes is not read: nobody's resolv.conf is so large.
const MOST: u64 = 64 * 1024;
/// Everybody has to read it, whatever the umask.
const MODE: u32 = 0o644;

/// What tells cheaply that a file is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Inode number.
    pub inode: u64,
    /// Last change, seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Bytes.
    pub size: u64,
}

/// A file system. Names are absolute paths.
pub trait Files {
    /// All of a file, behind links.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Whether there is a file or a link of this name, wherever it leads.
    fn exists(&self, name: &str) -> bool;
    /// Its stamp, behind links.
    fn stamp(&self, name: &str) -> io::Result<Stamp>;
    /// A second name for a file, or for a symbolic link itself.
    fn link(&self, name: &str, second: &str) -> io::Result<()>;
    /// A new file with mode 0644, on the disk before this returns.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Takes the place of another file at once.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Writes over a file from its start, in one go, and then cuts it to a length.
    fn overwrite(&self, name: &str, bytes: &[u8], length: usize) -> io::Result<()>;
}

/// The real one, below a folder.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// What stands in front of every name; empty for the machine's own root.
    pub root: PathBuf,
}

impl Disk {
    fn path(&self, name: &str) -> PathBuf {
        // Never below the folder that the process happens to be in.
        let root = if self.root.as_os_str().is_empty() { Path::new("/") } else { &self.root };
        root.join(name.trim_start_matches('/'))
    }
}

#[cfg(test)]
#[test]
fn names_are_absolute() {
    assert_eq!(Disk::default().path("/etc/resolv.conf"), Path::new("/etc/resolv.conf"));
    assert_eq!(Disk { root: "/x".into() }.path("/etc/resolv.conf"), Path::new("/x/etc/resolv.conf"));
}

impl Files for Disk {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let length = File::open(self.path(name))?.take(MOST).read_to_end(&mut bytes)?;
        // Half an original must not become the copy of it.
        if length as u64 == MOST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    fn stamp(&self, name: &str) -> io::Result<Stamp> {
        let about = fs::metadata(self.path(name))?;
        let modified = (about.mtime(), about.mtime_nsec());
        Ok(Stamp { inode: about.ino(), modified, size: about.len() })
    }

    fn link(&self, name: &str, second: &str) -> io::Result<()> {
        fs::hard_link(self.path(name), self.path(second))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(self.path(name))?;
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))?;
        // The name is on the disk when its folder is. Not every file system can say so.
        if let Some(folder) = self.path(to).parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn overwrite(&self, name: &str, bytes: &[u8], length: usize) -> io::Result<()> {
        // Neither created nor emptied when it is opened.
        let mut file = OpenOptions::new().write(true).open(self.path(name))?;
        file.write_all(bytes)?;
        file.set_len(length as u64)?;
        file.sync_all()
    }
}

//! Files that are there whole or not at all, also when the disk is full or the power goes.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes `bytes` beside `path` and renames them into place, both on disk before this returns.
///
/// # Errors
/// Names the file. Whatever stood there before stands there still, and nothing half written is left.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let name = path.file_name().with_context(|| path.display().to_string())?.to_string_lossy();
    // Two runs at once must not write to one file.
    let fresh = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = whole(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, path));
    let written = written.and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    written.with_context(|| {
        format!("writing {} ({} bytes); nothing half written was left", path.display(), bytes.len())
    })
}

fn whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        // A folder cannot be replaced by a file: what was written beside it goes.
        let error = write(&dir.path().join("a"), b"three").unwrap_err();
        assert!(format!("{error:#}").contains("writing"), "{error:#}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

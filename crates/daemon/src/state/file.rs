//! Go's state file: one JSON object of base64 values, written whole, atomically and only when a value changed.
//!
//! Beside it lies a copy (`<name>.copy`), written after the file itself. A file that was cut short by a power loss, or
//! that cannot be read because of a bad flash block, is read from the copy, with a warning, and mended; a node never
//! becomes a new one silently.

use super::{StoreError, apply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gojson::{Indent, to_go_json};
use netmap::Map;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More than any real state file by far; a larger one is not read into a router's memory.
const MAX_SIZE: u64 = 4 << 20;

/// What a power loss makes of a file that had not reached the medium.
const EMPTY: &str = "it is empty";

/// The state file, held in memory.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    values: Map<String, Vec<u8>>,
    /// The last write failed, so the next one must happen even if nothing changes.
    dirty: bool,
    warning: Option<String>,
    /// What the file is stamped with; `None`: whatever the system thinks.
    time: Option<SystemTime>,
}

impl FileStore {
    /// Reads the file at `path`, or its copy if the file is damaged. Creates folder (0700) and file (0600) when
    /// there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let dir = parent(path);
        let io_error = |source| StoreError::Io { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error)?;
        if dir.file_name().is_some_and(|name| name == "tailscale") {
            // As Go does: a folder of our own is private. Failing to make it so is no reason not to start.
            let _ = fs::set_permissions(dir, Permissions::from_mode(0o700));
        }
        remove_leftovers(path);
        let mut store =
            Self { path: path.to_owned(), values: Map::new(), dirty: false, warning: None, time: None };
        let copy = copy_path(path);
        match read_capped(path, MAX_SIZE) {
            Ok(bytes) if !bytes.is_empty() => match decode(path, &bytes) {
                Ok(values) => store.values = values,
                Err(sealed @ StoreError::Sealed { .. }) => return Err(sealed),
                Err(error) => {
                    let reason = match &error {
                        StoreError::Damaged { reason, .. } => reason.clone(),
                        other => other.to_string(),
                    };
                    store.restore(&copy, &reason).map_err(|()| error)?;
                }
            },
            Ok(_) if copy.exists() => store.restore(&copy, EMPTY).map_err(|()| {
                let (path, reason) = (path.to_owned(), EMPTY.to_owned());
                StoreError::Damaged { path, reason }
            })?,
            Ok(_) => {
                // As Go does. There never was more, as far as anybody can tell.
                store.warning = Some(format!("state file {} is empty; a new node begins", path.display()));
                store.persist()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody removed it: a new node is wanted. The copy must not bring the old one back later.
                match fs::remove_file(&copy) {
                    Ok(()) => {
                        let path = path.display();
                        store.warning = Some(format!("state file {path} was removed; a new node begins"));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(io_error(error)),
                }
                store.persist()?;
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(io_error(error)),
            Err(error) => {
                // The medium does not give it back, or it is far too long.
                let reason = error.to_string();
                store.restore(&copy, &reason).map_err(|()| io_error(error))?;
            }
        }
        Ok(store)
    }

    /// The value of `key`.
    pub fn read(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// The time that the file is stamped with when it is written.
    pub fn set_time(&mut self, now: SystemTime) {
        self.time = Some(now);
    }

    /// What had to be mended, for the log.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Applies `changes` and writes the file if any value differs (or the last write failed).
    pub fn write(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        if apply(&mut self.values, changes) || self.dirty {
            self.dirty = true;
            self.persist()?;
        }
        Ok(())
    }

    fn restore(&mut self, copy: &Path, reason: &str) -> Result<(), ()> {
        let values = read_capped(copy, MAX_SIZE).ok().and_then(|bytes| decode(copy, &bytes).ok()).ok_or(())?;
        self.warning =
            Some(format!("state file {} was damaged ({reason}); using its copy", self.path.display()));
        self.values = values;
        self.dirty = true;
        // Mend the file now if we can; if not (full disk), the node still runs on what was read.
        let _ = self.persist();
        Ok(())
    }

    fn persist(&mut self) -> Result<(), StoreError> {
        let text: Map<&str, String> =
            self.values.iter().map(|(key, value)| (key.as_str(), STANDARD.encode(value))).collect();
        let json = to_go_json(&text, Indent::TwoSpaces).into_bytes();
        let written = replace(&self.path, &json, self.time)
            .and_then(|()| replace(&copy_path(&self.path), &json, self.time));
        self.dirty = written.is_err();
        written.map_err(|source| StoreError::Io { path: self.path.clone(), source })
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// A file beside this one.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn copy_path(path: &Path) -> PathBuf {
    with_suffix(path, ".copy")
}

/// Writes `bytes` beside `path`, forces them to the medium, and only then puts them in its place, stamped with `time`.
///
/// # Errors
/// What the system said; then the file is as it was.
pub fn replace(path: &Path, bytes: &[u8], time: Option<SystemTime>) -> io::Result<()> {
    let temp = with_suffix(path, &format!(".tmp{}", std::process::id()));
    // A file or link that lies there is somebody else's, or of a run that was killed: the keys do not go into it.
    let fresh = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp);
    let opened = fresh().or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => fs::remove_file(&temp).and_then(|()| fresh()),
        _ => Err(error),
    });
    let written = opened.and_then(|mut file| {
        file.write_all(bytes)?;
        // Not every file system can; the stamp is only a hint for the next boot.
        let _ = time.map(|time| file.set_modified(time));
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&temp, path));
    if placed.is_err() {
        let _ = fs::remove_file(&temp);
    }
    placed?;
    // The rename itself must reach the medium too; some file systems cannot sync a folder.
    File::open(parent(path)).and_then(|dir| dir.sync_all()).or(Ok(()))
}

/// Temporary files of a run that was killed while it wrote.
pub fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return };
    let prefixes = [format!("{name}.tmp"), format!("{name}.copy.tmp")];
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let found = entry.file_name();
        if prefixes.iter().any(|prefix| found.to_string_lossy().starts_with(prefix.as_str())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A whole file of at most `most` bytes.
///
/// # Errors
/// Those of the system, and that it is larger.
pub fn read_capped(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Map<String, Vec<u8>>, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let text: Map<String, String> = gojson::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if text.len() == 3 && ["data", "key", "nonce"].iter().all(|key| text.contains_key(*key)) {
        return Err(StoreError::Sealed { path: path.to_owned() });
    }
    let mut values = Map::new();
    for (key, value) in text {
        let value = STANDARD.decode(value).map_err(|e| damaged(format!("value of {key:?}: {e}")))?;
        values.insert(key, value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> Vec<(String, Option<Vec<u8>>)> {
        vec![(key.to_owned(), Some(value.as_bytes().to_vec()))]
    }

    fn mtime_and_inode(path: &Path) -> (SystemTime, u64) {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path).expect("metadata");
        (meta.modified().expect("mtime"), meta.ino())
    }

    #[test]
    fn go_format_and_modes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("tailscale").join("tailscaled.state");
        let mut store = FileStore::open(&path).expect("open");
        assert_eq!(fs::read_to_string(&path).expect("read"), "{}");
        store.write(set("_machinekey", "privkey:00")).expect("write");
        assert_eq!(fs::read_to_string(&path).expect("read"), "{\n  \"_machinekey\": \"cHJpdmtleTowMA==\"\n}");
        let mode = |p: &Path| fs::metadata(p).expect("metadata").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(parent(&path))), (0o600, 0o700));
    }

    #[test]
    fn what_lies_where_the_new_file_is_to_be_gets_no_keys() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (path, other) = (dir.path().join("s"), dir.path().join("other"));
        let mut store = FileStore::open(&path).expect("open");
        let temp = with_suffix(&path, &format!(".tmp{}", std::process::id()));
        fs::write(&temp, "").expect("write");
        fs::set_permissions(&temp, Permissions::from_mode(0o666)).expect("a mode");
        store.write(set("a", "1")).expect("write");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        fs::write(&other, "precious").expect("write");
        std::os::unix::fs::symlink(&other, &temp).expect("link");
        store.write(set("a", "2")).expect("write");
        assert_eq!(fs::read_to_string(&other).expect("read"), "precious");
        assert!(fs::symlink_metadata(&path).expect("metadata").is_file());
    }

    #[test]
    fn an_unchanged_value_is_not_written() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        let mut store = FileStore::open(&path).expect("open");
        store.write(set("a", "1")).expect("write");
        let before = mtime_and_inode(&path);
        store.write(set("a", "1")).expect("write");
        assert_eq!(mtime_and_inode(&path), before);
        store.write(set("a", "2")).expect("write");
        assert_ne!(mtime_and_inode(&path).1, before.1);
    }

    #[test]
    fn stamped_with_the_time_that_control_told() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        let mut store = FileStore::open(&path).expect("open");
        let told = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        store.set_time(told);
        store.write(set("a", "1")).expect("write");
        assert_eq!(mtime_and_inode(&path).0, told);
    }

    #[test]
    fn cut_to_any_length_it_comes_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        FileStore::open(&path).expect("open").write(set("_machinekey", "privkey:11")).expect("write");
        let whole = fs::read(&path).expect("read");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("cut");
            let store = FileStore::open(&path).expect("from the copy");
            assert_eq!(store.read("_machinekey"), Some(&b"privkey:11"[..]), "length {length}");
            assert!(store.warning().is_some());
            assert_eq!(fs::read(&path).expect("read"), whole, "mended");
        }
    }

    #[test]
    fn both_damaged_is_an_error_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        fs::write(&path, "{\"a\": \"!").expect("write");
        fs::write(copy_path(&path), "").expect("write");
        assert!(matches!(FileStore::open(&path), Err(StoreError::Damaged { .. })));
        assert_eq!(fs::read(&path).expect("read"), b"{\"a\": \"!");
    }

    #[test]
    fn removed_means_a_new_node() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        FileStore::open(&path).expect("open").write(set("a", "1")).expect("write");
        fs::remove_file(&path).expect("remove");
        let store = FileStore::open(&path).expect("open");
        assert!(store.read("a").is_none() && store.warning().is_some_and(|w| w.contains("was removed")));
        fs::write(&path, "").expect("cut");
        fs::remove_file(copy_path(&path)).expect("remove");
        let store = FileStore::open(&path).expect("as Go does");
        assert!(store.read("a").is_none() && store.warning().is_some_and(|w| w.contains("is empty")));
    }

    #[test]
    fn what_cannot_be_read_is_read_from_the_copy() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        FileStore::open(&path).expect("open").write(set("a", "1")).expect("write");
        fs::write(&path, vec![b' '; MAX_SIZE as usize + 1]).expect("write");
        let store = FileStore::open(&path).expect("open");
        assert_eq!(store.read("a"), Some(&b"1"[..]));
        assert!(store.warning().is_some_and(|w| w.contains("larger than 4 MiB")), "{:?}", store.warning());
        assert_eq!(FileStore::open(&path).expect("mended").warning(), None);
        // Reading says EISDIR, as it may say EIO; nor can it be mended.
        fs::remove_file(&path).expect("remove");
        fs::create_dir(&path).expect("folder");
        assert_eq!(FileStore::open(&path).expect("open").read("a"), Some(&b"1"[..]));
        fs::remove_file(copy_path(&path)).expect("remove");
        assert!(matches!(FileStore::open(&path), Err(StoreError::Io { .. })));
    }

    #[test]
    fn empty_beside_a_damaged_copy_is_not_a_new_node() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        for copy in ["", "{\"a\": \"!"] {
            fs::write(&path, "").expect("write");
            fs::write(copy_path(&path), copy).expect("write");
            assert!(matches!(FileStore::open(&path), Err(StoreError::Damaged { .. })));
        }
    }

    #[test]
    fn sealed_and_foreign_files_are_told_apart() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        fs::write(&path, r#"{"data":"AA==","key":"AA==","nonce":"AA=="}"#).expect("write");
        assert!(matches!(FileStore::open(&path), Err(StoreError::Sealed { .. })));
        fs::write(&path, "[1,2]").expect("write");
        assert!(matches!(FileStore::open(&path), Err(StoreError::Damaged { .. })));
        fs::write(&path, r#"{"a":"***"}"#).expect("write");
        assert!(matches!(FileStore::open(&path), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn leftovers_of_a_killed_run_go() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s");
        fs::write(dir.path().join("s.tmp4711"), "half").expect("write");
        FileStore::open(&path).expect("open");
        assert!(!dir.path().join("s.tmp4711").exists());
    }

    #[test]
    fn a_failed_write_keeps_the_value_and_is_made_up_for() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("sub").join("s");
        let mut store = FileStore::open(&path).expect("open");
        fs::remove_dir_all(parent(&path)).expect("remove");
        assert!(store.write(set("a", "1")).is_err());
        assert_eq!(store.read("a"), Some(&b"1"[..]));
        fs::create_dir(parent(&path)).expect("create");
        store.write(set("a", "1")).expect("made up for");
        assert_eq!(FileStore::open(&path).expect("open").read("a"), Some(&b"1"[..]));
    }
}

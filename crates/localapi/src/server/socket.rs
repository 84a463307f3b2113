//! Makes the socket: refuses to take it from a running daemon, clears what a dead one left.

use crate::error::{Error, system_words};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// How long a running daemon may take to accept.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Listens on `path` and gives the socket `mode`: 0o666 where peers are told apart by their credentials, 0o600
/// where they are not. A missing directory is made with 0755.
///
/// # Errors
/// When another daemon listens there, when something else is in the way than a socket or a link to one that is dead or
/// gone, or when the system says no.
pub async fn listen(path: &Path, mode: u32) -> Result<UnixListener, Error> {
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if is_free(&error) || leads_nowhere(path) => {}
        Ok(Err(error)) => return Err(failed(path, &error)),
        Ok(Ok(_)) | Err(_) => return Err(Error::SocketInUse(path.to_owned())),
    }
    prepare(path).map_err(|error| failed(path, &error))?;
    let listener = UnixListener::bind(path).map_err(|error| failed(path, &error))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| failed(path, &error))?;
    Ok(listener)
}

fn is_free(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Listen { socket: path.to_owned(), cause: system_words(error) }
}

fn prepare(path: &Path) -> io::Result<()> {
    // Itself, or where a container's link leads.
    let is_socket = fs::metadata(path).is_ok_and(|there| there.file_type().is_socket());
    match fs::symlink_metadata(path) {
        Ok(_) if is_socket || leads_nowhere(path) => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Whether this is a link whose end is not there any more.
fn leads_nowhere(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink())
        && fs::metadata(path).is_err_and(|error| error.kind() != io::ErrorKind::PermissionDenied)
}

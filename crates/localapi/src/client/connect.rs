//! Opening the socket, with patience for a daemon that is only just being started.

use super::Client;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::UnixStream;

/// As long as this the daemon may be about to start, whatever the list of processes says.
const SURELY: Duration = Duration::from_secs(2);
/// No daemon takes longer than this to listen.
const AT_MOST: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(50);

impl Client {
    pub(super) async fn connect(&self) -> std::io::Result<UnixStream> {
        let mut waited = Duration::ZERO;
        loop {
            let error = match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
            let starting = waited < SURELY || (waited < AT_MOST && daemon_exists());
            if !(self.patient && absent && starting) {
                return Err(error);
            }
            tokio::time::sleep(STEP).await;
            waited = waited.saturating_add(STEP);
        }
    }
}

/// Whether any process is called `tailscaled`; false where processes cannot be listed.
fn daemon_exists() -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| std::fs::read(process.path().join("comm")).ok());
    names.into_iter().any(|name| name.starts_with(b"tailscaled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_comes_up_late_is_found() {
        let dir = tempfile::tempdir().expect("folder");
        let socket = dir.path().join("s");
        let hasty = Client::new(socket.clone()).connect().await;
        assert_eq!(hasty.map(drop).map_err(|error| error.kind()), Err(ErrorKind::NotFound));
        let listen = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            tokio::net::UnixListener::bind(&socket)
        };
        let client = Client::new(socket.clone()).patient();
        let (listener, found) = tokio::join!(listen, client.connect());
        assert!(listener.is_ok() && found.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let dir = tempfile::tempdir().expect("folder");
        let started = tokio::time::Instant::now();
        let client = Client::new(dir.path().join("s")).patient();
        assert!(client.connect().await.is_err());
        let waited = started.elapsed();
        assert!(waited >= SURELY && waited <= AT_MOST + STEP, "{waited:?}");
    }
}

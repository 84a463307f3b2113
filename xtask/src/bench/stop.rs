//! ^C: the first ends the run in order (results so far are written, everything started is taken down), a second ends
//! this process at once; its children go with it, and the next lab sweeps their namespaces.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the run has been told to end.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// How often a pause looks.
const LOOK: Duration = Duration::from_millis(20);

/// The usual exit code of a program that ^C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Catches SIGINT and SIGTERM from here on. To be called before any other thread exists; children are started with
/// no signal blocked.
pub(crate) fn catch() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    signals.thread_block().context("blocking signals")?;
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if STOPPED.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED.into());
            }
            eprintln!("stopping: what was measured is written and the lab taken down (again: at once)");
        }
    });
    Ok(())
}

/// Whether it was asked for.
pub(crate) fn asked() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// Fails when it was asked for.
pub(crate) fn check() -> Result<()> {
    if asked() {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, but not through an interruption.
pub(crate) fn pause(time: Duration) -> Result<()> {
    let started = lab::now();
    while let Some(rest) = time.checked_sub(started.elapsed()) {
        check()?;
        std::thread::sleep(rest.min(LOOK));
    }
    check()
}

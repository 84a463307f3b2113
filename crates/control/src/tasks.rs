//! Tasks that end when their owner goes.

use std::future::Future;
use tokio::task::JoinHandle;

/// A task of the current `LocalSet`, aborted on drop.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    /// Starts `work` beside the current task.
    pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) -> Self {
        Self(dial::spawn(work))
    }

    /// Whether it has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

//! Work beside other work: tasks of the control thread, and several futures within one.
//!
//! The runtime makes its code anew for every type of task, twice a type. Here every task has the same.

use crate::LocalFuture;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// Starts a task of the control thread.
pub fn spawn(work: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let work: LocalFuture<'static, ()> = Box::pin(work);
    tokio::task::spawn_local(work)
}

/// Futures that run while [`Self::next`] is awaited, a handful at most: whenever one may go on, all are asked.
pub struct Running<'a, T>(Vec<LocalFuture<'a, T>>);

impl<T> Default for Running<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> Running<'a, T> {
    /// How many have not ended.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether all have ended.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more.
    pub fn push(&mut self, work: impl Future<Output = T> + 'a) {
        self.0.push(Box::pin(work));
    }

    /// What the next to end gives; `None` when none runs. Dropped before that, it loses nothing.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        for at in 0..self.0.len() {
            if let Some(work) = self.0.get_mut(at)
                && let Poll::Ready(value) = work.as_mut().poll(context)
            {
                drop(self.0.swap_remove(at));
                return Poll::Ready(Some(value));
            }
        }
        if self.0.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn whoever_ends_first_and_nothing_is_lost() {
        let mut running = Running::default();
        assert_eq!(running.next().await, None);
        for n in [3, 1, 2] {
            running.push(async move {
                sleep(Duration::from_secs(n)).await;
                n
            });
        }
        assert!(timeout(Duration::from_millis(500), running.next()).await.is_err());
        assert_eq!((running.next().await, running.next().await, running.len()), (Some(1), Some(2), 1));
        assert_eq!((running.next().await, running.next().await), (Some(3), None));
        assert!(running.is_empty());
    }
}

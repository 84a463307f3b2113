//! A connection that was accepted but says nothing is overtaken by a fresh one, the way RFC 8305 does with addresses.
//!
//! A server that vanished without a word, or a firewall that answers in its place, leaves a connection that is only
//! known to be dead when time is up; by then the server may long be back. A slow link says nothing for a while as
//! well, so the first attempt stays until time is up, and at most one fresh one runs beside it.

use crate::Error;
use dial::LocalFuture;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// Silence after which a fresh attempt starts beside the first, and after which that one is replaced by another.
const SILENCE: Duration = Duration::from_millis(2500);

/// Gives what the first attempt to succeed brings. Ends in failure when all have failed, when the first has failed
/// and the fresh one beside it stays silent, or after `limit`; `what` says in the error what was waited for.
pub(crate) async fn overtaking<'a, T>(
    limit: Duration,
    what: &'static str,
    start: impl Fn() -> LocalFuture<'a, Result<T, Error>>,
) -> Result<T, Error> {
    let mut end = pin!(tokio::time::sleep(limit));
    let mut silent = pin!(tokio::time::sleep(SILENCE));
    let (mut first, mut fresh) = (Some(start()), None);
    let mut failure = None;
    loop {
        let failed = tokio::select! {
            biased;
            result = running(&mut first) => match result {
                Ok(done) => return Ok(done),
                Err(e) => { first = None; e }
            },
            result = running(&mut fresh) => match result {
                Ok(done) => return Ok(done),
                Err(e) => { fresh = None; e }
            },
            () = &mut end => return Err(failure.unwrap_or(Error::Timeout(what))),
            () = &mut silent => {
                if first.is_none() {
                    return Err(failure.unwrap_or(Error::Timeout(what)));
                }
                fresh = Some(start());
                silent.as_mut().reset(Instant::now() + SILENCE);
                continue;
            }
        };
        if first.is_none() && fresh.is_none() {
            return Err(failed);
        }
        failure = Some(failed);
    }
}

/// Drives an attempt; waits for good while there is none.
async fn running<T>(attempt: &mut Option<LocalFuture<'_, T>>) -> T {
    match attempt {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const LIMIT: Duration = Duration::from_secs(10);

    /// What an attempt does: after so many seconds it says so.
    type Script = (f32, Result<(), &'static str>);
    const NEVER: Script = (1e6, Ok(()));

    /// Number of the attempt that brought the result, the error, and the seconds until then.
    async fn told(script: &[Script]) -> (Result<usize, String>, f32) {
        let (started, count) = (Instant::now(), Cell::new(0));
        let result = overtaking(LIMIT, "an answer", || {
            let number = count.replace(count.get() + 1);
            let (after, result) = script.get(number).copied().unwrap_or(NEVER);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs_f32(after)).await;
                result.map(|()| number).map_err(|e| Error::Connection(e.to_owned()))
            })
        });
        let result = result.await.map_err(|e| e.to_string());
        (result, (started.elapsed().as_secs_f32() * 10.0).round() / 10.0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_succeed_wins() {
        assert_eq!(told(&[(0.1, Ok(()))]).await, (Ok(0), 0.1));
        // A slow link: the first has all the time there is.
        assert_eq!(told(&[(9.9, Ok(())), (9.0, Ok(())), (9.0, Ok(())), (9.0, Ok(()))]).await, (Ok(0), 9.9));
        // Dead connections, until the server is back.
        assert_eq!(told(&[NEVER, (0.3, Ok(()))]).await, (Ok(1), 2.8));
        assert_eq!(told(&[NEVER, NEVER, NEVER, (0.3, Ok(()))]).await, (Ok(3), 7.8));
        assert_eq!(told(&[NEVER, (0.1, Err("refused")), (0.3, Ok(()))]).await, (Ok(2), 5.3));
        assert_eq!(told(&[(3.0, Err("reset")), (1.0, Ok(()))]).await, (Ok(1), 3.5));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_as_soon_as_nothing_can_come_any_more() {
        let error = |text: &str| Err(Error::Connection(text.to_owned()).to_string());
        assert_eq!(told(&[(0.1, Err("refused"))]).await, (error("refused"), 0.1));
        assert_eq!(told(&[(3.0, Err("one")), (1.0, Err("two"))]).await, (error("two"), 3.5));
        assert_eq!(told(&[(3.0, Err("reset")), NEVER]).await, (error("reset"), 5.0));
        assert_eq!(told(&[(5.0, Err("no answer")), NEVER]).await, (error("no answer"), 5.0));
        let silence = (Err(Error::Timeout("an answer").to_string()), 10.0);
        assert_eq!(told(&[]).await, silence);
        assert_eq!(told(&[NEVER, (0.1, Err("refused"))]).await, (error("refused"), 10.0));
    }
}

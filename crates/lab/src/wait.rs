//! Waiting with a deadline. Nothing in the lab sleeps for a guessed time: it asks again until the answer is there.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is asked again.
const INTERVAL: Duration = Duration::from_millis(20);

/// The monotonic clock. Tests and the lab drive real processes, so they may read it; the product may not.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks `probe` until it gives a value, for at most `within`.
///
/// A probe that fails is asked again as well; its last error is told when time is up.
///
/// # Errors
/// When `within` has passed; the message names `what`.
pub fn until<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = now();
    loop {
        let last_error = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() >= within {
            match last_error {
                Some(error) => return Err(error.context(format!("waited {within:?} for {what}"))),
                None => bail!("waited {within:?} for {what}"),
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_as_soon_as_it_is_there() {
        let mut asked = 0;
        let value = until("three", Duration::from_secs(5), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn names_what_it_waited_for_and_the_last_error() {
        let error = until::<()>("rain", Duration::ZERO, || bail!("dry")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("rain") && text.contains("dry"), "{text}");
    }
}

//! The highest rate of datagrams at which no more than one in a hundred is lost: doubled until it fails, then halved
//! in between, each with a short probe.

use anyhow::Result;
use lab::load::Probe;

/// Loss that still counts as none.
pub(crate) const TOLERATED: f64 = 0.01;

/// The first rate, in datagrams per second: every node can do that.
const FIRST: f64 = 2000.0;

/// Doublings and halvings at the beginning, and steps between the highest good and the lowest bad rate (six percent
/// with four of them).
const DOUBLINGS: u32 = 10;
const HALVINGS: u32 = 6;
const STEPS: u32 = 4;

/// Probes of a rate before it counts as bad.
const TRIES: u32 = 3;

/// A sender that manages less than this share of what it was told is at its own limit.
const KEPT_UP: f64 = 0.9;

/// The rate found, in datagrams sent per second; 0 when even the lowest loses too much.
pub(crate) fn highest(mut probe: impl FnMut(f64) -> Result<Probe>) -> Result<f64> {
    // A bad probe, or a sender that fell behind, may be the machine's doing; three in a row are the path's.
    let mut good = |rate: f64| -> Result<Option<f64>> {
        let mut best = None;
        for _ in 0..TRIES {
            let probe = probe(rate)?;
            if probe.loss() > TOLERATED {
                continue;
            }
            let sent = probe.sent_rate();
            best = Some(best.map_or(sent, |best: f64| best.max(sent)));
            if sent >= rate * KEPT_UP {
                break;
            }
        }
        Ok(best)
    };
    let (mut low, mut high) = (0.0, FIRST);
    for _ in 0..DOUBLINGS {
        let Some(sent) = good(high)? else { break };
        low = sent;
        if sent < high * KEPT_UP {
            return Ok(low);
        }
        high *= 2.0;
    }
    for _ in 0..HALVINGS {
        if low > 0.0 {
            break;
        }
        high /= 2.0;
        low = good(high)?.unwrap_or(0.0);
        // The bad rate is the one before.
        if low > 0.0 {
            high *= 2.0;
        }
    }
    for _ in 0..STEPS {
        if low <= 0.0 {
            break;
        }
        let middle = (low * high).sqrt();
        match good(middle)? {
            Some(sent) if sent < middle * KEPT_UP => return Ok(sent.max(low)),
            Some(_) => low = middle,
            None => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries `capacity` datagrams a second, and a sender that can send `most`.
    fn search(capacity: f64, most: f64) -> (f64, u32) {
        let mut probes = 0;
        let found = highest(|rate| {
            probes += 1;
            let sent = rate.min(most);
            Ok(Probe { sent: sent as u64, received: sent.min(capacity) as u64, seconds: 1.0 })
        });
        (found.unwrap(), probes)
    }

    #[test]
    fn finds_the_limit_of_the_path() {
        for capacity in [150.0, 1999.0, 5400.0, 48_000.0, 300_000.0] {
            let (found, probes) = search(capacity, 1e9);
            assert!((capacity * 0.94..=capacity * 1.011).contains(&found), "{capacity}: {found}");
            assert!(probes <= 28, "{capacity}: {probes} probes");
        }
    }

    #[test]
    fn ends_at_the_limit_of_the_sender_and_at_nothing() {
        let (found, _) = search(1e9, 30_000.0);
        assert!((29_000.0..=30_000.0).contains(&found), "{found}");
        assert_eq!(search(0.0, 1e9).0, 0.0);
    }

    #[test]
    fn one_bad_probe_is_forgiven() {
        let mut probes = 0;
        let found = highest(|rate| {
            probes += 1;
            let received = if probes == 3 { 0.0 } else { rate.min(10_000.0) };
            Ok(Probe { sent: rate as u64, received: received as u64, seconds: 1.0 })
        });
        assert!(found.unwrap() > 9000.0);
    }
}

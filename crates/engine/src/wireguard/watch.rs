//! What the packet lines did, and what follows from it: keepalive, renewal, or a peer that has gone silent.
//!
//! The lines publish only the last moments of four kinds of packet. They are looked at every few seconds while a
//! peer has a living session, so a moment is known to lie between two looks, and the rules of the WireGuard paper
//! (§6.2, §6.5) are kept from the early side: a keepalive is never later than the peer's patience.

use super::Activity;
use super::peer::Session;
use super::timers::{
    KEEPALIVE_TIMEOUT, LOOK, LOOK_IDLE, NO_REPLY, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_ON_RECEIVE,
};
use crate::time::{Mono, Tick};
use std::time::Duration;

/// How far behind the first packet of a row its keepalive may be when only the bound of the look before is known.
const KEEPALIVE_SPREAD: Duration = Duration::from_secs(3);

/// What the looks remember.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    /// The last look (at first: when the session came up).
    looked: Mono,
    /// We have received data without sending anything since about then.
    owe: Option<Mono>,
    /// We have sent data without hearing anything since about then.
    unheard: Option<Mono>,
    /// A handshake message was sent, counts as anything sent.
    pub(super) spoke: Option<Mono>,
    /// A genuine handshake message arrived, counts as anything heard.
    pub(super) heard: Option<Mono>,
    /// We gave up on the peer then: data sent before does not start another attempt.
    pub(super) gave_up: Option<Mono>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    /// Send an empty packet.
    pub(super) keepalive: bool,
    /// Begin a handshake.
    pub(super) rekey: bool,
    /// Look again then; `None`: the session is over.
    pub(super) next: Option<Mono>,
}

fn before(now: Mono, ms: u32) -> Mono {
    Mono::from_nanos(now.as_nanos().saturating_sub(u64::from(ms) * 1_000_000))
}

fn moment(tick: Option<Tick>, now: Mono) -> Option<Mono> {
    tick.map(|tick| before(now, now.tick().since(tick)))
}

impl Watch {
    /// A session came up: look at it from now on. Returns the first look.
    pub(super) fn restart(&mut self, now: Mono) -> Mono {
        self.looked = now;
        now + LOOK
    }

    /// Looks at a peer whose `current` session may still be alive. `handshaking`: an attempt is under way already.
    /// `jitter` spreads the silence timer.
    pub(super) fn look(
        &mut self,
        current: &Session,
        activity: &Activity,
        handshaking: bool,
        jitter: Duration,
        now: Mono,
    ) -> Verdict {
        let age = now.since(current.born);
        if age >= REJECT_AFTER_TIME {
            (self.owe, self.unheard) = (None, None);
            return Verdict::default();
        }
        let tx = moment(activity.sent, now);
        let rx = moment(activity.received, now);
        let data_tx = moment(activity.sent_data, now);
        let data_rx = moment(activity.received_data, now);
        let spoke = tx.max(self.spoke);
        let heard = rx.max(self.heard);
        let mut out = Verdict::default();

        // Ties: within one millisecond the order is unknown. A keepalive too many is one packet; one too few makes
        // the peer start a handshake. So an equal moment counts as not answered here, and as heard below.
        self.owe = match (data_rx, self.owe) {
            (Some(got), known) if Some(got) >= spoke => match known {
                Some(since) if spoke.is_none_or(|s| s <= since) => Some(since),
                _ => {
                    let bound = spoke.unwrap_or_default().max(self.looked) + KEEPALIVE_SPREAD;
                    Some(got.min(bound))
                }
            },
            _ => None,
        };
        if let Some(since) = self.owe
            && now.since(since) >= KEEPALIVE_TIMEOUT
        {
            out.keepalive = true;
            self.owe = None;
            self.spoke = Some(now);
        }

        self.unheard = match (data_tx, self.unheard) {
            (Some(sent), known) if Some(sent) > heard.max(self.gave_up) => match known {
                Some(since) if heard.is_none_or(|h| h <= since) => Some(since),
                _ => Some(sent.min(heard.unwrap_or_default().max(self.looked) + LOOK)),
            },
            _ => None,
        };
        let silent = self.unheard.is_some_and(|since| now.since(since) >= NO_REPLY + jitter);
        let late =
            |moment: Option<Mono>, limit: Duration| moment.is_some_and(|m| m.since(current.born) >= limit);
        let worn = current.initiator && (late(tx, REKEY_AFTER_TIME) || late(rx, REKEY_ON_RECEIVE));
        if (silent || worn) && !handshaking {
            out.rekey = true;
            self.unheard = None;
        }

        let busy = [tx, rx].into_iter().flatten().any(|m| m >= self.looked);
        let wearing = current.initiator && age + LOOK_IDLE >= REKEY_AFTER_TIME;
        let mut next = now + if busy || wearing { LOOK } else { LOOK_IDLE };
        if let Some(since) = self.owe {
            next = next.min(since + KEEPALIVE_TIMEOUT);
        }
        if let Some(since) = self.unheard
            && !silent
        {
            next = next.min(since + NO_REPLY + jitter);
        }
        self.looked = now;
        out.next = Some(next.max(now + Duration::from_millis(1)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_weeks_ago_starts_nothing() {
        for days in [1, 24, 25, 30, 49] {
            let born = Mono::from_millis(90 * 86_400_000);
            let old = Some(before(born, days * 86_400_000).tick());
            for activity in [
                Activity { sent: old, sent_data: old, ..Activity::default() },
                Activity { received: old, received_data: old, ..Activity::default() },
            ] {
                let session = Session { local: 1, born, initiator: false };
                let mut watch = Watch { spoke: Some(born), heard: Some(born), ..Watch::default() };
                let mut at = watch.restart(born);
                for _ in 0..10 {
                    let verdict = watch.look(&session, &activity, false, Duration::ZERO, at);
                    assert_eq!(
                        (verdict.keepalive, verdict.rekey),
                        (false, false),
                        "{days} days: {activity:?}"
                    );
                    at = verdict.next.expect("the session lives");
                }
            }
        }
    }
}

//! One forwarded query: whom to ask now, what an answer is worth, and when to stop. Pure; time is an argument.
//!
//! Every upstream of the route runs, each from its own delay on: a plain one by UDP and, when that is silent, by TCP; a
//! provider by HTTPS. The first good answer ends it. SERVFAIL and REFUSED are kept and given only when nothing better
//! comes (protocol reference §9.3). When nobody is being asked, the next in line does not wait for its turn.

use crate::Transport;
use crate::config::Step;
use crate::message::{self, Code, HEADER, flag};
use crate::upstream::Upstream;
use std::rc::Rc;
use std::time::Duration;

/// All of it.
pub const TOTAL: Duration = Duration::from_secs(10);
/// Silence by UDP after which TCP is tried as well.
const UDP_SILENCE: Duration = Duration::from_secs(2);
/// One exchange by TCP.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// How somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// One datagram.
    Udp,
    /// A stream.
    Tcp,
    /// HTTP, with or without TLS.
    Http,
}

/// Somebody is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which step of the route.
    pub step: usize,
    /// How.
    pub via: Via,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With this answer, under the upstream query's number.
    Answer(Vec<u8>),
    /// Without one: somebody answered something useless, or nobody at all.
    Nothing {
        /// Nobody answered in time, or could be reached.
        unreachable: bool,
    },
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not to our question: somebody guesses, or it comes late.
    Foreign,
    /// The upstream failed or refused.
    Soft,
    /// An answer.
    Good,
}

/// One way of asking one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    /// From this moment on.
    Due(Duration),
    /// Since this moment.
    Flying(Duration),
    Over,
}

#[derive(Debug)]
struct Leg {
    /// UDP or HTTP.
    first: (Via, Try),
    /// TCP.
    second: Try,
}

/// One query on its way.
#[derive(Debug)]
pub struct Race {
    steps: Rc<[Step]>,
    legs: Vec<Leg>,
    transport: Transport,
    tcp: bool,
    /// Did not fit into its datagram, and the asker could have had it whole.
    cut: Option<Vec<u8>>,
    failed: Option<Vec<u8>>,
    refused: Option<Vec<u8>>,
    /// Somebody did neither answer nor refuse.
    errors: bool,
}

impl Race {
    /// A query that came by `transport`. `tcp` allows TCP to upstreams (attribute `dns-forwarder-disable-tcp-retries`).
    pub fn new(steps: Rc<[Step]>, transport: Transport, tcp: bool) -> Self {
        let leg = |step: &Step| {
            let due = Try::Due(step.delay);
            let later = match transport {
                Transport::Udp => step.delay + UDP_SILENCE,
                Transport::Tcp => step.delay,
            };
            match step.upstream {
                Upstream::Plain(_) => {
                    Leg { first: (Via::Udp, due), second: if tcp { Try::Due(later) } else { Try::Over } }
                }
                Upstream::PeerApi(_) | Upstream::Https(_) => {
                    Leg { first: (Via::Http, due), second: Try::Over }
                }
                Upstream::Unknown(_) => Leg { first: (Via::Http, Try::Over), second: Try::Over },
            }
        };
        let legs: Vec<_> = steps.iter().map(leg).collect();
        let errors = legs.iter().any(Leg::is_over);
        Self { steps, legs, transport, tcp, cut: None, failed: None, refused: None, errors }
    }

    /// Its route.
    pub fn steps(&self) -> &Rc<[Step]> {
        &self.steps
    }

    /// Whom to ask at `now`, counted from the query; again until there is nobody.
    pub fn start(&mut self, now: Duration) -> Option<Start> {
        for leg in &mut self.legs {
            if matches!(leg.second, Try::Flying(since) if now >= since + TCP_TIMEOUT) {
                leg.second = Try::Over;
                self.errors = true;
            }
        }
        let mut due = self.next_due().filter(|(when, _)| *when <= now);
        if due.is_none() && !self.legs.iter().any(Leg::is_flying) {
            due = self.next_due();
        }
        let (_, start) = due?;
        *self.attempt(start)? = Try::Flying(now);
        Some(start)
    }

    /// The earliest that waits.
    fn next_due(&self) -> Option<(Duration, Start)> {
        let due = |step: usize, via, attempt| match attempt {
            Try::Due(when) => Some((when, Start { step, via })),
            Try::Flying(_) | Try::Over => None,
        };
        let all = self.legs.iter().enumerate().flat_map(|(step, leg)| {
            [due(step, leg.first.0, leg.first.1), due(step, Via::Tcp, leg.second)].into_iter().flatten()
        });
        // Of two at the same time the one that stands first.
        all.min_by_key(|(when, _)| *when)
    }

    fn attempt(&mut self, start: Start) -> Option<&mut Try> {
        let leg = self.legs.get_mut(start.step)?;
        Some(if start.via == Via::Tcp { &mut leg.second } else { &mut leg.first.1 })
    }

    /// Whether somebody is still being waited for.
    pub fn is_flying(&self, start: Start) -> bool {
        self.legs.get(start.step).is_some_and(|leg| {
            let attempt = if start.via == Via::Tcp { leg.second } else { leg.first.1 };
            matches!(attempt, Try::Flying(_))
        })
    }

    /// Until when nothing changes by itself.
    pub fn wait(&self) -> Duration {
        let flying = self.legs.iter().filter_map(|leg| match leg.second {
            Try::Flying(since) => Some(since + TCP_TIMEOUT),
            Try::Due(_) | Try::Over => None,
        });
        let due = self.next_due().map(|(when, _)| when);
        flying.chain(due).chain([TOTAL]).min().unwrap_or(TOTAL)
    }

    /// Somebody answered (what [`judge`] did not call foreign) or could not be asked. The end, if this is it.
    pub fn ended(&mut self, start: Start, answer: Option<(Verdict, Vec<u8>)>) -> Option<Outcome> {
        if !self.is_flying(start) {
            return None;
        }
        if let Some(attempt) = self.attempt(start) {
            *attempt = Try::Over;
        }
        match answer {
            Some((Verdict::Good, bytes)) => {
                let cut = start.via == Via::Udp && message::flags(&bytes) & flag::TRUNCATED != 0;
                // Who asked by UDP learns that it was cut and asks again by TCP.
                if !cut || !self.tcp || self.transport == Transport::Udp {
                    return Some(Outcome::Answer(bytes));
                }
                self.cut.get_or_insert(bytes);
                self.hurry(start.step);
            }
            Some((Verdict::Soft, bytes)) => {
                let refused = message::code(&bytes) == Code::Refused as u8;
                let kept = if refused { &mut self.refused } else { &mut self.failed };
                kept.get_or_insert(bytes);
                // It would say the same by TCP.
                if let Some(leg) = self.legs.get_mut(start.step) {
                    leg.first.1 = Try::Over;
                    leg.second = Try::Over;
                }
            }
            Some((Verdict::Foreign, _)) | None => {
                self.errors = true;
                self.hurry(start.step);
            }
        }
        self.all_over().then(|| self.best())
    }

    /// TCP is tried now.
    fn hurry(&mut self, step: usize) {
        if let Some(leg) = self.legs.get_mut(step)
            && matches!(leg.second, Try::Due(_))
        {
            leg.second = Try::Due(Duration::ZERO);
        }
    }

    /// The end, if it is time.
    pub fn timeout(&mut self, now: Duration) -> Option<Outcome> {
        self.errors |= now >= TOTAL;
        (now >= TOTAL || self.all_over()).then(|| self.best())
    }

    fn all_over(&self) -> bool {
        self.legs.iter().all(Leg::is_over)
    }

    /// The best of what came: cut, failed, refused by all.
    fn best(&mut self) -> Outcome {
        let heard = self.failed.is_some() || self.refused.is_some();
        let best = self.cut.take().or_else(|| self.failed.take());
        let best = if self.errors { best } else { best.or_else(|| self.refused.take()) };
        best.map_or(Outcome::Nothing { unreachable: !heard }, Outcome::Answer)
    }
}

impl Leg {
    fn is_over(&self) -> bool {
        self.first.1 == Try::Over && self.second == Try::Over
    }

    fn is_flying(&self) -> bool {
        matches!(self.first.1, Try::Flying(_)) || matches!(self.second, Try::Flying(_))
    }
}

/// What bytes from an upstream are to a query that we sent, whose first question ends at `question_end`.
///
/// Number and question must be ours; some servers change the case of the name, and some leave the question out of an
/// error.
pub fn judge(query: &[u8], question_end: usize, answer: &[u8]) -> Verdict {
    let flags = message::flags(answer);
    if answer.len() < HEADER || message::id(answer) != message::id(query) || flags & flag::RESPONSE == 0 {
        return Verdict::Foreign;
    }
    let code = message::code(answer);
    let bare = code != 0 && answer.get(4..HEADER).is_some_and(|counts| counts.iter().all(|byte| *byte == 0));
    if !bare {
        let same = match (query.get(HEADER..question_end), answer.get(HEADER..question_end)) {
            (Some(asked), Some(answered)) => is_same_question(asked, answered),
            _ => false,
        };
        if !same || message::word(answer, 4) == Some(0) {
            return Verdict::Foreign;
        }
    }
    let soft = code == Code::ServFail as u8 || code == Code::Refused as u8;
    if soft { Verdict::Soft } else { Verdict::Good }
}

/// Whether two questions differ in the case of the name at most.
fn is_same_question(asked: &[u8], answered: &[u8]) -> bool {
    // Behind the name are kind and class, two bytes each.
    let split = asked.len().saturating_sub(4);
    asked.len() == answered.len()
        && asked.get(split..) == answered.get(split..)
        && asked.get(..split).zip(answered.get(..split)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
}

#[cfg(test)]
mod tests;

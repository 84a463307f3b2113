//! The log: lines on standard error, few of them.
//!
//! Owns: the format (Go's: date, time, text), the verbosity levels (`[v1]` is debug, `[v2]` is trace), the limit of
//! one line per ten seconds for each place that logs, whatever its level, which lines are hardly limited ([`UNLIMITED`]),
//! and the one line that a panic leaves behind. What ships does not know its places: there a line's first letters stand for them.
//! Leaves out: log upload, which this node never does.

use crate::clock::Clock;
use log::{Level, LevelFilter, Log, Metadata, Record};
use netmap::Map;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex};

/// The target of lines that places do not limit: those of which the last must not be missing, because it says what
/// holds from now on (the node's state), and short lists that are told at the start or when they change.
pub(crate) const UNLIMITED: &str = "unlimited";

/// So many of those in a minute, all together, so that nobody fills a log with them.
const BURST: u32 = 60;
const BURST_MS: u64 = 60_000;

/// One line per place in the source in this time; more are counted.
const QUIET_MS: u64 = 10_000;

/// Places remembered at most; the rest shares one. More than there are log lines in the source.
const MAX_PLACES: usize = 512;

/// File and line, or the line 0 and how the text begins.
type Key = (&'static str, u32, Start);

struct Sink {
    clock: Arc<Clock>,
    limit: LevelFilter,
    places: Mutex<Map<Key, Place>>,
    burst: Mutex<Burst>,
}

/// Lines of [`UNLIMITED`] in the minute that began at `since_ms`.
#[derive(Default)]
struct Burst {
    since_ms: u64,
    shown: u32,
    suppressed: u32,
}

#[derive(Default)]
struct Place {
    last_ms: Option<u64>,
    suppressed: u32,
}

/// Starts logging. `verbosity` 0 shows what a user wants to know, 1 adds `[v1]`, 2 and more add `[v2]`.
pub fn start(clock: Arc<Clock>, verbosity: u8) {
    let limit = match verbosity {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let sink = Sink { clock, limit, places: Mutex::default(), burst: Mutex::default() };
    if log::set_boxed_logger(Box::new(sink)).is_ok() {
        log::set_max_level(limit);
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let what = info.payload_as_str().unwrap_or("no message");
        line(&format!("tailscaled: internal error{place}: {}; please report it", what.replace('\n', " ")));
    }));
}

impl Sink {
    /// How many lines like this one have been left out before it; `None` if it is to be left out as well.
    fn admit(&self, record: &Record<'_>, now_ms: u64) -> Option<u32> {
        if !self.enabled(record.metadata()) {
            return None;
        }
        // Whoever asked for more than the usual lines wants all of them.
        if self.limit > LevelFilter::Info {
            return Some(0);
        }
        if record.target() == UNLIMITED {
            return self.burst.lock().map_or(Some(0), |mut burst| burst.admit(now_ms));
        }
        let Ok(mut places) = self.places.lock() else { return Some(0) };
        let mut key = key(record.file_static().unwrap_or(""), record.line().unwrap_or(0), record.args());
        if places.len() >= MAX_PLACES && !places.contains_key(&key) {
            key = Key::default();
        }
        admit(places.entry(key).or_default(), now_ms)
    }
}

/// Where a line comes from, as far as this build can know.
fn key(file: &'static str, line: u32, text: &fmt::Arguments<'_>) -> Key {
    let mut start = Start::default();
    if line == 0 {
        // It says that it is full; that is where it is to end.
        let _ = start.write_fmt(*text);
    }
    (file, line, start)
}

/// The first letters of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Start {
    bytes: [u8; 16],
    len: usize,
}

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut room = self.bytes.get_mut(self.len..).unwrap_or_default();
        self.len += std::io::Write::write(&mut room, text.as_bytes()).unwrap_or(0);
        if self.len < self.bytes.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Burst {
    fn admit(&mut self, now_ms: u64) -> Option<u32> {
        if now_ms.saturating_sub(self.since_ms) >= BURST_MS {
            (self.since_ms, self.shown) = (now_ms, 0);
        }
        if self.shown >= BURST {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.shown += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

fn admit(place: &mut Place, now_ms: u64) -> Option<u32> {
    if place.last_ms.is_some_and(|last| now_ms.saturating_sub(last) < QUIET_MS) {
        place.suppressed = place.suppressed.saturating_add(1);
        return None;
    }
    place.last_ms = Some(now_ms);
    Some(std::mem::take(&mut place.suppressed))
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.limit
    }

    fn log(&self, record: &Record<'_>) {
        let now_ms = self.clock.mono().as_nanos() / 1_000_000;
        let Some(suppressed) = self.admit(record, now_ms) else { return };
        let mark = match record.level() {
            Level::Error | Level::Warn | Level::Info => "",
            Level::Debug => "[v1] ",
            Level::Trace => "[v2] ",
        };
        let more =
            if suppressed > 0 { format!(" (suppressed {suppressed} more like this)") } else { String::new() };
        line(&format!("{} {mark}{}{more}", date(self.clock.timestamp()), record.args()));
    }

    fn flush(&self) {}
}

/// `2026/08-22 10:00:00` as Go's log package writes it: date with slashes, UTC.
fn date(at: netmap::Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or("").replace('-', "/").replace('T', " ")
}

/// A line of process 1, which has no logger of its own.
pub(crate) fn boot(clock: &Clock, text: &str) {
    line(&format!("{} containerboot: {text}", date(clock.timestamp())));
}

/// One line in one write; a closed standard error is no reason to stop.
fn line(text: &str) {
    let mut text = text.replace('\n', " ");
    text.push('\n');
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_of_quiet() {
        let mut place = Place::default();
        assert_eq!(admit(&mut place, 0), Some(0));
        assert_eq!(admit(&mut place, 1), None);
        assert_eq!(admit(&mut place, 9_999), None);
        assert_eq!(admit(&mut place, 10_000), Some(2));
        assert_eq!(admit(&mut place, 20_000), Some(0));
    }

    fn sink(limit: LevelFilter) -> Sink {
        Sink { clock: Arc::new(Clock::new(None)), limit, places: Mutex::default(), burst: Mutex::default() }
    }

    /// How many of `times` lines of one place and level are shown, one a millisecond.
    fn shown(sink: &Sink, target: &str, level: Level, times: u64) -> usize {
        let mut record = Record::builder();
        record.target(target).level(level).file_static(Some("x.rs")).line(Some(7));
        (0..times).filter(|at| sink.admit(&record.args(format_args!("again")).build(), *at).is_some()).count()
    }

    #[test]
    fn a_place_says_one_line_whatever_its_level() {
        for level in [Level::Error, Level::Warn, Level::Info] {
            let sink = sink(LevelFilter::Info);
            assert_eq!(shown(&sink, "daemon", level, 100), 1, "{level}");
            let next = Record::builder().level(level).file_static(Some("x.rs")).line(Some(7)).build();
            assert_eq!(sink.admit(&next, QUIET_MS), Some(99), "{level}");
        }
        assert_eq!(shown(&sink(LevelFilter::Info), "daemon", Level::Debug, 100), 0);
        assert_eq!(shown(&sink(LevelFilter::Debug), "daemon", Level::Debug, 100), 100);
    }

    #[test]
    fn the_last_of_several_transitions_is_shown() {
        let sink = sink(LevelFilter::Info);
        assert_eq!(shown(&sink, UNLIMITED, Level::Info, 2), 2);
        assert_eq!(shown(&sink, UNLIMITED, Level::Error, 3), 3);
        // Until it is a flood.
        assert_eq!(shown(&sink, UNLIMITED, Level::Info, 10_000) as u32, BURST - 5);
        let next = Record::builder().target(UNLIMITED).level(Level::Info).build();
        assert_eq!(sink.admit(&next, BURST_MS), Some(10_005 - BURST));
    }

    #[test]
    fn without_places_the_first_letters_count() {
        let of = |line, text: fmt::Arguments<'_>| key("x", line, &text);
        assert_eq!(of(7, format_args!("one")), of(7, format_args!("two")), "the place is known");
        assert_ne!(of(0, format_args!("one")), of(0, format_args!("two")));
        let region = |number: u32, error: &str| of(0, format_args!("no way to region {number}: {error}"));
        assert_eq!(region(1, "refused"), region(2, "lost"));
        assert_eq!(of(0, format_args!("")), of(0, format_args!("")));
    }

    #[test]
    fn dates_look_like_gos() {
        assert_eq!(date(netmap::Timestamp::from_unix(123)), "1970/01/01 00:02:03");
    }
}

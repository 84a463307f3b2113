//! The count behind the last line of `cargo xtask test`: passed, failed, skipped, with names for the last two.

use std::time::Duration;

/// What all parts of a run brought.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    tests: usize,
    failures: Vec<String>,
    skips: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Tally {
    /// `count` more that passed.
    pub(crate) fn pass(&mut self, count: usize) {
        self.passed += count;
    }

    /// One that failed, by name.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// So many tests were found, whatever came of them.
    pub(crate) fn found(&mut self, tests: usize) {
        self.tests += tests;
    }

    /// How many tests were found so far.
    pub(crate) fn tests(&self) -> usize {
        self.tests
    }

    /// How many failed so far.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }

    /// One that could not run here, by name and with the reason.
    pub(crate) fn skip(&mut self, what: impl Into<String>) {
        self.skips.push(what.into());
    }

    /// One that was counted as passed but said itself that it was skipped.
    pub(crate) fn pass_was_skip(&mut self, what: impl Into<String>) {
        self.passed = self.passed.saturating_sub(1);
        self.skip(what);
    }

    /// Remembers how long a part took.
    pub(crate) fn took(&mut self, part: &str, time: Duration) {
        self.times.push((part.to_owned(), time));
    }

    /// Whether the run is good: nothing failed and, where `strict`, nothing was skipped.
    pub(crate) fn good(&self, strict: bool) -> bool {
        self.failures.is_empty() && (!strict || self.skips.is_empty())
    }

    /// The times, the names, and the one line that a program may parse at the very end.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for (part, time) in &self.times {
            text.push_str(&format!("{:>7.1} s  {part}\n", time.as_secs_f64()));
        }
        for (title, names) in [("skipped", &self.skips), ("failed", &self.failures)] {
            for name in names {
                text.push_str(&format!("{title}: {name}\n"));
            }
        }
        let counts = (self.passed, self.failures.len(), self.skips.len());
        text.push_str(&format!("{} passed, {} failed, {} skipped", counts.0, counts.1, counts.2));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_three_numbers() {
        let mut tally = Tally::default();
        tally.pass(3);
        tally.fail("fmt");
        tally.pass_was_skip("join: no root");
        tally.took("fmt", Duration::from_secs(1));
        let text = tally.summary();
        assert_eq!(text.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
        assert!(text.contains("failed: fmt") && text.contains("skipped: join: no root"), "{text}");
    }

    #[test]
    fn a_skip_fails_only_a_strict_run() {
        let mut tally = Tally::default();
        tally.skip("black box: no root");
        assert!(tally.good(false) && !tally.good(true));
        tally.fail("fmt");
        assert!(!tally.good(false));
    }
}

//! What happened, a line each, for comparing and for reading.

use engine::time::Mono;
use std::fmt::Write;

/// Lines with their moments.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    lines: Vec<(Mono, String)>,
}

impl Timeline {
    /// Adds a line.
    pub fn push(&mut self, at: Mono, text: String) {
        self.lines.push((at, text));
    }

    /// All lines.
    pub fn lines(&self) -> &[(Mono, String)] {
        &self.lines
    }

    /// Forgets the lines so far: a scenario's preliminaries.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// As text: `0.212 a>b udp 148 B`, seconds in front.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (at, text) in &self.lines {
            let ms = at.as_nanos() / 1_000_000;
            let _ = writeln!(out, "{}.{:03} {text}", ms / 1000, ms % 1000);
        }
        out
    }
}

//! The report: a table for people, JSON with every sample, a picture.

use super::choice::{Named, Path, Test, Who};
use super::machine::Machine;
use super::samples::{Metric, Samples};
use super::stats::{Summary, ratio, short};
use super::svg;
use anyhow::{Context, Result};
use serde_json::json;

/// What a run brought, and the circumstances.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) runs: u32,
    pub(crate) seconds: f64,
    pub(crate) paths: Vec<Path>,
    pub(crate) tests: Vec<Test>,
    /// Niceness of everything measured.
    pub(crate) nice: i32,
    /// What counted system calls.
    pub(crate) counter: Option<&'static str>,
    /// What was left out, and why.
    pub(crate) skipped: Vec<String>,
    pub(crate) samples: Samples,
}

/// Ours is compared with these.
const RIVALS: [Who; 2] = [Who::Stock, Who::Incumbent];

impl Report {
    /// Writes all three files into `dir`.
    pub(crate) fn write(&self, dir: &std::path::Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let json = serde_json::to_string_pretty(&self.json())? + "\n";
        for (name, text) in
            [("bench.md", self.markdown()), ("bench.json", json), ("bench.svg", svg::draw(self))]
        {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "machine": self.machine.json(),
            "runs": self.runs,
            "seconds": self.seconds,
            "nice": self.nice,
            "syscalls_counted_by": self.counter,
            "left_out": self.skipped,
            "samples": self.samples.json(),
        })
    }

    /// Implementations that were measured on a path.
    pub(crate) fn columns(&self, path: Path) -> Vec<Who> {
        Who::ALL.iter().copied().filter(|who| self.samples.has(path, *who)).collect()
    }

    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# Bench\n\n{}.\n", self.machine.line());
        for (who, what) in &self.machine.programs {
            text.push_str(&format!("{}: {what}.\n", who.title()));
        }
        let counted =
            self.counter.map_or_else(|| "not counted here".to_owned(), |by| format!("counted by {by}"));
        text.push_str(&format!(
            "{} interleaved runs asked for, {} s each, at niceness {}. Medians (lowest – highest); a ratio is ours by \
             theirs. Both nodes, the programs that make the traffic and the relay server share this machine. A packet \
             is a datagram or a full TCP segment; its system calls are {counted}.\n",
            self.runs,
            short(self.seconds),
            self.nice
        ));
        if let Some(other) = self.other_load() {
            let cores = self.machine.cores;
            text.push_str(&format!(
                "Other programs and the kernel itself kept {} (up to {}) of {cores} cores busy meanwhile.\n",
                short(other.median),
                short(other.most)
            ));
        }
        for path in &self.paths {
            text.push_str(&self.table(*path));
        }
        for (title, lines) in [("Left out", self.skipped.clone()), ("Failed", self.samples.failures())] {
            if !lines.is_empty() {
                text.push_str(&format!("\n## {title}\n\n"));
                lines.iter().for_each(|line| text.push_str(&format!("- {}\n", line.replace('\n', " "))));
            }
        }
        text
    }

    fn other_load(&self) -> Option<Summary> {
        let values = self.samples.0.iter().filter_map(|sample| sample.result.as_ref().ok());
        Summary::of(&values.filter_map(|values| values.get(&Metric::OtherLoad).copied()).collect::<Vec<_>>())
    }

    fn table(&self, path: Path) -> String {
        let columns = self.columns(path);
        if columns.iter().all(|who| *who == Who::Raw) && path != Path::Relay {
            return format!("\n## {}\n\nNothing was measured.\n", path.title());
        }
        let rivals: Vec<_> =
            RIVALS.into_iter().filter(|who| columns.contains(&Who::Ours) && columns.contains(who)).collect();
        let mut rows = vec![vec![String::new(), String::new()]];
        if let Some(head) = rows.first_mut() {
            head.extend(columns.iter().map(|who| who.title().to_owned()));
            head.extend(rivals.iter().map(|who| format!("ours / {}", who.word())));
        }
        for test in &self.tests {
            let mut title = test.title();
            for metric in Metric::ALL.iter().filter(|metric| **metric != Metric::OtherLoad) {
                let of = |who| self.samples.summary(path, who, *test, *metric);
                if columns.iter().all(|who| of(*who).is_none()) {
                    continue;
                }
                let mut row = vec![title.to_owned(), metric.title().to_owned()];
                row.extend(columns.iter().map(|who| of(*who).map_or_else(|| "-".to_owned(), cell)));
                row.extend(rivals.iter().map(|who| {
                    ratio(of(Who::Ours), of(*who))
                        .filter(|_| *metric != Metric::Loss)
                        .map_or_else(|| "-".to_owned(), |ratio| format!("{} ×", short(ratio)))
                }));
                rows.push(row);
                title = "";
            }
        }
        format!("\n## {}\n\n{}", path.title(), markdown_table(&rows))
    }
}

/// `median (lowest – highest)`.
pub(super) fn cell(summary: Summary) -> String {
    let Summary { median, least, most, count } = summary;
    match count {
        1 => short(median),
        _ => format!("{} ({} – {})", short(median), short(least), short(most)),
    }
}

/// Rows with the head first; columns padded, so that it also reads as plain text. Numbers stand to the right.
pub(super) fn markdown_table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(2)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, width) in widths.iter().copied().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            text.push_str(&if column < 2 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            });
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().copied().enumerate() {
                let line = "-".repeat(width + 1);
                text.push_str(&if column < 2 { format!("|{line}-") } else { format!("|{line}:") });
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::samples;

    pub(crate) fn some() -> Report {
        let machine = Machine {
            processor: "A & B".to_owned(),
            cores: 2,
            memory_mib: 1024,
            kernel: "6.1".to_owned(),
            load: "0.00 0.00 0.00".to_owned(),
            programs: vec![(Who::Ours, "1.2, tailscaled 3 bytes".to_owned())],
        };
        Report {
            machine,
            runs: 2,
            seconds: 1.0,
            paths: vec![Path::Relay, Path::Direct],
            tests: vec![Test::Tcp1, Test::Udp64],
            nice: 0,
            counter: None,
            skipped: vec!["ours, direct: not in this build".to_owned()],
            samples: samples::tests::some(),
        }
    }

    #[test]
    fn the_table_has_medians_spread_and_ratios() {
        let text = some().markdown();
        let line = |start: &str| text.lines().find(|line| line.contains(start)).unwrap().to_owned();
        let cells: Vec<_> = line("Mbit/s").split('|').map(|cell| cell.trim().to_owned()).collect();
        assert_eq!(
            cells,
            [
                "",
                "TCP, 1 stream",
                "Mbit/s",
                "150 (100 – 200)",
                "60.0 (60.0 – 60.0)",
                "-",
                "9000",
                "2.50 ×",
                "-",
                ""
            ]
        );
        assert!(line("CPU-s/GiB").contains("0.150 ×"), "{text}");
        for part in
            ["A & B", "not in this build", "no <luck>", "Go stock", "Nothing was measured", "not counted"]
        {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("UDP 64"), "no row without a value: {text}");
    }

    #[test]
    fn three_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("deep").join("er");
        some().write(&out).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("bench.json")).unwrap()).unwrap();
        assert_eq!(json["machine"]["cores"], 2);
        assert_eq!(json["samples"].as_array().map(Vec::len), Some(6));
        assert!(out.join("bench.md").exists() && out.join("bench.svg").exists());
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".into(), "b".into(), "c".into()], vec!["long".into(), "µ".into(), "1".into()]];
        assert_eq!(markdown_table(&rows), "| a    | b  |  c |\n|------|----|---:|\n| long | µ  |  1 |\n");
    }
}

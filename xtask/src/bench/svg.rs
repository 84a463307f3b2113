//! The picture: for each path and test a small chart of its main value, a bar for each implementation with its spread,
//! and beside it the CPU it cost. Every chart has its own scale from zero.

use super::choice::{Named, Path, Test, Who};
use super::report::Report;
use super::samples::Metric;
use super::stats::{Summary, short};
use std::fmt::Write;

/// Sizes in pixels.
const CHART: (f64, f64) = (260.0, 124.0);
const BAR: (f64, f64) = (105.0, 15.0);
const GAP: f64 = 7.0;
const LABEL: f64 = 88.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 30.0;
const ACROSS: usize = 4;

/// A chart reaches to its highest sample, but not beyond so many times its highest median.
const WILD: f64 = 1.5;

/// One chart.
struct Chart {
    title: String,
    unit: &'static str,
    bars: Vec<(Who, Summary)>,
}

/// The whole picture.
pub(crate) fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    let width = MARGIN * 2.0 + CHART.0 * ACROSS as f64;
    for path in &report.paths {
        let charts = charts(report, *path);
        if charts.is_empty() {
            continue;
        }
        text(&mut body, MARGIN, y + 14.0, "head", path.title());
        y += HEAD;
        for row in charts.chunks(ACROSS) {
            for (column, chart) in row.iter().enumerate() {
                chart.draw(&mut body, MARGIN + CHART.0 * column as f64, y);
            }
            y += CHART.1;
        }
    }
    text(&mut body, MARGIN, y + 8.0, "note", &report.machine.line());
    text(
        &mut body,
        MARGIN,
        y + 22.0,
        "note",
        &format!(
            "Medians of up to {} interleaved runs; the line in a bar spans lowest to highest.",
            report.runs
        ),
    );
    let height = y + 36.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\">\n<style>text{{font:11px sans-serif;fill:#222}}.head{{font-size:15px;font-weight:bold}}\
         .title{{font-weight:bold}}.note{{fill:#666}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn charts(report: &Report, path: Path) -> Vec<Chart> {
    let wanted = |test: &Test| match test {
        Test::Latency => vec![Metric::RttHalf, Metric::RttMost],
        Test::Udp1200 | Test::Udp64 => vec![Metric::Packets, Metric::CpuPerPacket],
        Test::Tcp1 | Test::Tcp4 | Test::Tcp1Reverse => vec![Metric::Throughput, Metric::CpuPerGib],
    };
    let mut charts = Vec::new();
    for (test, metric) in
        report.tests.iter().flat_map(|test| wanted(test).into_iter().map(move |m| (*test, m)))
    {
        // The cable is an order of magnitude faster than any tunnel and would hide the rest.
        let columns = report.columns(path).into_iter().filter(|who| *who != Who::Raw);
        let bars: Vec<_> =
            columns.filter_map(|who| Some((who, report.samples.summary(path, who, test, metric)?))).collect();
        if !bars.is_empty() {
            charts.push(Chart { title: test.title().to_owned(), unit: metric.title(), bars });
        }
    }
    charts
}

impl Chart {
    fn draw(&self, out: &mut String, x: f64, y: f64) {
        text(out, x, y + 10.0, "title", &self.title);
        text(out, x, y + 24.0, "note", self.unit);
        let highest = |value: fn(&Summary) -> f64| {
            self.bars.iter().map(|(_, summary)| value(summary)).fold(f64::MIN_POSITIVE, f64::max)
        };
        // One wild sample must not make all bars short: its line is cut off.
        let most = highest(|summary| summary.most).min(highest(|summary| summary.median) * WILD);
        let scaled = |value: f64| (value / most).clamp(0.0, 1.0) * BAR.0;
        for (number, (who, summary)) in self.bars.iter().enumerate() {
            let top = y + 34.0 + (BAR.1 + GAP) * number as f64;
            let middle = top + BAR.1 / 2.0;
            let left = x + LABEL;
            text(out, x, middle + 4.0, "name", who.title());
            rect(out, left, top, scaled(summary.median), colour(*who));
            let (from, to) = (left + scaled(summary.least), left + scaled(summary.most));
            writeln!(
                out,
                "<path d=\"M{from:.1} {middle:.1}H{to:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>"
            )
            .ok();
            text(
                out,
                to.max(left + scaled(summary.median)) + 4.0,
                middle + 4.0,
                "value",
                &short(summary.median),
            );
        }
    }
}

fn colour(who: Who) -> &'static str {
    match who {
        Who::Ours => "#e4572e",
        Who::Stock => "#76b3c8",
        Who::Incumbent => "#a9a9c9",
        Who::Raw => "#cccccc",
    }
}

fn rect(out: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    let height = BAR.1;
    writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
    )
    .ok();
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{words}</text>").ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::some;

    #[test]
    fn bars_are_drawn_to_scale() {
        let picture = draw(&some());
        // Ours has a median of 150 of at most 200 Mbit/s, stock 60.
        for width in [BAR.0 * 0.75, BAR.0 * 0.3] {
            assert!(picture.contains(&format!("width=\"{width:.1}\"")), "no {width} in {picture}");
        }
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }

    #[test]
    fn names_are_escaped_and_tags_are_closed() {
        let picture = draw(&some());
        assert!(picture.contains("A &amp; B") && !picture.contains("A & B"));
        assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn an_empty_report_is_a_picture_too() {
        let mut empty = some();
        empty.samples.0.clear();
        assert!(draw(&empty).contains("</svg>"));
    }
}

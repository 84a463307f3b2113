//! `cargo xtask bench`: what ours does and costs beside the Go node and the bare cable, interleaved in one lab.
//!
//! Owns: the order of measurements, progress, the report. Every test is run on all pairs one after the other before
//! the next test, and the pair that begins changes with every run, so that what else the machine does hits all alike.
//! Leaves out: traffic (`lab::load`), and a judgement: that is for tests with ratios and for people.

mod choice;
mod field;
mod machine;
mod measure;
mod names;
mod report;
mod samples;
mod search;
mod stats;
mod stop;
mod svg;
mod usage;

pub(crate) use choice::command;

use anyhow::{Context, Result, ensure};
use choice::{Choice, Named, Path, Test, Who};
use field::Field;
use machine::Machine;
use measure::Bench;
use samples::{Metric, Sample, Samples, Values};
use stats::short;
use std::process::ExitCode;
use std::time::Duration;
use usage::Counter;

/// How far the bench goes before other programs of this machine: enough that these disturb little.
const NICE: i32 = -10;

/// Cores that must have been left for a measurement to count at once, and how often it is tried for that.
const LEFT: f64 = 0.5;
const ATTEMPTS: u32 = 3;

/// Measures what was asked for.
pub(crate) fn run(matches: &clap::ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some((names::WORD, matches)) => names::run(matches),
        _ => run_pairs(&Choice::new(matches)?),
    }
}

/// Measures pairs.
fn run_pairs(choice: &Choice) -> Result<ExitCode> {
    if choice.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    stop::catch()?;
    if let Some(reason) = lab::missing(&[lab::Need::Namespaces, lab::Need::Headscale]) {
        anyhow::bail!("{reason}");
    }
    // Inherited by everything started from here on: nodes, relay server, the threads that make the traffic.
    let preferred = lab::Preferred::start(NICE);
    if preferred.is_none() {
        println!("this process may not go before others: what else runs here disturbs more");
    }
    let counter = Counter::find();
    let machine = Machine::this(&choice.who);
    println!("{}", machine.line());
    let mut skipped = Vec::new();
    let mut pairs = field::wanted(choice);
    pairs.retain(|(path, who)| match field::missing(*who) {
        None => true,
        Some(reason) => {
            skipped.push(format!("{}, {}: {reason}", who.title(), path.word()));
            false
        }
    });
    if counter.is_none() {
        skipped.push("system calls: neither perf nor strace works here".to_owned());
    }
    skipped.iter().for_each(|reason| println!("left out: {reason}"));
    ensure!(!pairs.is_empty(), "nothing of what was asked for can be measured here");
    ensure!(!choice.tests.is_empty(), "no test was asked for");

    let mut report = report::Report {
        machine,
        runs: choice.runs,
        seconds: choice.seconds,
        paths: choice.paths.clone(),
        tests: choice.tests.clone(),
        counter: counter.map(Counter::word),
        nice: preferred.as_ref().map_or(0, |_| NICE),
        skipped,
        samples: Samples::default(),
    };
    let mut field = match Field::new(&pairs, |line| println!("  {line}")) {
        Ok(field) => field,
        Err(_) if stop::asked() => return Ok(ExitCode::from(stop::INTERRUPTED)),
        Err(error) => return Err(error),
    };
    let bench = Bench { time: Duration::from_secs_f64(choice.seconds), counter };
    let result = measure_all(choice, bench, &mut field, &mut report);
    drop(field);
    let interrupted = stop::asked();
    if !report.samples.0.is_empty() {
        report.write(&choice.out)?;
        println!("\n{}", report.markdown());
        println!("{}/bench.md, bench.json, bench.svg", choice.out.display());
    }
    match result {
        _ if interrupted => Ok(ExitCode::from(stop::INTERRUPTED)),
        Err(error) => Err(error),
        Ok(()) if report.samples.failures().is_empty() => Ok(ExitCode::SUCCESS),
        Ok(()) => Ok(ExitCode::FAILURE),
    }
}

/// All runs. The report is written after each, so that little is lost whatever happens.
fn measure_all(choice: &Choice, bench: Bench, field: &mut Field, report: &mut report::Report) -> Result<()> {
    let steps = order(choice, &field.pairs.iter().map(|pair| (pair.path, pair.who)).collect::<Vec<_>>());
    let started = lab::now();
    for (done, (run, index, test)) in steps.iter().copied().enumerate() {
        let pair = field.pairs.get(index).context("no such pair")?;
        let (path, who) = (pair.path, pair.who);
        let result = least_disturbed(report.machine.cores, || bench.measure(field, index, test));
        stop::check()?;
        let result = result.map_err(|error| format!("{error:#}"));
        let left = started.elapsed().as_secs_f64() / (done + 1) as f64 * (steps.len() - done - 1) as f64;
        println!(
            "run {run}/{}  {:6}  {:8} {:12}  {}  ({}/{}, {:.0} min left)",
            choice.runs,
            if who == Who::Raw { "veth" } else { path.word() },
            test.word(),
            who.title(),
            brief(&result),
            done + 1,
            steps.len(),
            left / 60.0
        );
        report.samples.0.push(Sample { run, path, who, test, result });
        if steps.get(done + 1).is_none_or(|(next, ..)| *next != run) {
            report.write(&choice.out)?;
        }
    }
    Ok(())
}

/// Measures again when other programs left less than half a core, and gives the attempt that they disturbed least. What
/// is chosen does not depend on what was measured, so this favours nobody.
fn least_disturbed(cores: usize, mut measure: impl FnMut() -> Result<Values>) -> Result<Values> {
    let load = |values: &Values| values.get(&Metric::OtherLoad).copied().unwrap_or(0.0);
    let mut best = measure()?;
    for _ in 1..ATTEMPTS {
        if load(&best) <= cores as f64 - LEFT {
            break;
        }
        stop::check()?;
        let again = measure()?;
        if load(&again) < load(&best) {
            best = again;
        }
    }
    Ok(best)
}

/// Run, pair and test of every measurement.
fn order(choice: &Choice, pairs: &[(Path, Who)]) -> Vec<(u32, usize, Test)> {
    let mut steps = Vec::new();
    for run in 1..=choice.runs {
        for path in &choice.paths {
            let here: Vec<_> = pairs.iter().enumerate().filter(|(_, pair)| pair.0 == *path).collect();
            for test in &choice.tests {
                let turned = here.iter().cycle().skip(run as usize - 1).take(here.len());
                steps.extend(turned.map(|(index, _)| (run, *index, *test)));
            }
        }
    }
    steps
}

/// A measurement in a few words.
fn brief(result: &Result<Values, String>) -> String {
    let values = match result {
        Ok(values) => values,
        Err(error) => return format!("failed: {error}"),
    };
    let wanted = [
        (Metric::Throughput, "Mbit/s"),
        (Metric::Packets, "packets/s"),
        (Metric::RttHalf, "µs p50"),
        (Metric::RttMost, "µs p99"),
        (Metric::CpuPerGib, "CPU-s/GiB"),
        (Metric::Syscalls, "syscalls/packet"),
        (Metric::OtherLoad, "cores busy with other things"),
    ];
    let words =
        wanted.iter().filter_map(|(metric, unit)| Some(format!("{} {unit}", short(*values.get(metric)?))));
    words.collect::<Vec<_>>().join(", ")
}

/// `--list`.
fn list() {
    println!("implementations and paths (--only, --path):");
    for path in Path::ALL {
        for who in Who::ALL {
            let state = field::missing(*who).unwrap_or_else(|| "ready".to_owned());
            println!("  {:10} {:8} {:13} {state}", who.word(), path.word(), who.title());
        }
    }
    println!("tests (--tests):");
    for test in Test::ALL {
        println!("  {:10} {}", test.word(), test.title());
    }
    println!("measured with each, where it applies:");
    for metric in Metric::ALL {
        println!("  {:20} {}", metric.word(), metric.title());
    }
    let counter = Counter::find().map_or("neither perf nor strace works here", Counter::word);
    println!("system calls are counted with: {counter}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_begins_with_another_pair() {
        let choice = Choice {
            runs: 2,
            seconds: 1.0,
            who: Vec::new(),
            paths: vec![Path::Relay, Path::Direct],
            tests: vec![Test::Tcp1, Test::Latency],
            out: std::path::PathBuf::new(),
            list: false,
        };
        let pairs = [(Path::Relay, Who::Ours), (Path::Relay, Who::Stock), (Path::Direct, Who::Stock)];
        let steps = order(&choice, &pairs);
        assert_eq!(steps.len(), 2 * 3 * 2);
        assert_eq!(steps[..3], [(1, 0, Test::Tcp1), (1, 1, Test::Tcp1), (1, 0, Test::Latency)]);
        assert_eq!(steps[6..8], [(2, 1, Test::Tcp1), (2, 0, Test::Tcp1)]);
    }

    #[test]
    fn a_disturbed_measurement_is_tried_again() {
        let attempts = |loads: &'static [f64]| {
            let mut loads = loads.iter();
            let result = least_disturbed(2, || {
                let load = *loads.next().unwrap();
                Ok(Values::from([(Metric::OtherLoad, load)]))
            });
            (result.unwrap()[&Metric::OtherLoad], loads.len())
        };
        // The load of the one that was taken, and how many were not needed.
        assert_eq!(attempts(&[1.2, 0.1]), (1.2, 1));
        assert_eq!(attempts(&[1.9, 1.4, 0.1]), (1.4, 1));
        assert_eq!(attempts(&[1.8, 1.7, 1.9, 0.1]), (1.7, 1));
        assert!(least_disturbed(2, || anyhow::bail!("broken")).is_err());
    }

    #[test]
    fn a_failure_is_told_and_numbers_have_units() {
        assert_eq!(brief(&Err("x".to_owned())), "failed: x");
        let values = Values::from([(Metric::Throughput, 61.2), (Metric::CpuPerGib, 135.0)]);
        assert_eq!(brief(&Ok(values)), "61.2 Mbit/s, 135 CPU-s/GiB");
    }
}

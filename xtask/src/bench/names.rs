//! `cargo xtask bench dns`: what quad-100 of our node does and costs beside that of the Go node, asked by `dnsperf`.
//!
//! One lab: a name server that answers at once, a node of each kind with a kernel interface. Names of the tailnet and names
//! that are forwarded; as many queries as there are answers, then the same fixed rate for both.

use super::choice::{Named, Who};
use super::machine::Machine;
use super::report::{cell, markdown_table};
use super::stats::{Summary, quantile, ratio, short};
use super::usage::{Usage, forget_peak};
use super::{NICE, stop};
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use lab::load::{Asking, NameServer, dnsperf};
use lab::{Lab, Need, Node};
use serde_json::json;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Its name on the command line.
pub(super) const WORD: &str = "dns";

/// Where both nodes answer.
const QUAD100: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 100));

/// Queries under way at once: `dnsperf`'s default.
const OUTSTANDING: u32 = 100;

const WHO: [Who; 2] = [Who::Ours, Who::Stock];

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Magic,
    Forwarded,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Magic, Self::Forwarded];

    const fn title(self) -> &'static str {
        match self {
            Self::Magic => "names of the tailnet",
            Self::Forwarded => "forwarded names",
        }
    }

    /// As `dnsperf` reads them.
    fn names(self) -> String {
        match self {
            Self::Magic => {
                "ours.tail.lab A\nstock.tail.lab A\nours.tail.lab AAAA\nnobody.tail.lab A\n".to_owned()
            }
            Self::Forwarded => (0..1000).map(|n| format!("n{n}.elsewhere.test A\n")).collect(),
        }
    }
}

/// What is read of each measurement.
const METRICS: [(&str, &str); 8] = [
    ("queries_per_s", "queries/s"),
    ("cpu_us", "CPU µs/query"),
    ("peak_kib", "peak RSS, KiB"),
    ("lost", "lost"),
    ("fixed_p50_us", "p50 at the fixed rate, µs"),
    ("fixed_p99_us", "p99, µs"),
    ("fixed_cpu_us", "CPU µs/query"),
    ("fixed_lost", "lost"),
];

/// One run of one kind at one node, in the order of [`METRICS`].
struct Sample {
    kind: Kind,
    who: Who,
    values: [f64; METRICS.len()],
}

/// The subcommand.
pub(super) fn command() -> Command {
    let number = |name: &'static str, value: &'static str, default: &'static str| {
        let most = if name == "rate" { 1_000_000 } else { 1000 };
        let range = value_parser!(u32).range(1..=most);
        Arg::new(name).long(name).value_name(value).default_value(default).value_parser(range)
    };
    Command::new(WORD)
        .about(
            "Queries per second, latency, CPU and memory of quad-100 beside the Go node's, by dnsperf (root)",
        )
        .arg(number("runs", "N", "5").help("how often everything is measured"))
        .arg(number("seconds", "S", "3").help("length of each measurement"))
        .arg(number("rate", "Q", "2000").help("queries a second at which latencies are compared"))
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("where dns.md and dns.json go; default: target/bench"),
        )
}

/// Measures and reports.
pub(super) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    stop::catch()?;
    let needs = [Need::Namespaces, Need::Headscale, Need::Dnsperf, Need::Ours, Need::Go];
    if let Some(reason) = lab::missing(&needs) {
        anyhow::bail!("{reason}");
    }
    let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1);
    let (runs, seconds, rate) = (number("runs"), number("seconds"), number("rate"));
    let time = Duration::from_secs(seconds.into());
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(|| lab::target_dir().join("bench"));
    let _preferred = lab::Preferred::start(NICE);
    let machine = Machine::this(&WHO);
    println!("{}", machine.line());
    let lab = Lab::new()?;
    let upstream = lab.host("upstream")?;
    let server = NameServer::quick(&upstream)?;
    let headscale = lab.headscale_with(&server.tailnet())?;
    let mut nodes = Vec::new();
    for who in WHO {
        let mut node = lab.node(who.word(), who.flavour().context("a node")?)?;
        node.tun = "tailscale0".to_owned();
        node.start()?;
        node.join(&headscale)?;
        nodes.push(node);
    }
    let files = tempfile::tempdir()?;
    let mut samples = Vec::new();
    for run in 1..=runs {
        for kind in Kind::ALL {
            let names = files.path().join("names");
            std::fs::write(&names, kind.names())?;
            for turn in 0..WHO.len() {
                stop::check()?;
                let at = (turn + run as usize) % WHO.len();
                let (who, node) = (WHO[at], nodes.get_mut(at).context("a node")?);
                let values = measure(node, &names, time, rate)
                    .with_context(|| format!("{}, {}", who.title(), kind.title()))?;
                let words =
                    METRICS.iter().zip(values).map(|((_, title), value)| format!("{} {title}", short(value)));
                println!(
                    "run {run}/{runs}  {}  {}: {}",
                    kind.title(),
                    who.title(),
                    words.collect::<Vec<_>>().join(", ")
                );
                samples.push(Sample { kind, who, values });
            }
        }
    }
    let text = report(&machine, runs, seconds, rate, &samples);
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("dns.md"), &text)?;
    std::fs::write(out.join("dns.json"), serde_json::to_string_pretty(&all(&machine, &samples))? + "\n")?;
    println!("\n{text}\n{}/dns.md, dns.json", out.display());
    Ok(ExitCode::SUCCESS)
}

/// As many queries as there are answers, then so many a second.
fn measure(node: &mut Node, names: &Path, time: Duration, rate: u32) -> Result<[f64; METRICS.len()]> {
    let id = node.daemon()?.id();
    let host = &node.host;
    // The first may wait for control's word on names.
    lab::until("quad-100", Duration::from_secs(20), || {
        let once = Asking { time: Duration::from_secs(1), outstanding: 1, rate: Some(10) };
        Ok(dnsperf(host, QUAD100, names, once).ok().filter(|asked| asked.lost == 0).map(drop))
    })?;
    forget_peak(id);
    let ask = |rate| -> Result<_> {
        let before = Usage::now(&[id], None)?;
        let asked = dnsperf(host, QUAD100, names, Asking { time, outstanding: OUTSTANDING, rate })?;
        let spent = Usage::now(&[id], None)?.since(&before).daemons;
        let cpu = spent * 1e6 / asked.completed as f64;
        Ok((asked, cpu))
    };
    let (full, full_cpu) = ask(None)?;
    let (fixed, fixed_cpu) = ask(Some(rate))?;
    let quantile = |share| quantile(&fixed.times, share).map_or(f64::NAN, |seconds| seconds * 1e6);
    let (half, most) = (quantile(0.5), quantile(0.99));
    let peak = node.daemon()?.peak_kib()?;
    Ok([full.rate, full_cpu, peak as f64, full.lost as f64, half, most, fixed_cpu, fixed.lost as f64])
}

fn report(machine: &Machine, runs: u32, seconds: u32, rate: u32, samples: &[Sample]) -> String {
    let text = format!(
        "# Names\n\n{}. {runs} interleaved runs, {seconds} s each; {OUTSTANDING} queries under way at most, then {rate} a \
         second. Medians (lowest – highest); a ratio is ours by theirs.\n\n",
        machine.line()
    );
    let head = ["", "", "ours", "Go stock", "ours / stock"].map(str::to_owned).to_vec();
    let mut rows = vec![head];
    for kind in Kind::ALL {
        for (at, (_, title)) in METRICS.iter().enumerate() {
            let of = |who| {
                let mine = samples.iter().filter(|sample| sample.kind == kind && sample.who == who);
                Summary::of(&mine.filter_map(|sample| sample.values.get(at).copied()).collect::<Vec<_>>())
            };
            let mut row = vec![if at == 0 { kind.title() } else { "" }.to_owned(), (*title).to_owned()];
            row.extend(WHO.map(|who| of(who).map_or_else(|| "-".to_owned(), cell)));
            let by = ratio(of(Who::Ours), of(Who::Stock));
            row.push(by.map_or_else(|| "-".to_owned(), |ratio| format!("{} ×", short(ratio))));
            rows.push(row);
        }
    }
    text + &markdown_table(&rows)
}

fn all(machine: &Machine, samples: &[Sample]) -> serde_json::Value {
    let samples = samples.iter().map(|sample| {
        let values =
            METRICS.iter().zip(sample.values).map(|((word, _), value)| ((*word).to_owned(), value.into()));
        let values: serde_json::Map<_, _> = values.collect();
        json!({ "kind": sample.kind.title(), "who": sample.who.word(), "values": values })
    });
    json!({ "machine": machine.json(), "samples": samples.collect::<Vec<_>>() })
}

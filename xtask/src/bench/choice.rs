//! What can be measured, its names on the command line and in reports, and what of it a run was asked for.

use anyhow::{Result, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};
use lab::Flavour;
use std::path::PathBuf;

/// Whose node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Ours,
    Stock,
    Incumbent,
    /// No node at all: the same programs over the cable.
    Raw,
}

/// How packets travel between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// UDP is blocked, the relay carries everything.
    Relay,
    /// The nodes reach each other.
    Direct,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Tcp1,
    Tcp4,
    Tcp1Reverse,
    Udp1200,
    Udp64,
    Latency,
}

/// Something with a name for the command line and one for people.
pub(crate) trait Named: Copy + PartialEq + 'static {
    /// All of them, in the order of reports.
    const ALL: &'static [Self];
    /// Name on the command line and in JSON.
    fn word(self) -> &'static str;
    /// Name in tables.
    fn title(self) -> &'static str;
}

impl Named for Who {
    const ALL: &'static [Self] = &[Self::Ours, Self::Stock, Self::Incumbent, Self::Raw];

    fn word(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Stock => "stock",
            Self::Incumbent => "incumbent",
            Self::Raw => "raw",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Stock => "Go stock",
            Self::Incumbent => "Go incumbent",
            Self::Raw => "raw veth",
        }
    }
}

impl Who {
    /// Whose programs; `None` for the cable.
    pub(crate) fn flavour(self) -> Option<Flavour> {
        match self {
            Self::Ours => Some(Flavour::Ours),
            Self::Stock => Some(Flavour::Go),
            Self::Incumbent => Some(Flavour::Incumbent),
            Self::Raw => None,
        }
    }
}

impl Named for Path {
    const ALL: &'static [Self] = &[Self::Relay, Self::Direct];

    fn word(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Direct => "direct",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Relay => "Relay: UDP blocked, everything through headscale's DERP",
            Self::Direct => "Direct: UDP between the nodes",
        }
    }
}

impl Named for Test {
    const ALL: &'static [Self] =
        &[Self::Tcp1, Self::Tcp4, Self::Tcp1Reverse, Self::Udp1200, Self::Udp64, Self::Latency];

    fn word(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp4 => "tcp4",
            Self::Tcp1Reverse => "tcp1r",
            Self::Udp1200 => "udp1200",
            Self::Udp64 => "udp64",
            Self::Latency => "latency",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Tcp1 => "TCP, 1 stream",
            Self::Tcp4 => "TCP, 4 streams",
            Self::Tcp1Reverse => "TCP, 1 stream, reverse",
            Self::Udp1200 => "UDP 1200 B, ≤ 1 % loss",
            Self::Udp64 => "UDP 64 B, ≤ 1 % loss",
            Self::Latency => "UDP ping-pong 64 B",
        }
    }
}

/// What a run was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) runs: u32,
    pub(crate) seconds: f64,
    pub(crate) who: Vec<Who>,
    pub(crate) paths: Vec<Path>,
    pub(crate) tests: Vec<Test>,
    pub(crate) out: PathBuf,
    pub(crate) list: bool,
}

/// The subcommand.
pub(crate) fn command() -> Command {
    let list = |name: &'static str, values: &'static str| {
        Arg::new(name).long(name).value_name(values).value_delimiter(',')
    };
    Command::new("bench")
        .about("Throughput, CPU, latency and memory of ours beside the Go node's, interleaved (root)")
        .long_about(
            "Measures pairs of nodes in one lab of network namespaces: ours, the stock Go node, the Go node as router \
             images have it, and the bare cable. Each test is run on all of them one after the other, and all of that \
             --runs times, so that what else the machine does hits all alike. Medians with the lowest and highest \
             value, and ratios, go to target/bench/bench.md; every sample to bench.json; a picture to bench.svg.\n\n\
             What cannot be measured here (a program that is not installed, a path this build does not have) is named \
             and left out.",
        )
        .after_help(
            "Examples:\n  \
             cargo xtask bench --list\n  \
             cargo xtask bench --path relay --tests tcp1,udp1200 --only ours,stock\n  \
             cargo xtask bench --runs 9 --seconds 10 --out target/bench/long\n\n\
             Before: cargo xtask build; cargo xtask peers --incumbent. A whole run with the defaults takes about half \
             an hour. ^C writes what has been measured so far and cleans up.",
        )
        .subcommand(super::names::command())
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("N")
                .default_value("5")
                .value_parser(value_parser!(u32).range(1..=1000))
                .help("how often everything is measured"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .default_value("3")
                .value_parser(value_parser!(f64))
                .help("length of each measurement, 0.5 to 600"),
        )
        .arg(list("only", "WHO,…").help("of ours, stock, incumbent, raw; default: all"))
        .arg(list("path", "PATH,…").help("of relay, direct; default: both"))
        .arg(list("tests", "TEST,…").help("of tcp1, tcp4, tcp1r, udp1200, udp64, latency; default: all"))
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("where the report goes; default: target/bench"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(clap::ArgAction::SetTrue)
                .help("name what there is to measure, and what of it is missing here"),
        )
}

impl Choice {
    /// What was typed.
    pub(crate) fn new(matches: &ArgMatches) -> Result<Self> {
        let seconds = matches.get_one::<f64>("seconds").copied().unwrap_or(3.0);
        ensure!((0.5..=600.0).contains(&seconds), "--seconds is {seconds}; give 0.5 to 600");
        Ok(Self {
            runs: matches.get_one::<u32>("runs").copied().unwrap_or(5),
            seconds,
            who: chosen(matches, "only")?,
            paths: chosen(matches, "path")?,
            tests: chosen(matches, "tests")?,
            out: matches
                .get_one::<PathBuf>("out")
                .cloned()
                .unwrap_or_else(|| lab::target_dir().join("bench")),
            list: matches.get_flag("list"),
        })
    }
}

/// The values of a list, in the order of reports, each once; all when it was not given.
fn chosen<T: Named>(matches: &ArgMatches, name: &str) -> Result<Vec<T>> {
    let Some(words) = matches.get_many::<String>(name) else { return Ok(T::ALL.to_vec()) };
    let words: Vec<_> = words.map(|word| word.trim()).collect();
    let known: Vec<_> = T::ALL.iter().map(|value| value.word()).collect();
    for word in &words {
        ensure!(known.contains(word), "--{name}: there is no `{word}`; there are {}", known.join(", "));
    }
    Ok(T::ALL.iter().copied().filter(|value| words.contains(&value.word())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Choice> {
        Choice::new(&command().try_get_matches_from([&["bench"], words].concat())?)
    }

    #[test]
    fn everything_by_default() {
        let all = parse(&[]).unwrap();
        assert_eq!((all.runs, all.seconds, all.list), (5, 3.0, false));
        assert_eq!((all.who.len(), all.paths.len(), all.tests.len()), (4, 2, 6));
        assert!(all.out.ends_with("bench"));
    }

    #[test]
    fn lists_are_sorted_and_unknown_words_are_named() {
        let some =
            parse(&["--only", "stock,ours,stock", "--path=relay", "--tests", "udp64,tcp1", "--runs=2"]);
        let some = some.unwrap();
        assert_eq!(some.who, [Who::Ours, Who::Stock]);
        assert_eq!(some.paths, [Path::Relay]);
        assert_eq!(some.tests, [Test::Tcp1, Test::Udp64]);
        for (words, names) in [
            (["--only", "mine"], "ours, stock, incumbent, raw"),
            (["--tests", "tcp9"], "tcp1, tcp4"),
            (["--path", ""], "relay, direct"),
        ] {
            let error = parse(&words).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for words in [["--runs", "0"], ["--runs", "x"], ["--seconds", "0"], ["--seconds", "NaN"]] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
    }
}

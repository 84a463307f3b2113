//! Everything that was measured, and its JSON.

use super::choice::{Named, Path, Test, Who};
use super::stats::Summary;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Throughput,
    Packets,
    RttHalf,
    RttMost,
    CpuPerGib,
    CpuPerPacket,
    Syscalls,
    RssPeak,
    RelayCpuPerGib,
    Loss,
    OtherLoad,
}

impl Named for Metric {
    const ALL: &'static [Self] = &[
        Self::Throughput,
        Self::Packets,
        Self::RttHalf,
        Self::RttMost,
        Self::CpuPerGib,
        Self::CpuPerPacket,
        Self::Syscalls,
        Self::RssPeak,
        Self::RelayCpuPerGib,
        Self::Loss,
        Self::OtherLoad,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Throughput => "mbit_per_s",
            Self::Packets => "packets_per_s",
            Self::RttHalf => "rtt_p50_us",
            Self::RttMost => "rtt_p99_us",
            Self::CpuPerGib => "cpu_s_per_gib",
            Self::CpuPerPacket => "cpu_us_per_packet",
            Self::Syscalls => "syscalls_per_packet",
            Self::RssPeak => "rss_peak_kib",
            Self::RelayCpuPerGib => "relay_cpu_s_per_gib",
            Self::Loss => "loss_percent",
            Self::OtherLoad => "other_load_cores",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Throughput => "Mbit/s",
            Self::Packets => "packets/s",
            Self::RttHalf => "RTT p50, µs",
            Self::RttMost => "RTT p99, µs",
            Self::CpuPerGib => "CPU-s/GiB, both daemons",
            Self::CpuPerPacket => "CPU µs/packet, both daemons",
            Self::Syscalls => "system calls/packet, both daemons",
            Self::RssPeak => "peak RSS, KiB, the larger daemon",
            Self::RelayCpuPerGib => "relay server's CPU-s/GiB",
            Self::Loss => "lost, %",
            Self::OtherLoad => "other load, cores",
        }
    }
}

/// Values of one measurement.
pub(crate) type Values = BTreeMap<Metric, f64>;

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) run: u32,
    pub(crate) path: Path,
    pub(crate) who: Who,
    pub(crate) test: Test,
    /// Values, or why there are none.
    pub(crate) result: Result<Values, String>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// The samples of one combination. The bare cable's belong to every path.
    fn of(&self, path: Path, who: Who, test: Test) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| {
            (sample.path == path || who == Who::Raw) && sample.who == who && sample.test == test
        })
    }

    /// What the values of one combination say; `None` without any.
    pub(crate) fn summary(&self, path: Path, who: Who, test: Test, metric: Metric) -> Option<Summary> {
        let values = self.of(path, who, test).filter_map(|sample| sample.result.as_ref().ok());
        let values: Vec<_> = values.filter_map(|values| values.get(&metric).copied()).collect();
        Summary::of(&values)
    }

    /// Whether anything was tried on this path.
    pub(crate) fn has(&self, path: Path, who: Who) -> bool {
        self.0.iter().any(|sample| (sample.path == path || who == Who::Raw) && sample.who == who)
    }

    /// What went wrong, a line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.0.iter().filter_map(|sample| {
            let error = sample.result.as_ref().err()?;
            let Sample { run, path, who, test, .. } = sample;
            Some(format!("run {run}, {}, {}, {}: {error}", path.word(), test.word(), who.title()))
        });
        failed.collect()
    }

    /// A list of objects, one for each measurement.
    pub(crate) fn json(&self) -> Value {
        let object = |sample: &Sample| {
            let mut object = json!({
                "run": sample.run,
                "path": if sample.who == Who::Raw { "veth" } else { sample.path.word() },
                "implementation": sample.who.word(),
                "test": sample.test.word(),
            });
            match &sample.result {
                Ok(values) => {
                    let values: BTreeMap<_, _> = values.iter().map(|(key, v)| (key.word(), *v)).collect();
                    object["values"] = json!(values);
                }
                Err(error) => object["error"] = json!(error),
            }
            object
        };
        self.0.iter().map(object).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two runs of TCP on the relay: ours 200 and 100, stock 60 and 60 Mbit/s, a cable that was measured on the way,
    /// and an incumbent that failed.
    pub(crate) fn some() -> Samples {
        let sample = |run, who, result| Sample { run, path: Path::Relay, who, test: Test::Tcp1, result };
        let of = |mbit, cpu| Ok(Values::from([(Metric::Throughput, mbit), (Metric::CpuPerGib, cpu)]));
        Samples(vec![
            sample(1, Who::Ours, of(200.0, 20.0)),
            sample(1, Who::Stock, of(60.0, 140.0)),
            sample(1, Who::Incumbent, Err("no <luck>".to_owned())),
            sample(1, Who::Raw, Ok(Values::from([(Metric::Throughput, 9000.0)]))),
            sample(2, Who::Stock, of(60.0, 140.0)),
            sample(2, Who::Ours, of(100.0, 22.0)),
        ])
    }

    #[test]
    fn summaries_and_failures() {
        let samples = some();
        let ours = samples.summary(Path::Relay, Who::Ours, Test::Tcp1, Metric::Throughput).unwrap();
        assert_eq!((ours.median, ours.least, ours.most, ours.count), (150.0, 100.0, 200.0, 2));
        assert_eq!(samples.summary(Path::Direct, Who::Ours, Test::Tcp1, Metric::Throughput), None);
        assert!(samples.summary(Path::Direct, Who::Raw, Test::Tcp1, Metric::Throughput).is_some());
        assert_eq!(samples.failures(), ["run 1, relay, tcp1, Go incumbent: no <luck>"]);
    }

    #[test]
    fn json_has_every_sample() {
        let json = some().json();
        assert_eq!(json.as_array().map(Vec::len), Some(6));
        assert_eq!(json[0]["values"]["mbit_per_s"], 200.0);
        assert_eq!(json[2]["error"], "no <luck>");
        assert_eq!(json[3]["path"], "veth");
        assert_eq!(json[5]["run"], 2);
    }
}

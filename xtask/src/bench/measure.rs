//! One measurement: a test on a pair, and everything that is read while it runs.

use super::choice::{Path, Test, Who};
use super::field::{Field, Pair};
use super::samples::{Metric, Values};
use super::usage::{Counter, Spent, Usage, forget_peak};
use super::{search, stop};
use anyhow::{Context, Result};
use lab::load::{Datagrams, Streams, ping_pong};
use std::time::Duration;

/// What is not measured of a stream: until it has found its speed.
const WARM_UP: Duration = Duration::from_millis(700);

/// Length of a probe in the search for a rate.
const PROBE: Duration = Duration::from_millis(400);

/// System calls are counted in a stretch of their own, because counting slows them.
const COUNTED: Duration = Duration::from_secs(1);

/// How long the counter may need to begin.
const ATTACHING: Duration = Duration::from_millis(300);

/// When the rate that was found loses too much over the whole time, it is lowered so often and by so much.
const RETRIES: u32 = 8;
const LOWERED: f64 = 0.9;

const GIB: f64 = (1_u64 << 30) as f64;

/// What all measurements of a run share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bench {
    pub(crate) time: Duration,
    pub(crate) counter: Option<Counter>,
}

/// Where the usage of a measurement is read.
struct Meter<'a> {
    daemons: &'a [u32],
    relay: Option<u32>,
}

impl Meter<'_> {
    fn read(&self) -> Result<Usage> {
        Usage::now(self.daemons, self.relay)
    }
}

impl Bench {
    /// Runs `test` on the pair with this number.
    pub(crate) fn measure(self, field: &mut Field, pair: usize, test: Test) -> Result<Values> {
        stop::check()?;
        let relay = field.relay();
        let pair = field.pairs.get_mut(pair).context("no such pair")?;
        pair.find_path()?;
        let daemons = pair.daemons()?;
        daemons.iter().for_each(|id| forget_peak(*id));
        let relayed = pair.path == Path::Relay && pair.who != Who::Raw;
        let meter = Meter { daemons: &daemons, relay: relayed.then_some(relay) };
        let mut values = match test {
            Test::Tcp1 => self.tcp(pair, &meter, 1, false),
            Test::Tcp4 => self.tcp(pair, &meter, 4, false),
            Test::Tcp1Reverse => self.tcp(pair, &meter, 1, true),
            Test::Udp1200 => self.udp(pair, &meter, 1200),
            Test::Udp64 => self.udp(pair, &meter, 64),
            Test::Latency => self.latency(pair, &meter),
        }?;
        if let Some(peak) = pair.peak_kib()? {
            values.insert(Metric::RssPeak, peak as f64);
        }
        pair.check_path()?;
        Ok(values)
    }

    fn tcp(self, pair: &Pair, meter: &Meter<'_>, count: u32, reverse: bool) -> Result<Values> {
        let [from, to] = pair.hosts();
        let streams = Streams::open(from, to, pair.address, count, reverse)?;
        stop::pause(WARM_UP)?;
        let (before, start) = (meter.read()?, streams.bytes());
        stop::pause(self.time)?;
        let (after, end) = (meter.read()?, streams.bytes());
        streams.check()?;
        let spent = after.since(&before);
        let bytes = (end - start) as f64;
        let mut values = common(&spent, bytes, meter);
        values.insert(Metric::Throughput, bytes * 8.0 / spent.wall / 1e6);
        if let Some(counter) = self.counter.filter(|_| !meter.daemons.is_empty()) {
            let (began, start) = (lab::now(), streams.bytes());
            let calls = counter.count(meter.daemons, COUNTED)? / COUNTED.as_secs_f64();
            // Attaching takes its time as well, so rates are compared and not counts.
            let rate = (streams.bytes() - start) as f64 / began.elapsed().as_secs_f64();
            values.insert(Metric::Syscalls, calls / (rate / f64::from(streams.segment().max(1))));
        }
        Ok(values)
    }

    fn udp(self, pair: &Pair, meter: &Meter<'_>, size: usize) -> Result<Values> {
        let [from, to] = pair.hosts();
        let datagrams = Datagrams::open(from, to, pair.address, size)?;
        let mut rate = search::highest(|rate| {
            stop::check()?;
            datagrams.run(rate, PROBE)
        })?;
        let mut tries = 0;
        let (probe, spent) = loop {
            stop::check()?;
            let before = meter.read()?;
            let probe = datagrams.run(rate, self.time)?;
            let spent = meter.read()?.since(&before);
            tries += 1;
            if probe.loss() <= search::TOLERATED || tries > RETRIES || rate <= 0.0 {
                break (probe, spent);
            }
            rate *= LOWERED;
        };
        let bytes = probe.received as f64 * size as f64;
        let mut values = common(&spent, bytes, meter);
        values.insert(Metric::Packets, probe.received_rate());
        values.insert(Metric::Throughput, probe.received_rate() * size as f64 * 8.0 / 1e6);
        values.insert(Metric::Loss, probe.loss() * 100.0);
        if !meter.daemons.is_empty() && probe.received > 0 {
            values.insert(Metric::CpuPerPacket, spent.daemons * 1e6 / probe.received as f64);
            if let Some(counter) = self.counter {
                let (probe, calls) = std::thread::scope(|scope| {
                    let sender = scope.spawn(|| datagrams.run(rate, COUNTED + ATTACHING));
                    let calls = counter.count(meter.daemons, COUNTED);
                    (sender.join(), calls)
                });
                let probe = probe.map_err(|_| anyhow::anyhow!("the sender panicked"))??;
                let per_second = calls? / COUNTED.as_secs_f64();
                values.insert(Metric::Syscalls, per_second / probe.received_rate().max(1.0));
            }
        }
        Ok(values)
    }

    fn latency(self, pair: &Pair, meter: &Meter<'_>) -> Result<Values> {
        let [from, to] = pair.hosts();
        let before = meter.read()?;
        let game = ping_pong(from, to, pair.address, self.time)?;
        let spent = meter.read()?.since(&before);
        let mut times: Vec<_> = game.times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        times.sort_by(f64::total_cmp);
        let mut values = Values::new();
        values.insert(Metric::OtherLoad, spent.other / spent.wall);
        for (metric, share) in [(Metric::RttHalf, 0.5), (Metric::RttMost, 0.99)] {
            let time = super::stats::quantile(&times, share).context("no echo came back")?;
            values.insert(metric, time);
        }
        let sent = game.times.len() as f64 + f64::from(game.lost);
        values.insert(Metric::Loss, f64::from(game.lost) * 100.0 / sent.max(1.0));
        Ok(values)
    }
}

/// What every bulk measurement has: CPU for each GiB that arrived, and what else the machine did meanwhile.
fn common(spent: &Spent, bytes: f64, meter: &Meter<'_>) -> Values {
    let mut values = Values::new();
    values.insert(Metric::OtherLoad, spent.other / spent.wall);
    if bytes > 0.0 && !meter.daemons.is_empty() {
        values.insert(Metric::CpuPerGib, spent.daemons / (bytes / GIB));
        if meter.relay.is_some() {
            values.insert(Metric::RelayCpuPerGib, spent.relay / (bytes / GIB));
        }
    }
    values
}

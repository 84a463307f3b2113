//! What looking at every packet for a segment size to lower costs: reading headers with and without it, interleaved in
//! one run.
//!
//! `cargo run --release -p datapath --example mss_ratio [-- --check]`; with `--check` the exit status is 1 when headers of
//! data packets take more than 1.15 times as long with it.
#![allow(clippy::print_stdout, reason = "it prints a table")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use datapath::packet::{Parsed, build, mss};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

const PACKETS: usize = 4096;
const ROUNDS: usize = 301;
const MOST: f64 = 1.15;

/// Nanoseconds a packet.
fn timed(packets: &mut [Vec<u8>], with: bool) -> f64 {
    let start = Instant::now();
    for _ in 0..PACKETS / packets.len() {
        for packet in packets.iter_mut() {
            if let Ok(parsed) = Parsed::parse(black_box(packet)) {
                if with {
                    mss::clamp(packet, &parsed, black_box(1280));
                }
                black_box(parsed);
            }
        }
    }
    start.elapsed().as_nanos() as f64 / PACKETS as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A bare TCP segment with these flags.
fn segment(flags: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let (src, dst) = ("100.64.0.1:1".parse(), "100.64.0.2:2".parse());
    if let (Ok(src), Ok(dst)) = (src, dst) {
        build::udp(&mut out, src, dst, &[0x50; 1240]).ok();
    }
    if let Some(proto) = out.get_mut(9) {
        *proto = 6;
    }
    for (at, byte) in [(32, 0x50), (33, flags)] {
        if let Some(place) = out.get_mut(at) {
            *place = byte;
        }
    }
    out
}

fn main() -> ExitCode {
    let mut worst = 0.0;
    println!("| packets | headers alone | and the segment size | ratio |\n|---|---|---|---|");
    for (name, flags) in [("data", 0x10), ("SYN without options", 0x02)] {
        let mut packets: Vec<Vec<u8>> = (0..32).map(|_| segment(flags)).collect();
        let (mut alone, mut both) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(timed(&mut packets, false));
            both.push(timed(&mut packets, true));
        }
        let (alone, both) = (median(alone), median(both));
        println!("| {name} | {alone:.2} ns | {both:.2} ns | {:.3} |", both / alone);
        if flags == 0x10 {
            worst = both / alone;
        }
    }
    let check = std::env::args().any(|arg| arg == "--check");
    if check && worst > MOST { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

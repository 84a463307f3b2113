//! Name queries: a name server that answers everything alike or nothing at all, and `dnsperf`, which asks.
//!
//! The server does next to nothing for a query, so that it is not what is measured.

use super::LOOK;
use crate::command::Outcome;
use crate::host::Host;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where Debian puts it.
pub(crate) const DNSPERF: &str = "/usr/bin/dnsperf";

/// Port of plain DNS.
const PORT: u16 = 53;

/// Bytes of a header.
const HEADER: usize = 12;

/// What `dnsperf` needs beside the time it asks for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A name server at a host, as long as it lives.
#[derive(Debug)]
pub struct NameServer {
    at: Ipv4Addr,
    ended: Arc<AtomicBool>,
    heard: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
    /// Takes streams and never reads from them.
    _streams: TcpListener,
}

impl NameServer {
    /// One that answers every query with one address.
    ///
    /// # Errors
    /// When its port cannot be had.
    pub fn quick(host: &Host) -> Result<Self> {
        Self::start(host, true)
    }

    /// One that takes queries and streams, and says nothing.
    ///
    /// # Errors
    /// When its port cannot be had.
    pub fn silent(host: &Host) -> Result<Self> {
        Self::start(host, false)
    }

    fn start(host: &Host, answers: bool) -> Result<Self> {
        let at = host.ipv4;
        let socket = host.inside(|| UdpSocket::bind((at, PORT)))??;
        let streams = host.inside(|| TcpListener::bind((at, PORT)))??;
        socket.set_read_timeout(Some(LOOK))?;
        let (ended, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (until, count) = (Arc::clone(&ended), Arc::clone(&heard));
        let thread = std::thread::spawn(move || serve(&socket, answers, &until, &count));
        Ok(Self { at, ended, heard, thread: Some(thread), _streams: streams })
    }

    /// Datagrams that have come.
    pub fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// A configuration for headscale: MagicDNS in `tail.lab`, and this server for everything else.
    pub fn tailnet(&self) -> String {
        format!(
            "dns:\n  magic_dns: true\n  base_domain: tail.lab\n  override_local_dns: true\n  nameservers:\n    \
             global: [{}]\n",
            self.at
        )
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(socket: &UdpSocket, answers: bool, ended: &AtomicBool, heard: &AtomicU32) {
    let mut room = [0; 1024];
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut room) else { continue };
        heard.fetch_add(1, Ordering::Relaxed);
        if let Some(length) = answers.then(|| answer(&mut room, length)).flatten() {
            socket.send_to(room.get(..length).unwrap_or_default(), from).ok();
        }
    }
}

/// Makes an answer of a query: a good one without EDNS, with one address. How long it is; `None` for what is no query.
fn answer(room: &mut [u8], length: usize) -> Option<usize> {
    let mut end = HEADER;
    loop {
        let label = usize::from(*room.get(end).filter(|_| end < length)?);
        end += 1 + label;
        if label == 0 {
            break;
        }
    }
    end += 4;
    let record = [0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
    room.get_mut(end..end + record.len())?.copy_from_slice(&record);
    room.get_mut(2..HEADER)?.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    Some(end + record.len())
}

/// How `dnsperf` asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// For how long.
    pub time: Duration,
    /// Queries that wait for an answer at once, at most.
    pub outstanding: u32,
    /// Queries a second, and each one's time is wanted; without it as many as there are answers.
    pub rate: Option<u32>,
}

/// What `dnsperf` found.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Queries with an answer.
    pub completed: u64,
    /// Queries without one.
    pub lost: u64,
    /// Answers a second.
    pub rate: f64,
    /// How long each answer took, in seconds, in ascending order; only at a fixed rate.
    pub times: Vec<f64>,
}

/// Asks the server at `server` for the names in a file of `dnsperf`'s: a name and a type in each line.
///
/// # Errors
/// When `dnsperf` cannot be run, or nothing was answered.
pub fn dnsperf(from: &Host, server: IpAddr, names: &Path, asking: Asking) -> Result<Asked> {
    let mut command = from.command(DNSPERF);
    command.args(["-s", &server.to_string(), "-T", "1", "-c", "8", "-t", "2", "-d"]).arg(names);
    command.args(["-l", &asking.time.as_secs().max(1).to_string(), "-q", &asking.outstanding.to_string()]);
    if let Some(rate) = asking.rate {
        command.args(["-v", "-Q", &rate.to_string()]);
    }
    let outcome = from.outcome(command, asking.time + PATIENCE).and_then(Outcome::ok)?;
    let asked = read(&outcome.stdout).with_context(|| outcome.stderr.clone())?;
    ensure!(asked.completed > 0, "nothing was answered: {}", outcome.stderr);
    Ok(asked)
}

/// Reads its report: `Queries completed:    7 (70.00%)`, and with `-v` lines like `> NOERROR name A 0.000123`.
fn read(text: &str) -> Result<Asked> {
    let field = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).with_context(|| format!("dnsperf says nothing of {name:?}"))
    };
    let mut times: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("> ")?.split_whitespace().last()?.parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    let (completed, lost) = (field("Queries completed:")? as u64, field("Queries lost:")? as u64);
    Ok(Asked { completed, lost, rate: field("Queries per second:")?, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_an_answer() {
        let mut room = [0; 64];
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01\0\0\x29";
        room[..query.len()].copy_from_slice(query);
        assert_eq!(answer(&mut room, query.len()), Some(35));
        assert_eq!(room[..12], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(room[31..35], [192, 0, 2, 1]);
        assert_eq!(answer(&mut room, 13), None);
        assert_eq!(answer(&mut [7; 20], 20), None);
    }

    #[test]
    fn reads_what_dnsperf_prints() {
        let text = "> NOERROR a.lab A 0.000300\n> NXDOMAIN b.lab A 0.000100\nStatistics:\n\n  \
                    Queries sent:         10\n  Queries completed:    7 (70.00%)\n  Queries lost:         3 (30.00%)\n\n  \
                    Queries per second:   12.5\n";
        let asked = read(text).unwrap();
        assert_eq!((asked.completed, asked.lost, asked.rate), (7, 3, 12.5));
        assert_eq!(asked.times, [0.0001, 0.0003]);
        assert!(read("Queries lost: 1").is_err());
    }
}

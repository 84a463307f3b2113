//! How far regions are over HTTPS, for networks that let no UDP through (protocol reference §4.2).
//!
//! The time runs from a request to the first line of its answer: once there and back, whatever stands between.
//! Connecting is not part of it.

use crate::connect;
use dial::{Dial, Target};
use netmap::{DerpMap, RegionId};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// Limit of each region, connecting included.
const LIMIT: Duration = Duration::from_secs(3);
/// Regions at a time: a handshake costs some 100 KB while it lasts.
const AT_ONCE: usize = 8;
/// Longest first line of an answer.
const MAX_LINE: usize = 1 << 10;

/// What came of asking a region: how far it is, or why nobody knows.
pub type Measured = Result<Duration, String>;

/// Asks the first server of each of `regions`; `told` hears of each once, in the order of the answers. `use_http`: see
/// [`crate::Options`]. Runs inside a [`tokio::task::LocalSet`].
pub async fn measure(
    dialer: &Rc<dyn Dial>,
    map: &DerpMap,
    regions: &[RegionId],
    use_http: bool,
    told: &mut dyn FnMut(RegionId, Measured),
) {
    let mut waiting = regions.iter();
    let mut running = dial::Running::default();
    loop {
        while running.len() < AT_ONCE
            && let Some(id) = waiting.next()
        {
            let servers = map.regions.get(id).map(|region| connect::servers(region, use_http));
            let Some(server) = servers.into_iter().flatten().next() else {
                told(*id, Err(format!("region {id} has no server that can be asked")));
                continue;
            };
            let (id, target, dialer) = (*id, server.target, Rc::clone(dialer));
            running.push(async move {
                let late = || Err(format!("no answer from {} within {LIMIT:?}", target.host));
                (id, timeout(LIMIT, latency(&*dialer, &target)).await.unwrap_or_else(|_| late()))
            });
        }
        match running.next().await {
            Some((id, measured)) => told(id, measured),
            None => return,
        }
    }
}

async fn latency(dialer: &dyn Dial, target: &Target) -> Measured {
    let host = &target.host;
    let failed = |error: io::Error| format!("{host}: {error}");
    let mut stream = dialer.dial(target).await.map_err(|error| error.to_string())?;
    let request = format!("GET /derp/latency-check HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let start = Instant::now();
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut line = Vec::new();
    while !line.contains(&b'\n') && line.len() < MAX_LINE {
        let mut room = [0; 256];
        match stream.read(&mut room).await.map_err(failed)? {
            0 => break,
            len => line.extend_from_slice(room.get(..len).unwrap_or_default()),
        }
    }
    let took = start.elapsed();
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\r').next().unwrap_or_default());
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(took),
        _ => Err(format!("{host} is asked how far it is and says {:?}", line.get(..80).unwrap_or(&line))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::{DerpNode, DerpRegion, FamilyAddr};
    use std::cell::RefCell;
    use std::net::IpAddr;
    use tokio::io::duplex;

    /// Servers that answer with a line each, by host; the others refuse.
    struct Servers {
        lines: Vec<(&'static str, &'static str)>,
        dialled: RefCell<Vec<(String, Vec<IpAddr>, u16)>>,
    }

    impl Dial for Servers {
        fn dial<'a>(&'a self, target: &'a Target) -> dial::LocalFuture<'a, io::Result<dial::BoxStream>> {
            self.dialled.borrow_mut().push((target.host.clone(), target.addrs.clone(), target.port));
            Box::pin(async move {
                let line = self.lines.iter().find(|(host, _)| *host == target.host);
                let (_, line) = *line.ok_or_else(|| io::Error::other(format!("{} refuses", target.host)))?;
                let (ours, mut theirs) = duplex(4096);
                tokio::task::spawn_local(async move {
                    let mut asked = vec![0; 4096];
                    let len = theirs.read(&mut asked).await.unwrap();
                    assert!(asked[..len].starts_with(b"GET /derp/latency-check HTTP/1.1\r\nHost: "));
                    theirs.write_all(line.as_bytes()).await.unwrap();
                    if line == "hangs" {
                        std::future::pending::<()>().await;
                    }
                });
                Ok(Box::new(ours) as dial::BoxStream)
            })
        }
    }

    fn region(host: &str) -> DerpRegion {
        let ipv4 = FamilyAddr::Ip([192, 0, 2, 1].into());
        let node = DerpNode { host_name: host.into(), ipv4, ..DerpNode::default() };
        DerpRegion { nodes: [node].into(), ..DerpRegion::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_and_refusals() {
        let hosts = ["fine", "denied", "gone", "silent", "hangs"];
        let regions = (1..).map(RegionId).zip(hosts.map(region));
        let mut map = DerpMap { regions: regions.collect(), ..DerpMap::default() };
        map.regions.insert(RegionId(6), DerpRegion::default());
        let lines = vec![
            ("fine", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("denied", "HTTP/1.1 403 No\r\n"),
            ("silent", ""),
            ("hangs", "hangs"),
        ];
        let servers = Rc::new(Servers { lines, dialled: RefCell::default() });
        let dialer: Rc<dyn Dial> = servers.clone();
        let mut all = std::collections::BTreeMap::new();
        let ids: Vec<_> = (1..=7).map(RegionId).collect();
        let mut told = |id: RegionId, measured| drop(all.insert(id.0, measured));
        let asking = measure(&dialer, &map, &ids, false, &mut told);
        tokio::task::LocalSet::new().run_until(asking).await;
        let text = |host: &str, line: &str| Err(format!("{host} is asked how far it is and says {line:?}"));
        let want = [
            (1, Ok(Duration::ZERO)),
            (2, text("denied", "HTTP/1.1 403 No")),
            (3, Err("gone refuses".to_owned())),
            (4, text("silent", "")),
            (5, Err("no answer from hangs within 3s".to_owned())),
            (6, Err("region 6 has no server that can be asked".to_owned())),
            (7, Err("region 7 has no server that can be asked".to_owned())),
        ];
        assert_eq!(all, want.into());
        assert_eq!(servers.dialled.borrow()[0], ("fine".to_owned(), vec!["192.0.2.1".parse().unwrap()], 443));
    }
}

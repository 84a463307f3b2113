//! How far DERP servers are over HTTPS, for networks that let no UDP through (protocol reference §4.2).

use std::rc::Rc;
use std::time::Duration;

use dial::{Dial, Target};
use localapi::types::{DerpMap, DerpNode, DerpRegion};
use netmap::{FamilyAddr, RegionId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Limit of each region, connecting included.
const LIMIT: Duration = Duration::from_secs(3);
/// Regions at a time.
const AT_ONCE: usize = 8;
/// Longest first line of an answer.
const MAX_LINE: usize = 1 << 10;

/// What came of a region: its number, and how long it took to answer or why it did not.
pub(super) type Reached = (i64, Result<Duration, String>);

/// Asks the first server of every region that may become home. Runs inside a [`tokio::task::LocalSet`].
pub(super) async fn measure(dialer: &Rc<dyn Dial>, map: &DerpMap) -> Vec<Reached> {
    let usable = map.regions.iter().filter(|(_, region)| !region.no_measure_no_home && !region.avoid);
    let mut waiting = usable.filter_map(|(id, region)| Some((*id, derp::targets(&plain(region)).next()?)));
    let mut running: JoinSet<Reached> = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((id, target)) = waiting.next()
        {
            let dialer = Rc::clone(dialer);
            running.spawn_local(async move {
                let late = || Err(format!("no answer from {} within {LIMIT:?}", target.host));
                (id, timeout(LIMIT, latency(&*dialer, &target)).await.unwrap_or_else(|_| late()))
            });
        }
        match running.join_next().await {
            Some(result) => done.extend(result),
            None => return done,
        }
    }
}

/// From the request to the first line of the answer: once there and back, whatever stands between.
async fn latency(dialer: &dyn Dial, target: &Target) -> Result<Duration, String> {
    let host = &target.host;
    let failed = |error: std::io::Error| format!("{host}: {error}");
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

/// The region as the relay client knows it.
fn plain(region: &DerpRegion) -> netmap::DerpRegion {
    netmap::DerpRegion {
        id: u16::try_from(region.region_id).map_or(RegionId::NONE, RegionId),
        nodes: region.nodes.iter().map(plain_node).collect(),
        ..netmap::DerpRegion::default()
    }
}

fn plain_node(node: &DerpNode) -> netmap::DerpNode {
    fn family<A: std::str::FromStr>(text: &str) -> FamilyAddr<A> {
        match text {
            "" => FamilyAddr::Dns,
            text => text.parse().map_or(FamilyAddr::Disabled, FamilyAddr::Ip),
        }
    }
    netmap::DerpNode {
        name: node.name.as_str().into(),
        host_name: node.host_name.as_str().into(),
        cert_name: node.cert_name.as_str().into(),
        ipv4: family(&node.ipv4),
        ipv6: family(&node.ipv6),
        stun_only: node.stun_only,
        derp_port: u16::try_from(node.derp_port).unwrap_or_default(),
        insecure_for_tests: node.insecure_for_tests,
        ..netmap::DerpNode::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;
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
                });
                Ok(Box::new(ours) as dial::BoxStream)
            })
        }
    }

    fn region(host: &str) -> DerpRegion {
        let node =
            DerpNode { host_name: host.to_owned(), ipv4: "192.0.2.1".to_owned(), ..DerpNode::default() };
        DerpRegion { nodes: vec![node], ..DerpRegion::default() }
    }

    #[test]
    fn answers_and_refusals() {
        let hosts = ["fine", "denied", "gone", "silent", "unmeasured"];
        let mut map = DerpMap { regions: (1..).zip(hosts.map(region)).collect(), ..DerpMap::default() };
        map.regions.get_mut(&5).unwrap().no_measure_no_home = true;
        let lines = vec![
            ("fine", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("denied", "HTTP/1.1 403 No\r\n"),
            ("silent", ""),
        ];
        let servers = Rc::new(Servers { lines, dialled: RefCell::default() });
        let dialer: Rc<dyn Dial> = servers.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut all = runtime.block_on(tokio::task::LocalSet::new().run_until(measure(&dialer, &map)));
        all.sort_by_key(|(id, _)| *id);
        assert!(matches!(all[0], (1, Ok(_))), "{all:?}");
        let errors: Vec<_> = all[1..].iter().map(|(id, result)| (*id, result.clone().unwrap_err())).collect();
        let text = |host: &str, line: &str| format!("{host} is asked how far it is and says {line:?}");
        assert_eq!(
            errors,
            [(2, text("denied", "HTTP/1.1 403 No")), (3, "gone refuses".to_owned()), (4, text("silent", "")),]
        );
        assert_eq!(servers.dialled.borrow()[0], ("fine".to_owned(), vec!["192.0.2.1".parse().unwrap()], 443));
    }
}

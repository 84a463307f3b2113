//! `netcheck` against STUN servers of the test's own.

// Also in functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::{Script, recorded, run, run_as};

/// A STUN server that sees everybody under the port `port`; it does not answer the first `deaf` requests. Gives its own
/// port and the number of requests so far.
fn stun(port: u16, deaf: usize) -> (u16, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = socket.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buf = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            let request = &buf[..len];
            assert_eq!((len, &request[..4], &request[24..32]), (40, &[0, 1, 0, 20][..], &b"tailnode"[..]));
            if count.fetch_add(1, Ordering::Relaxed) < deaf {
                continue;
            }
            let SocketAddr::V4(from) = from else { unreachable!() };
            let mut answer = vec![1, 1, 0, 12];
            answer.extend_from_slice(&request[4..20]);
            answer.extend_from_slice(&[0, 0x20, 0, 8, 0, 1]);
            answer.extend_from_slice(&(port ^ 0x2112).to_be_bytes());
            answer.extend(from.ip().octets().iter().zip(&request[4..8]).map(|(a, b)| a ^ b));
            socket.send_to(&answer, from).unwrap();
        }
    });
    (own, asked)
}

/// A map of regions with one server each.
fn map(ports: &[u16]) -> String {
    let region = |(at, port): (usize, &u16)| {
        let id = at + 1;
        let node = json!({ "Name": format!("{id}a"), "RegionID": id, "HostName": "relay.example", "STUNPort": port,
                           "STUNTestIP": "127.0.0.1" });
        let region = json!({ "RegionID": id, "RegionCode": format!("r{id}"), "RegionName": format!("Region {id}"),
                             "Nodes": [node] });
        (id.to_string(), region)
    };
    json!({ "Regions": ports.iter().enumerate().map(region).collect::<serde_json::Map<_, _>>() }).to_string()
}

fn script(ports: &[u16]) -> Script {
    recorded().answer("GET derpmap", 200, &map(ports))
}

fn report(script: &Script, line: &str) -> Value {
    let done = run(script, line);
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert_eq!(done.calls, ["GET derpmap"]);
    serde_json::from_str(&done.out).unwrap()
}

#[test]
fn answers_make_a_report() {
    let ((one, _), (two, asked)) = (stun(1000, 0), stun(1000, 1));
    let report = report(&script(&[one, two]), "netcheck --format=json-line");
    assert_eq!(
        (&report["UDP"], &report["IPv4"], &report["IPv4CanSend"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!((&report["IPv6"], &report["MappingVariesByDestIP"]), (&json!(false), &json!(false)));
    assert_eq!(report["GlobalV4"], "127.0.0.1:1000");
    assert!(report["GlobalV4Counters"]["127.0.0.1:1000"].as_u64() >= Some(2), "{report}");
    assert_eq!(report["RegionLatency"].as_object().unwrap().len(), 2);
    assert_ne!(report["PreferredDERP"], 0);
    // Who did not answer was asked again.
    assert!(asked.load(Ordering::Relaxed) >= 2);
}

#[test]
fn another_address_for_each_server() {
    let report = report(&script(&[stun(1000, 0).0, stun(2000, 0).0]), "netcheck --format=json");
    assert_eq!(report["MappingVariesByDestIP"], true);
    let seen = report["GlobalV4"].as_str().unwrap();
    assert!(seen == "127.0.0.1:1000" || seen == "127.0.0.1:2000", "{seen}");
}

#[test]
fn no_udp_and_no_https() {
    // Nobody listens there.
    let done = run(&script(&[1]), "netcheck --verbose");
    assert_eq!(done.status, 0);
    assert!(done.err.starts_with("netcheck: sent to 127.0.0.1:1\n"), "{}", done.err);
    assert!(
        done.err.ends_with(
            "netcheck: nothing came back over UDP; trying HTTPS\nnetcheck: no way out of a test\n"
        )
    );
    assert!(done.out.contains("\t* UDP: false\n\t* IPv4: (no addr found)\n"), "{}", done.out);
    assert!(done.out.ends_with("\t* Nearest DERP: unknown (no response to latency probes)\n"));
}

#[test]
fn again_and_again() {
    let script = script(&[stun(1000, 0).0]);
    let mut lines = Two::default();
    let status = support::run_into(
        &script,
        "netcheck --every=1ms --format=json-line --bind-address=127.0.0.1",
        &mut lines,
    );
    // The reader has gone after two of them.
    assert_eq!(status, 1);
    let reports: Vec<Value> = lines.0.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 2);
    assert!(reports[0]["Now"].as_str() < reports[1]["Now"].as_str());
}

/// Takes two writes.
#[derive(Default)]
struct Two(Vec<String>);

impl std::io::Write for Two {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() == 2 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn mistakes() {
    let script = script(&[]);
    for (line, text) in [
        ("netcheck --format=xml", "unknown output format \"xml\": it is \"json\", \"json-line\" or empty\n"),
        ("netcheck --bind-port=65536", "invalid bind port number: 65536\n"),
        ("netcheck --bind-address=here", "invalid bind address: \"here\"\n"),
        ("netcheck", "netcheck: tailscaled knows no DERP servers yet; log in first\n"),
        ("netcheck now", "too many non-flag arguments: [\"now\"]\n"),
    ] {
        let done = run(&script, line);
        assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (1, "", text), "{line}");
    }
    let logged_out = recorded().answer("GET derpmap", 200, "null\n");
    assert_eq!(run(&logged_out, "netcheck").status, 1);
    let bind = |env: &mut cli::Env| env.vars.push(("TS_DEBUG_NETCHECK_UDP_BIND".to_owned(), "x".to_owned()));
    let done = run_as(&script, "netcheck", bind);
    assert_eq!(done.err, "TS_DEBUG_NETCHECK_UDP_BIND: \"x\" is no ip:port\n");
}

//! The LocalAPI of both daemons, asked side by side: status, type and body of what both can answer; and what the command
//! lines find out by it. Differences that are meant stand in `docs/compatibility.md`.

use anyhow::{Context, Result, ensure};
use blackbox::local_api::{self, Answer};
use blackbox::{EVERYTHING, Local, joined, scenario};
use lab::{Flavour, Need};
use serde_json::Value;
use std::time::Duration;
use testcontrol::{Options, Server};

/// What a comparison on the loopback of one host needs. What ships has no `debug`, Go's own has.
const LOCAL: &[Need] = &[Need::Namespaces, Need::Go, Need::OursDebug];

/// Requests that both daemons answer alike in every state of a node.
const ALWAYS: &str = "
    GET status?peers=false | POST prefs | HEAD prefs | PATCH prefs | GET check-prefs | POST check-prefs
    POST check-prefs {} | GET start | POST start | GET login-interactive | GET logout
    GET watch-ipn-bus?mask=x | GET watch-ipn-bus?mask=-1
    PATCH profiles/ | GET profiles | POST profiles/current | DELETE profiles/current | GET profiles/none
    POST profiles/none | DELETE profiles/none | PATCH profiles/none
    GET ping | POST ping | POST ping?ip=x | POST ping?ip=100.64.0.99 | POST ping?ip=100.64.0.99&type=TSMP
    POST ping?ip=100.64.0.99&type=TSMP&size=50 | POST ping?ip=100.64.0.99&type=disco&size=x
    GET whois | GET whois?addr=x | GET whois?addr=100.64.0.99 | POST whois?addr=100.64.0.99:80&proto=udp
    GET derpmap | POST derpmap | GET dns-config | POST dns-config
    GET check-ip-forwarding | POST check-ip-forwarding | GET check-udp-gro-forwarding | GET check-so-mark-in-use
    GET services | POST services | GET peer-by-id | GET peer-by-id?id=x | GET peer-by-id?id=99 | GET user-profile?id=x
    GET user-profile?id=999 | GET cert-domains
    GET upload-client-metrics | POST upload-client-metrics | POST upload-client-metrics []
    GET bugreport | GET debug | POST debug | POST debug?action=none | POST debug?action=restun | POST debug?action=rebind
    POST debug?action=break-derp-conns | POST debug?action=peer-relay-servers
    GET disconnect-control | GET reload-config | POST reload-config | GET reset-auth
    GET set-expiry-sooner | POST set-expiry-sooner | POST set-expiry-sooner?expiry=x | GET shutdown
    GET update/check | POST update/check | GET serve-config | PUT serve-config | GET none | GET /localapi/ | GET /localapi/v1/status
";

/// These only while there is no network map, or only with one.
const LOGGED_OUT: &str = "GET prefs | POST debug?action=current-netmap | POST debug?action=peer-disco-keys";
const JOINED: &str = "GET user-profile?id=1 | GET dns-config | GET derpmap";

/// Asks without what tells two nodes apart.
fn ask(node: &Local, request: &str) -> Result<Answer> {
    let answer = local_api::ask(&node.dir().join("socket"), request)?;
    Ok(Answer { body: plain(&answer.body), ..answer })
}

/// Without what tells two nodes apart.
fn plain(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    fn blank(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let own = [
                        "Version",
                        "HostName",
                        "PublicKey",
                        "ID",
                        "NodeID",
                        "DNSName",
                        "Addrs",
                        "PeerAPIURL",
                        "Created",
                    ];
                    if own.contains(&name.as_str()) || name.starts_with("TailscaleIP") || name == "AllowedIPs"
                    {
                        *field = Value::Null;
                    }
                    blank(field);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(blank),
            _ => {}
        }
    }
    blank(&mut value);
    format!("{value:#}{}", if body.ends_with('\n') { "\n" } else { "" })
}

fn compare(go: &Local, ours: &Local, requests: &str, when: &str) -> Result<()> {
    let mut differences = Vec::new();
    for request in requests.split(['|', '\n']).map(str::trim).filter(|request| !request.is_empty()) {
        let (theirs, own) = (ask(go, request)?, ask(ours, request)?);
        if theirs != own {
            differences.push(format!("{request}\n    Go {theirs:?}\n  ours {own:?}"));
        }
    }
    ensure!(differences.is_empty(), "{when}: {} differences:\n{}", differences.len(), differences.join("\n"));
    Ok(())
}

fn join(node: &Local, server: &Server) -> Result<()> {
    let url = format!("--login-server={}", server.url());
    node.said(&["up", &url, "--auth-key=tskey-auth-test", "--hostname=same", "--timeout=30s"]).map(drop)
}

#[test]
fn both_daemons_answer_alike() {
    scenario(LOCAL, |lab| lab.host("all")?.inside(answers)?);
}

fn answers() -> Result<()> {
    let server = Server::start(Options::default())?;
    let (go, ours) = (Local::start(Flavour::Go)?, Local::start(Flavour::OursDebug)?);
    for node in [&go, &ours] {
        lab::until("the daemon to need a login", Duration::from_secs(20), || {
            Ok(ask(node, "GET status?peers=false")?.body.contains("NeedsLogin").then_some(()))
        })?;
    }
    compare(&go, &ours, ALWAYS, "logged out")?;
    compare(&go, &ours, LOGGED_OUT, "logged out")?;
    join(&go, &server)?;
    join(&ours, &server)?;
    compare(&go, &ours, ALWAYS, "joined")?;
    compare(&go, &ours, JOINED, "joined")?;
    // Without the part there is no endpoint, whatever the method.
    for request in ["GET dial", "PUT usermetrics"] {
        let answer = ask(&ours, request)?;
        ensure!(
            (answer.status.as_str(), answer.body.as_str()) == ("404", "404 page not found\n"),
            "{request}: {answer:?}"
        );
    }
    let marker = ours.said(&["bugreport", "a note"])?;
    ensure!(marker.starts_with("BUG-NO-LOGS-NO-SUPPORT-"), "{marker}");
    Ok(())
}

#[test]
fn both_command_lines_look_at_the_network_alike() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        for daemon in [Flavour::Go, Flavour::Ours] {
            let node = joined(lab, &headscale, if daemon == Flavour::Go { "go" } else { "ours" }, daemon)?;
            node.host.unblock_udp()?;
            let look = |cli| -> Result<Value> {
                let mut command = node.cli_command(cli, &["netcheck", "--format=json-line"]);
                // The relay's certificate is the lab's own.
                command.envs(node.environment.iter().map(|(name, value)| (name, value)));
                let outcome = node.host.outcome(command, Duration::from_secs(30))?.ok()?;
                serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON: {outcome}"))
            };
            let (theirs, own) = (look(Flavour::Go)?, look(Flavour::Ours)?);
            let members = |value: &Value| -> Vec<String> {
                value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
            };
            ensure!(members(&theirs) == members(&own), "Go {theirs}\n ours {own}");
            for name in [
                "UDP",
                "IPv4",
                "IPv4CanSend",
                "IPv6",
                "IPv6CanSend",
                "OSHasIPv6",
                "MappingVariesByDestIP",
                "PreferredDERP",
            ] {
                ensure!(theirs[name] == own[name], "{name}: Go {theirs}\n ours {own}");
            }
            ensure!(own["UDP"] == true && own["PreferredDERP"] == 999, "{own}");
            let regions = |report: &Value| members(&report["RegionLatency"]);
            ensure!(regions(&theirs) == ["999"] && regions(&own) == ["999"], "Go {theirs}\n ours {own}");
            let text = node.tailscale_of(Flavour::Ours, &["netcheck"])?.ok()?.stdout;
            ensure!(text.contains("\t* UDP: true\n") && text.contains("\t* Nearest DERP: "), "{text}");

            node.host.block_udp()?;
            let own = look(Flavour::Ours)?;
            ensure!(own["UDP"] == false && own["PreferredDERP"] == 999, "without UDP: {own}");
            ensure!(
                regions(&own) == ["999"] && own["RegionV4Latency"] == serde_json::json!({}),
                "without UDP: {own}"
            );
        }
        Ok(())
    });
}

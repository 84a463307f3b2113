//! `dns`: what this node makes of names, and whom it asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gojson::{Indent, Map, to_go_json};
use localapi::types::{DnsConfig, Resolver};

use super::{Run, lacking, no_words};
use crate::args::{Command, Flag, Matches, quote_list, switch};
use crate::render::dns::{self, Answer, Query, Record, Status, System, Tailnet, Upstream};
use crate::render::dns_message::Message;
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "dns",
    usage: "tailscale dns status [--all] [--json]\n  tailscale dns query [--json] <name> [type]",
    about: "Show how names are resolved, and ask for one",
    commands: &[&STATUS, &QUERY],
    ..Command::PLAIN
};

static STATUS: Command = Command {
    name: "status",
    usage: "tailscale dns status [--all] [--json]",
    about: "Show the DNS settings of the tailnet and of this machine",
    flags: &[&[switch("all", false, "also what is rarely set"), JSON]],
    run: Some(status),
    ..Command::PLAIN
};

static QUERY: Command = Command {
    name: "query",
    usage: "tailscale dns query [--json] <name> [type]",
    about: "Ask this node for a name, as a program on this machine would ask 100.100.100.100",
    flags: &[&[JSON]],
    run: Some(query),
    ..Command::PLAIN
};

const JSON: Flag = switch("json", false, "print JSON");

fn status(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let own = run.own_status()?;
    let mut shown = Status { tailscale_dns: run.prefs()?.corp_dns, ..Status::default() };
    if let Some(tailnet) = own.current_tailnet {
        shown.tailnet = Some(Tailnet {
            magic: tailnet.magic_dns_enabled,
            suffix: tailnet.magic_dns_suffix,
            own_name: own.self_.map(|node| node.dns_name).unwrap_or_default(),
        });
        let config = run
            .wait(run.client.dns_config())
            .map_err(|error| Stop::Error(format!("failed to fetch DNS config: {error}")))?;
        fill(&mut shown, config);
        match run.wait(run.client.dns_os_config()) {
            Ok(os) => {
                shown.system = Some(System {
                    nameservers: os.nameservers,
                    search_domains: os.search_domains,
                    match_domains: os.match_domains,
                });
            }
            Err(error) => {
                // The words of a daemon that leaves the machine's resolver alone; Go's command line tells it so, too.
                let text = error.to_string();
                let never = text.contains("not supported");
                shown.system_error = if never { "not supported on this platform".to_owned() } else { text };
            }
        }
    }
    match matches.on("json") {
        true => run.console.say_json(&(to_go_json(&shown, Indent::TwoSpaces) + "\n")),
        false => run.console.say(&dns::status(&shown, matches.on("all"))),
    }
    Ok(())
}

/// What the tailnet says.
fn fill(shown: &mut Status, config: DnsConfig) {
    let mut domains = config.domains;
    domains.sort_unstable();
    shown.resolvers = upstreams(config.resolvers);
    // Suffixes that this node answers itself are no routes to anybody.
    let routes = config.routes.into_iter().filter_map(|(suffix, list)| Some((suffix, upstreams(list?))));
    shown.routes = Some(routes.filter(|(_, list)| !list.is_empty()).collect::<Map<_, _>>());
    shown.fallback = upstreams(config.fallback_resolvers);
    shown.search = domains;
    shown.nameservers = config.nameservers.iter().map(ToString::to_string).collect();
    shown.cert_domains = config.cert_domains;
    shown.records = config
        .extra_records
        .into_iter()
        .map(|record| Record { name: record.name, kind: record.kind, value: record.value })
        .collect();
    shown.excepted = config.exit_node_filtered_set;
}

fn upstreams(resolvers: Vec<Resolver>) -> Vec<Upstream> {
    let one = |resolver: Resolver| Upstream {
        addr: resolver.addr,
        bootstrap: resolver.bootstrap_resolution.iter().map(ToString::to_string).collect(),
    };
    resolvers.into_iter().map(one).collect()
}

fn query(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let rest = matches.rest();
    let (name, kind) = match rest.as_slice() {
        [] => return Err(Stop::from("missing required argument: name")),
        [_, words @ ..] if words.iter().any(|word| word.starts_with('-')) => {
            let flags: Vec<&str> =
                words.iter().map(AsRef::as_ref).filter(|word: &&str| word.starts_with('-')).collect();
            let flags = flags.join(", ");
            return Err(Stop::Error(format!(
                "unexpected flags after query name: {flags}; put them before the name"
            )));
        }
        [name] => (name, "A".to_owned()),
        [name, kind] => (name, kind.to_uppercase()),
        [_, _, words @ ..] => {
            return Err(Stop::Error(format!("unexpected extra arguments: {}", quote_list(words))));
        }
    };
    let answer = run.wait(run.client.dns_query(name, &kind)).map_err(|error| match lacking(error) {
        Stop::Error(text) => Stop::Error(format!("failed to query DNS: {text}")),
        other => other,
    })?;
    let bytes = STANDARD.decode(answer.bytes.unwrap_or_default()).unwrap_or_default();
    let Some(message) = Message::read(&bytes) else {
        return Err(Stop::from("failed to parse DNS response: it is cut off or damaged"));
    };
    let shown = Query {
        name: (*name).to_owned(),
        kind,
        resolvers: upstreams(answer.resolvers),
        code: message.code(),
        answers: message.answers.map(|all| all.into_iter().map(Answer::from).collect()),
    };
    match matches.on("json") {
        true => run.console.say_json(&(to_go_json(&shown, Indent::TwoSpaces) + "\n")),
        false => run.console.say(&dns::query(&shown)),
    }
    Ok(())
}

//! `exit-node`: which nodes offer to be one, and which of them suits best.

use localapi::types::{Location, PeerStatus, Time};

use super::{Run, lacking, no_words};
use crate::args::{Command, Flag, Matches, quote, text};
use crate::render::{status, table::Table};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "exit-node",
    usage: "tailscale exit-node list [--filter=<country>]\n  tailscale exit-node suggest",
    about: "Show the nodes that carry traffic to the internet for others",
    commands: &[&LIST, &SUGGEST],
    ..Command::PLAIN
};

static LIST: Command = Command {
    name: "list",
    usage: "tailscale exit-node list [--filter=<country>]",
    about: "List exit nodes, of each city the one that is preferred",
    flags: &[FLAGS],
    run: Some(list),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[text("filter", "", "list all exit nodes of this country")];

static SUGGEST: Command = Command {
    name: "suggest",
    usage: "tailscale exit-node suggest",
    about: "Name the exit node that suits best from here",
    run: Some(suggest),
    ..Command::PLAIN
};

/// Columns as wide as Go's.
const COLUMNS: Table = Table { min_width: 10, padding: 5 };

fn list(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let all = run.status()?;
    let mut nodes: Vec<&PeerStatus> = all.peer.values().filter(|node| node.exit_node_option).collect();
    if nodes.is_empty() {
        return Err(Stop::from("no exit nodes found"));
    }
    let filter = matches.word("filter");
    nodes.retain(|node| filter.is_empty() || place(node).0.eq_ignore_ascii_case(filter));
    if nodes.is_empty() {
        return Err(Stop::Error(format!("no exit nodes found for {}", quote(filter))));
    }
    let now = Time::from_unix(run.env.seconds());
    run.console.say(&listed(nodes, filter.is_empty(), now));
    Ok(())
}

/// Country and city, as far as they are known.
fn place(node: &PeerStatus) -> (&str, &str) {
    node.location.as_ref().map_or(("", ""), |place| (place.country.as_str(), place.city.as_str()))
}

fn priority(node: &PeerStatus) -> i64 {
    node.location.as_ref().map_or(0, |place: &Location| place.priority)
}

/// The table by country, city and name. With `short`, of each city only the preferred
/// node and the one in use.
fn listed(mut nodes: Vec<&PeerStatus>, short: bool, now: Time) -> String {
    nodes.sort_by(|a, b| (place(a), -priority(a), &a.dns_name).cmp(&(place(b), -priority(b), &b.dns_name)));
    let mut rows = "IP\tHOSTNAME\tCOUNTRY\tCITY\tSTATUS\t\n".to_owned();
    let mut last = None;
    for node in nodes {
        let (country, city) = place(node);
        let again = last == Some((country, city)) && !city.is_empty();
        last = Some((country, city));
        if short && again && !node.exit_node {
            continue;
        }
        let ip = node.tailscale_ips.first().map(ToString::to_string).unwrap_or_default();
        let known = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let name = node.dns_name.trim_matches('.');
        let state = status::exit_state(node, now);
        rows.push_str(&format!("{ip}\t{name}\t{}\t{}\t{state}\t\n", known(country), known(city)));
    }
    let hints = "\n# All exit nodes of a country: tailscale exit-node list --filter=<country>\n\
                 # To use one: tailscale set --exit-node=<IP or hostname>\n";
    format!("\n{}{hints}", COLUMNS.layout(&rows))
}

fn suggest(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let best = run.wait(run.client.suggest_exit_node()).map_err(lacking)?;
    let text = if best.id.is_empty() {
        "No exit node suggestion is available.\n".to_owned()
    } else {
        let name = best.name.trim_end_matches('.');
        format!("Suggested exit node: {name}\nTo use it: tailscale set --exit-node={name}\n")
    };
    run.console.say(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ip: &str, name: &str, country: &str, city: &str, priority: i64) -> PeerStatus {
        let location = (!country.is_empty()).then(|| Location {
            country: country.to_owned(),
            city: city.to_owned(),
            priority,
            ..Location::default()
        });
        PeerStatus {
            tailscale_ips: vec![ip.parse().expect("ip")],
            dns_name: format!("{name}.example.ts.net."),
            online: true,
            exit_node_option: true,
            location,
            ..PeerStatus::default()
        }
    }

    #[test]
    fn of_each_city_the_preferred_one() {
        let used = PeerStatus { exit_node: true, ..node("100.64.0.3", "third", "Sweden", "Malmo", 1) };
        let all = [
            node("100.64.0.1", "first", "Sweden", "Malmo", 10),
            node("100.64.0.2", "second", "Sweden", "Malmo", 5),
            used,
            PeerStatus { online: false, ..node("100.64.0.4", "fourth", "Austria", "Graz", 0) },
            node("100.64.0.5", "home", "", "", 0),
            node("100.64.0.6", "office", "", "", 0),
        ];
        let names = |short: bool| {
            let text = listed(all.iter().collect(), short, Time::default());
            let rows = text.lines().skip(2).take_while(|row| !row.is_empty());
            rows.map(|row| {
                row.split_whitespace().nth(1).unwrap_or("").split('.').next().unwrap_or("").to_owned()
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["home", "office", "fourth", "first", "third"]);
        assert_eq!(names(false), ["home", "office", "fourth", "first", "second", "third"]);
        let text = listed(all.iter().collect(), true, Time::default());
        let row = |name: &str| text.lines().find(|row| row.contains(name)).expect("a row").trim_end();
        assert!(row("third").ends_with("selected") && row("fourth").ends_with("offline"), "{text}");
        assert!(row("home").ends_with('-') && row("first").contains("Sweden"), "{text}");
    }
}

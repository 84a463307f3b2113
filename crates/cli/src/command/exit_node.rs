//! `exit-node`: which nodes offer to be one, and which of them suits best.

use std::cmp::Reverse;

use localapi::types::{Location, PeerStatus, Time};

use super::{Run, lacking, no_words};
use crate::args::{Command, Flag, Matches, quote, shell_quote, text};
use crate::render::{plain::cell, status, table::Table};
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
    let suggested = nodes.iter().any(|node| has(node, SUGGESTED));
    let filter = matches.word("filter");
    nodes.retain(|node| filter.is_empty() || place(node).country.eq_ignore_ascii_case(filter));
    if nodes.is_empty() {
        return Err(Stop::Error(format!("no exit nodes found for {}", quote(filter))));
    }
    let now = Time::from_unix(run.env.seconds());
    run.console.say(&listed(nodes, filter.is_empty(), now));
    run.console.say(HINTS);
    if suggested {
        run.console.say(SUGGEST_HINT);
    }
    Ok(())
}

/// What control gives a node that may be suggested.
const SUGGESTED: &str = "suggest-exit-node";

fn has(node: &PeerStatus, name: &str) -> bool {
    node.cap_map.contains_key(name) || node.capabilities.iter().any(|known| known == name)
}

const HINTS: &str = "\n# All exit nodes of a country: tailscale exit-node list --filter=<country>\n\
                     # To use one: tailscale set --exit-node=<IP or hostname>\n";

const SUGGEST_HINT: &str = "# To have one suggested: tailscale exit-node suggest\n";

/// The place of a node of which none is known.
static NOWHERE: Location = Location {
    country: String::new(),
    country_code: String::new(),
    city: String::new(),
    city_code: String::new(),
    latitude: 0.0,
    longitude: 0.0,
    priority: 0,
};

/// Where a node is, as far as that is known.
fn place(node: &PeerStatus) -> &Location {
    node.location.as_ref().unwrap_or(&NOWHERE)
}

/// The exit nodes of one country, by city.
struct Country<'a> {
    place: &'a Location,
    cities: Vec<Vec<&'a PeerStatus>>,
}

/// The table by country, city, priority and name, as Go's. With `short`, of each city only the preferred node and the
/// one in use. A country of several cities begins with its preferred node, in the city `Any`.
fn listed(mut nodes: Vec<&PeerStatus>, short: bool, now: Time) -> String {
    nodes.sort_by(|a, b| a.dns_name.cmp(&b.dns_name));
    let mut countries: Vec<Country<'_>> = Vec::new();
    for node in nodes {
        let place = place(node);
        let known = countries.iter().position(|country| country.place.country_code == place.country_code);
        let at = known.unwrap_or(countries.len());
        if known.is_none() {
            countries.push(Country { place, cities: Vec::new() });
        }
        let Some(country) = countries.get_mut(at) else { continue };
        match country.cities.iter_mut().find(|city| city_of(city).city_code == place.city_code) {
            Some(city) => city.push(node),
            None => country.cities.push(vec![node]),
        }
    }
    countries.sort_by(|a, b| a.place.country.cmp(&b.place.country));
    let mut rows = "\n IP\tHOSTNAME\tCOUNTRY\tCITY\tSTATUS\t\n".to_owned();
    let mut row = |node: &PeerStatus, country: &str, city: &str| {
        let ip = node.tailscale_ips.first().map(ToString::to_string).unwrap_or_default();
        let known = |text: &str| if text.is_empty() { "-".to_owned() } else { cell(text).into_owned() };
        let name = cell(node.dns_name.trim_matches('.'));
        let state = status::exit_state(node, now);
        rows.push_str(&format!(" {ip}\t{name}\t{}\t{}\t{state}\t\n", known(country), known(city)));
    };
    for Country { place: country, mut cities } in countries {
        let named = !country.country.is_empty();
        if named {
            cities.iter_mut().for_each(|city| city.sort_by_key(|node| Reverse(place(node).priority)));
            let mut all: Vec<&PeerStatus> = cities.concat();
            all.sort_by_key(|node| Reverse(place(node).priority));
            cities.sort_by(|a, b| city_of(a).city.cmp(&city_of(b).city));
            if let Some(best) = all.first().filter(|_| cities.len() > 1) {
                row(best, &country.country, "Any");
            }
        }
        for city in &cities {
            for (at, node) in city.iter().enumerate() {
                if at == 0 || node.exit_node || !(short && named) {
                    row(node, &country.country, &city_of(city).city);
                }
            }
        }
    }
    COLUMNS.layout(&rows)
}

/// Where the nodes of a city are.
fn city_of<'a>(nodes: &[&'a PeerStatus]) -> &'a Location {
    nodes.first().map_or(&NOWHERE, |node| place(node))
}

fn suggest(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let best = run.wait(run.client.suggest_exit_node()).map_err(lacking)?;
    let text = if best.id.is_empty() {
        "No exit node suggestion is available.\n".to_owned()
    } else {
        let name = best.name;
        let word = shell_quote(&name);
        format!("Suggested exit node: {name}\nTo use it: tailscale set --exit-node={word}\n")
    };
    run.console.say(&text);
    Ok(())
}

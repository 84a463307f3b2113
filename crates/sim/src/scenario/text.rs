//! The text form of scenarios, both ways.

use super::{Actor, Scenario, Step};
use crate::net::{Behaviour, Dependence, Firewall, INTERNET, Plan, SiteIx};
use netmap::RegionId;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scenario = Self::default();
        for (n, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            scenario.read(&words).map_err(|error| format!("line {}: {error}: {line}", n + 1))?;
        }
        Ok(scenario)
    }
}

impl Scenario {
    fn read(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] => {}
            ["site", name, rest @ ..] => self.read_site(name, rest)?,
            ["region", number] => self.regions.push(region(number)?),
            ["node", name, "at", sites, rest @ ..] => {
                let sites = self.sites(sites)?;
                let mut actor = Actor { name: (*name).into(), sites, mapped: false, home: RegionId(1) };
                let mut rest = rest.iter();
                while let Some(word) = rest.next() {
                    match *word {
                        "mapped" => actor.mapped = true,
                        "region" => actor.home = region(rest.next().ok_or("which region?")?)?,
                        _ => return Err(format!("a node has no {word}")),
                    }
                }
                self.actors.push(actor);
            }
            ["at", when, rest @ ..] => {
                let at: f64 = when.parse().map_err(|_| format!("{when}: seconds, as in 1.5"))?;
                let step = self.read_step(rest)?;
                self.steps.push((Duration::from_millis((at * 1000.0).round() as u64), step));
            }
            _ => return Err("site, region, node or at".into()),
        }
        Ok(())
    }

    fn read_site(&mut self, name: &str, words: &[&str]) -> Result<(), String> {
        let (mut parent, mut nat, mut v6, mut udp, mut lan) = (INTERNET, None, None, true, None);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let next = words.get(at).copied();
            match (*word, next) {
                ("below", Some(site)) => parent = self.site(site)?,
                ("v6", Some(kind)) => v6 = Some(firewall(kind)?),
                ("lan", Some(number)) => lan = Some(number.parse().map_err(|_| "lan 0 to 255")?),
                ("no-udp", _) => {
                    udp = false;
                    continue;
                }
                ("nat", _) => {
                    let end = words[at..].iter().position(|w| ["v6", "no-udp", "lan"].contains(w));
                    let end = end.map_or(words.len(), |n| at + n);
                    nat = Some(Behaviour::parse(&words[at..end])?);
                    at = end;
                    continue;
                }
                _ => return Err(format!("a site has no {word}")),
            }
            at += 1;
        }
        let site = self.plan.add_site(name, parent, nat, v6);
        self.plan.sites[site.0].udp = udp;
        if let (Some(number), Some(v4)) = (lan, &mut self.plan.sites[site.0].v4) {
            v4.lan = [192, 168, number];
        }
        Ok(())
    }

    fn read_step(&self, words: &[&str]) -> Result<Step, String> {
        Ok(match words {
            ["talk", a, b] => Step::Talk(self.actor(a)?, self.actor(b)?),
            ["hush", a, b] => Step::Hush(self.actor(a)?, self.actor(b)?),
            ["move", node, sites] => Step::Move(self.actor(node)?, self.sites(sites)?),
            ["udp", site, state] => Step::Udp(self.site(site)?, on(state)?),
            ["region", number, state] => Step::Region(region(number)?, on(state)?),
            ["restart", node] => Step::Restart(self.actor(node)?),
            ["renew", site] => Step::Renew(self.site(site)?),
            ["sleep", node] => Step::Awake(self.actor(node)?, false),
            ["wake", node] => Step::Awake(self.actor(node)?, true),
            ["control", state] => Step::Control(on(state)?),
            ["lag", ms] => Step::Lag(Duration::from_millis(ms.parse().map_err(|_| "milliseconds")?)),
            ["clock", node, secs] => {
                Step::Clock(self.actor(node)?, secs.parse().map_err(|_| "whole seconds")?)
            }
            ["link", rest @ ..] => {
                let value = |name: &str| {
                    let found = rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                    found.map_or(Ok(0), |text| text.parse().map_err(|_| format!("{name}=?")))
                };
                let (loss, jitter) = (value("loss")?, value("jitter")?);
                Step::Link { loss, jitter, late: value("late")?, twice: value("twice")? }
            }
            _ => return Err("no such step".into()),
        })
    }

    fn site(&self, name: &str) -> Result<SiteIx, String> {
        self.plan.find(name).ok_or_else(|| format!("no site {name}"))
    }

    fn sites(&self, names: &str) -> Result<Vec<SiteIx>, String> {
        names.split(',').map(|name| self.site(name)).collect()
    }

    fn actor(&self, name: &str) -> Result<usize, String> {
        self.actors.iter().position(|actor| actor.name == name).ok_or_else(|| format!("no node {name}"))
    }
}

fn region(number: &str) -> Result<RegionId, String> {
    number.parse().map(RegionId).map_err(|_| format!("{number}: the number of a region"))
}

fn on(word: &str) -> Result<bool, String> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{word}: on or off")),
    }
}

fn firewall(word: &str) -> Result<Firewall, String> {
    let by = |filtering| Firewall { filtering: Some(filtering), ..Firewall::CLOSED };
    match word {
        "open" => Ok(Firewall::OPEN),
        "closed" | "port" => Ok(Firewall::CLOSED),
        "any" => Ok(by(Dependence::Endpoint)),
        "address" => Ok(by(Dependence::Address)),
        _ => Err(format!("no firewall is {word}")),
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Plan::default();
        for (n, site) in self.plan.sites.iter().enumerate().skip(plain.sites.len()) {
            write!(f, "site {}", site.name)?;
            if site.parent != INTERNET {
                write!(f, " below {}", self.plan.site(site.parent).name)?;
            }
            if let Some(v4) = &site.v4 {
                write!(f, " nat {}", v4.nat)?;
                if v4.lan[2] != n as u8 {
                    write!(f, " lan {}", v4.lan[2])?;
                }
            }
            match site.v6 {
                None => {}
                Some(Firewall { filtering: None, .. }) => f.write_str(" v6 open")?,
                Some(Firewall { filtering: Some(by), .. }) => write!(f, " v6 {by}")?,
            }
            writeln!(f, "{}", if site.udp { "" } else { " no-udp" })?;
        }
        self.regions.iter().try_for_each(|region| writeln!(f, "region {region}"))?;
        for actor in &self.actors {
            write!(f, "node {} at {}", actor.name, self.names(&actor.sites))?;
            if actor.home != RegionId(1) {
                write!(f, " region {}", actor.home)?;
            }
            writeln!(f, "{}", if actor.mapped { " mapped" } else { "" })?;
        }
        for (at, step) in &self.steps {
            writeln!(f, "at {} {}", at.as_millis() as f64 / 1000.0, self.show(step))?;
        }
        Ok(())
    }
}

impl Scenario {
    fn names(&self, sites: &[SiteIx]) -> String {
        sites.iter().map(|site| self.plan.site(*site).name.as_str()).collect::<Vec<_>>().join(",")
    }

    /// A step as a line.
    pub(super) fn show(&self, step: &Step) -> String {
        let name = |n: &usize| self.actors[*n].name.as_str();
        let place = |site: &SiteIx| self.plan.site(*site).name.as_str();
        let state = |on: &bool| if *on { "on" } else { "off" };
        match step {
            Step::Talk(a, b) => format!("talk {} {}", name(a), name(b)),
            Step::Hush(a, b) => format!("hush {} {}", name(a), name(b)),
            Step::Move(node, sites) => format!("move {} {}", name(node), self.names(sites)),
            Step::Udp(site, on) => format!("udp {} {}", place(site), state(on)),
            Step::Region(region, on) => format!("region {region} {}", state(on)),
            Step::Restart(node) => format!("restart {}", name(node)),
            Step::Renew(site) => format!("renew {}", place(site)),
            Step::Awake(node, awake) => format!("{} {}", if *awake { "wake" } else { "sleep" }, name(node)),
            Step::Control(on) => format!("control {}", state(on)),
            Step::Lag(lag) => format!("lag {}", lag.as_millis()),
            Step::Clock(node, secs) => format!("clock {} {secs}", name(node)),
            Step::Link { loss, jitter, late, twice } => {
                format!("link loss={loss} jitter={jitter} late={late} twice={twice}")
            }
        }
    }
}

//! One story: a random network, things that happen in it, and calm in the end.

use netmap::RegionId;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sim::net::{Behaviour, Dependence, Firewall, INTERNET, Plan, Ports, SiteIx};
use sim::scenario::Actor;
use sim::{Scenario, Stage, Step};
use std::time::Duration;

/// Things that happen in one story.
const STEPS: u32 = 25;
/// After the world has calmed down a pair must be as it can be within this: what NATs remember of before lasts 30 s, and
/// knocks are up to five seconds apart.
const PATIENCE: Duration = Duration::from_secs(45);

struct Dice(ChaCha8Rng);

impl Dice {
    /// Below `n`.
    fn roll(&mut self, n: u32) -> u32 {
        self.0.next_u32() % n
    }

    /// Once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.roll(n) == 0
    }

    fn kind(&mut self) -> Dependence {
        Dependence::ALL[self.roll(3) as usize]
    }

    fn site(&mut self, plan: &Plan) -> SiteIx {
        SiteIx(self.roll(plan.sites.len() as u32) as usize)
    }
}

fn plan(dice: &mut Dice) -> Plan {
    let mut plan = Plan::default();
    for name in ["p", "q", "r", "s"].into_iter().take(2 + dice.roll(3) as usize) {
        let parent = if dice.once_in(4) { dice.site(&plan) } else { INTERNET };
        let nat = match dice.roll(4) {
            0 => Behaviour::EASY,
            1 => Behaviour::HARD,
            _ => Behaviour::new(dice.kind(), dice.kind()),
        };
        let ports = if dice.once_in(3) { Ports::Kept } else { nat.ports };
        let lifetime = Duration::from_secs(if dice.once_in(3) { 120 } else { 30 });
        let nat = Behaviour { ports, lifetime, hairpin: dice.once_in(3), ..nat };
        let v6 = match dice.roll(8) {
            0 => Some(Firewall { filtering: Some(dice.kind()), ..Firewall::CLOSED }),
            1 => Some(Firewall::OPEN),
            _ => None,
        };
        plan.add_site(name, parent, Some(nat), v6);
    }
    plan
}

/// The scenario of a seed.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed ^ 0xd15c0));
    let plan = plan(&mut dice);
    let mut actors: Vec<Actor> = Vec::new();
    for name in ["a", "b", "c"].into_iter().take(2 + usize::from(dice.once_in(3))) {
        let sites = sites(&mut dice, &plan);
        let mapped = sites[0] != INTERNET && dice.once_in(6);
        actors.push(Actor { name: name.into(), sites, mapped, home: RegionId(1 + dice.roll(2) as u16) });
    }
    let mut scenario = Scenario { plan, regions: vec![RegionId(2)], actors, steps: Vec::new() };
    let mut at = Duration::from_secs(1);
    let mut blocked = None;
    for _ in 0..STEPS {
        let step = step(&mut dice, &scenario, &mut blocked);
        scenario.steps.push((at, step));
        at += Duration::from_millis(u64::from(match dice.roll(8) {
            0 => dice.roll(60_000),
            1..3 => dice.roll(15_000),
            _ => dice.roll(3000),
        }));
    }
    // What a person would undo is undone, so that most stories end in a network where something is possible.
    if let Some(site) = blocked
        && !dice.once_in(4)
    {
        scenario.steps.push((at, Step::Udp(site, true)));
    }
    scenario
}

fn sites(dice: &mut Dice, plan: &Plan) -> Vec<SiteIx> {
    let first = dice.site(plan);
    let second = dice.site(plan);
    if dice.once_in(6) && first != second { vec![first, second] } else { vec![first] }
}

fn step(dice: &mut Dice, scenario: &Scenario, blocked: &mut Option<SiteIx>) -> Step {
    let count = scenario.actors.len() as u32;
    let node = dice.roll(count) as usize;
    let other = (node + 1 + dice.roll(count - 1) as usize) % count as usize;
    let site = dice.site(&scenario.plan);
    match dice.roll(20) {
        0..6 => Step::Talk(node, other),
        6 => Step::Hush(node, other),
        7 | 8 => Step::Move(node, sites(dice, &scenario.plan)),
        9 if site != INTERNET => {
            let on = blocked.take() == Some(site);
            *blocked = (!on).then_some(site);
            Step::Udp(site, on)
        }
        10 => Step::Region(RegionId(1 + dice.roll(2) as u16), dice.once_in(2)),
        11 => Step::Restart(node),
        12 | 13 if site != INTERNET => Step::Renew(site),
        14 => Step::Awake(node, dice.once_in(2)),
        15 => Step::Control(dice.once_in(2)),
        16 => Step::Lag(Duration::from_millis(u64::from(dice.roll(10_000)))),
        17 => Step::Clock(node, i64::from(dice.roll(2_000_000)) - 1_000_000),
        18 => {
            let [loss, jitter] = [dice.roll(30), dice.roll(60)];
            Step::Link { loss, jitter, late: dice.roll(20), twice: dice.roll(20) }
        }
        _ => Step::Link { loss: 0, jitter: 0, late: 0, twice: 0 },
    }
}

/// Tells it to the end; how many pairs are direct then.
pub(crate) fn tell(stage: &mut Stage) -> u32 {
    stage.play();
    stage.calm();
    // News that was slow is still on its way.
    stage.run_for(Duration::from_secs(15));
    let count = stage.nodes();
    let mut direct = 0;
    for a in 0..count {
        for b in a + 1..count {
            direct += u32::from(stage.settle(a, b, PATIENCE).is_some());
        }
    }
    stage.idle_is_quiet();
    direct
}

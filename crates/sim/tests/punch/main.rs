//! The network model and the oracle agree: two agents that only knock get through exactly where the oracle says that it
//! can be done. What is proven here is the simulator; engines come after.

mod agent;

use agent::Puncher;
use keys::NodePublic;
use netmap::{Node, NodeId, RegionId};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sim::net::oracle::{Verdict, direct_possible};
use sim::net::{Behaviour, Dependence, Firewall, INTERNET, Machine, Plan, Ports, SiteIx, V4};
use sim::{NodeIx, World};
use std::time::Duration;

const REGIONS: [RegionId; 2] = [RegionId(1), RegionId(2)];
/// Rounds of one second that the agents have.
const PATIENCE: Duration = Duration::from_secs(9);

/// What two agents find out.
fn played(plan: &Plan, seed: u64) -> Verdict {
    let mut sites = plan.clone();
    let machines = std::mem::take(&mut sites.machines);
    let mut world = World::with_plan(seed, sites);
    world.log_datagrams = false;
    let servers: Vec<_> = REGIONS.iter().flat_map(|region| world.stun_servers(*region)).collect();
    let key = |n: usize| NodePublic::from_bytes([n as u8 + 1; 32]);
    for (n, machine) in machines.into_iter().enumerate() {
        let agent = Puncher::new(key(1 - n), REGIONS[0], servers.clone());
        let ix = world.add_at(["a", "b"][n], agent, key(n), machine.port, machine.uplinks);
        world.join(ix, Node { id: NodeId(n as i64), key: key(n), home_derp: REGIONS[0], ..Node::default() });
    }
    world.run_for(PATIENCE);
    let [forth, back] = [0, 1].map(|n| world.node(NodeIx(n)).direct.is_some());
    Verdict { forth, back }
}

fn agree(plan: &Plan, seed: u64) -> bool {
    let oracle = direct_possible(plan, 0, 1, REGIONS.len());
    assert_eq!(played(plan, seed), oracle, "seed {seed}: {plan:#?}");
    oracle.forth && oracle.back
}

fn add_machine(plan: &mut Plan, sites: &[SiteIx]) {
    let number = plan.machines.len();
    let uplinks = sites.iter().map(|site| plan.uplink(*site, number)).collect();
    plan.machines.push(Machine { port: 41641 + number as u16, uplinks });
}

fn kinds() -> impl Iterator<Item = Behaviour> + Clone {
    let pairs = Dependence::ALL.into_iter().flat_map(|m| Dependence::ALL.map(|f| (m, f)));
    pairs.map(|(mapping, filtering)| Behaviour::new(mapping, filtering))
}

#[test]
fn every_pair_of_nats() {
    let mut direct = 0;
    for a in kinds() {
        for b in kinds() {
            for ports in [Ports::Kept, Ports::Random] {
                let mut plan = Plan::default();
                for (name, nat) in [("one", a), ("two", b)] {
                    let nat = Behaviour { ports, ..nat };
                    let site = plan.add_site(name, INTERNET, Some(nat), None);
                    add_machine(&mut plan, &[site]);
                }
                direct += u32::from(agree(&plan, 1));
            }
        }
    }
    assert_eq!(direct, 81 + 45, "of 162");
}

#[test]
fn every_pair_of_firewalls() {
    let walls: Vec<Firewall> = Dependence::ALL
        .into_iter()
        .map(|by| Firewall { filtering: Some(by), ..Firewall::CLOSED })
        .chain([Firewall::OPEN])
        .collect();
    for a in &walls {
        for b in &walls {
            let mut plan = Plan::default();
            for (name, wall) in [("one", a), ("two", b)] {
                let site = plan.add_site(name, INTERNET, Some(Behaviour::HARD), Some(*wall));
                add_machine(&mut plan, &[site]);
            }
            assert!(agree(&plan, 1), "{plan:?}");
        }
    }
}

/// Sites in any tree, two machines with one or two interfaces anywhere in it.
fn any_plan(seed: u64) -> Plan {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut dice = |n: u32| rng.next_u32() % n;
    let mut plan = Plan::default();
    for name in ["p", "q", "r", "s"].into_iter().take(1 + dice(4) as usize) {
        let parent = if dice(2) == 0 { INTERNET } else { SiteIx(dice(plan.sites.len() as u32) as usize) };
        let mut kind = |n: u32| Dependence::ALL[(dice(n) % 3) as usize];
        let nat = Behaviour::new(kind(9), kind(9));
        let firewall = Firewall { filtering: Some(kind(3)), ..Firewall::CLOSED };
        let ports = if dice(3) == 0 { Ports::Kept } else { Ports::Random };
        let nat = (dice(8) != 0).then_some(Behaviour { ports, hairpin: dice(3) == 0, ..nat });
        let v6 = match dice(6) {
            0 => Some(firewall),
            1 => Some(Firewall::OPEN),
            _ => None,
        };
        let site = plan.add_site(name, parent, nat, v6);
        plan.sites[site.0].udp = dice(12) != 0;
        if dice(4) == 0
            && parent == INTERNET
            && let Some(V4 { lan, .. }) = &mut plan.sites[site.0].v4
        {
            *lan = [192, 168, 77];
        }
    }
    for number in 0..2 {
        let first = SiteIx(dice(plan.sites.len() as u32) as usize);
        let second = SiteIx(dice(plan.sites.len() as u32) as usize);
        let several = dice(4) == 0 && first != second;
        let sites = [first, second];
        add_machine(&mut plan, &sites[..if several { 2 } else { 1 }]);
        if dice(5) == 0 {
            plan.machines[number].uplinks[0].mapped = Some(7000 + number as u16);
        }
    }
    plan
}

#[test]
fn any_tree_of_sites() {
    let (mut direct, mut not) = (0, 0);
    for seed in 0..1500 {
        if agree(&any_plan(seed), seed) { direct += 1 } else { not += 1 }
    }
    assert!(direct > 200 && not > 200, "{direct} direct, {not} not: they test little");
}

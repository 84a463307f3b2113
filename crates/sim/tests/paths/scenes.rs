//! Scenes with a name: what people do with their machines and networks.

use sim::{Scenario, Stage};
use std::time::Duration;

/// Plays a scenario; then its first two nodes must be as they can be within `patience`.
fn play(text: &str, patience: Duration) -> (Stage, Option<Duration>) {
    let scenario: Scenario = text.parse().expect("a scenario");
    let mut stage = Stage::new(&scenario, 1);
    stage.world.log_datagrams = false;
    for (at, step) in scenario.steps.clone() {
        let now = stage.world.now().as_nanos();
        stage.run_for(at.saturating_sub(Duration::from_nanos(now)));
        stage.take(step);
    }
    let took = stage.settle(0, 1, patience);
    println!("after {:?}: direct after {took:?}", scenario.steps.last());
    (stage, took)
}

const SOON: Duration = Duration::from_secs(5);
/// A dead path is doubted after the time that it is trusted, and a new one found a round later.
const NOTICED: Duration = Duration::from_secs(15);

#[test]
fn a_node_that_moves_is_direct_again_soon() {
    let took = play(
        "site home nat easy\nsite cafe nat easy\nsite far nat address-filtering\nregion 2\n\
         node a at home\nnode b at far\nat 2 talk a b\nat 2 talk b a\nat 30 move a cafe\n",
        SOON,
    );
    assert!(took.1.is_some());
}

#[test]
fn a_node_that_comes_home_to_its_peer_is_direct_by_the_lan() {
    let took = play(
        "site home nat hard\nsite cafe nat hard\nregion 2\nnode a at cafe\nnode b at home\n\
         at 2 talk a b\nat 30 move a home\n",
        SOON,
    );
    assert!(took.1.is_some());
}

#[test]
fn a_router_that_gets_another_address_is_noticed() {
    let took = play(
        "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
         at 2 talk a b\nat 2 talk b a\nat 30 renew home\n",
        NOTICED,
    );
    assert!(took.1.is_some());
}

#[test]
fn udp_that_is_blocked_and_comes_back() {
    let (mut stage, took) = play(
        "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
         at 2 talk a b\nat 30 udp home off\n",
        NOTICED,
    );
    assert_eq!(took, None, "nothing direct is possible");
    let home = stage.site("home").expect("a site");
    stage.take(sim::Step::Udp(home, true));
    assert!(stage.settle(0, 1, Duration::from_secs(30)).is_some());
}

#[test]
fn a_peer_that_restarts_with_another_disco_key() {
    let took = play(
        "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
         at 2 talk a b\nat 2 talk b a\nat 30 restart b\n",
        NOTICED,
    );
    assert!(took.1.is_some());
}

/// Direct paths need neither relay nor control once they are there.
#[test]
fn without_relay_and_control_for_an_hour() {
    let text = "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
                at 2 talk a b\nat 2 talk b a\nat 30 region 1 off\nat 30 region 2 off\nat 30 control off\n\
                at 3630 hush a b\n";
    let (mut stage, took) = play(text, SOON);
    assert!(took.is_some());
    stage.calm();
}

#[test]
fn a_machine_that_slept() {
    let took = play(
        "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
         at 2 talk a b\nat 2 talk b a\nat 30 sleep b\nat 230 clock b 3600\nat 231 wake b\n",
        NOTICED,
    );
    assert!(took.1.is_some());
}

/// Loss, jitter and overtaking do not make two nodes leave a path that works.
#[test]
fn a_rough_path_stays_in_use() {
    let scenario: Scenario =
        "site home nat easy\nsite far nat easy\nregion 2\nnode a at home\nnode b at far\n\
                              at 2 talk a b\nat 2 talk b a\n"
            .parse()
            .expect("a scenario");
    let mut stage = Stage::new(&scenario, 1);
    stage.world.log_datagrams = false;
    stage.play();
    stage.take(sim::Step::Link { loss: 10, jitter: 60, late: 10, twice: 5 });
    let (mut direct, mut all) = (0, 0);
    for _ in 0..600 {
        stage.run_for(Duration::from_secs(1));
        direct += u32::from(stage.is_direct(0, 1)) + u32::from(stage.is_direct(1, 0));
        all += 2;
    }
    assert!(direct * 100 >= all * 95, "direct in {direct} of {all} seconds at 10 % loss");
}

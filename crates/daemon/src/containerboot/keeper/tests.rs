//! Stories of children, told as a script and read as the actions that follow.

use super::*;
use expect_test::{Expect, expect};

const ABORT: End = End::Signal(6, "SIGABRT");

/// Tells `events` with their moments in milliseconds and compares what is done. `Due` comes by itself.
#[track_caller]
fn story(rules: Rules, events: Vec<(u64, Event)>, until: u64, want: Expect) {
    let mut keeper = Keeper::new(rules);
    let mut text = String::new();
    let mut tell = |keeper: &mut Keeper, ms: u64, event: Event| {
        let what = if matches!(event, Event::Due) { "Due".to_owned() } else { format!("{event:?}") };
        for action in keeper.handle(event, Mono::from_millis(ms)) {
            text.push_str(&format!("{ms} {what}: {action:?}\n"));
        }
    };
    let due = |keeper: &Keeper| keeper.due().map_or(u64::MAX, |at| at.as_nanos() / 1_000_000);
    let events = events.into_iter().map(|(ms, event)| (ms, Some(event))).chain([(until, None)]);
    for (ms, event) in events {
        while due(&keeper) <= ms {
            let at = due(&keeper);
            tell(&mut keeper, at, Event::Due);
        }
        if let Some(event) = event {
            tell(&mut keeper, ms, event);
        }
    }
    want.assert_eq(&text);
}

const KEY: Rules = Rules { by_file: false, once: false, key: true };

fn errand(status: i32) -> Event {
    Event::Ended(Who::Errand, End::Status(status))
}

#[test]
fn a_fresh_node_logs_in_once() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (500, Event::State(State::Starting)),
        (900, Event::State(State::Running)),
        (910, errand(0)),
        (9_000, Event::State(State::Stopped)),
    ];
    story(
        KEY,
        events,
        100_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
    "#]],
    );
}

#[test]
fn a_node_that_is_registered_does_not_use_its_key() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Starting)),
        (20, Event::State(State::Running)),
        (30, errand(0)),
    ];
    story(
        KEY,
        events,
        100_000,
        expect![[r#"
        0 Begin: StartDaemon
        20 State(Running): StartErrand(Up)
    "#]],
    );
}

#[test]
fn a_stopped_node_is_switched_on_even_if_the_environment_does_not_fit_it() {
    let events =
        vec![(0, Event::Begin), (10, Event::State(State::Stopped)), (30, errand(1)), (50, errand(0))];
    story(
        KEY,
        events,
        100_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Stopped): StartErrand(Up)
        30 Ended(Errand, Status(1)): Say("the settings of the environment are not in force, see above; the node goes on with its own")
        30 Ended(Errand, Status(1)): StartErrand(SwitchOn)
    "#]],
    );
}

#[test]
fn auth_once_leaves_a_stopped_node_alone_and_sets_a_running_one() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Stopped)),
        (1_000, Event::State(State::Running)),
        (1_100, errand(0)),
    ];
    story(
        Rules { once: true, ..KEY },
        events,
        100_000,
        expect![[r#"
        0 Begin: StartDaemon
        1000 State(Running): StartErrand(Set)
    "#]],
    );
}

#[test]
fn control_asks_for_a_login_while_up_runs_without_a_key() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Stopped)),
        (30, Event::State(State::NeedsLogin)),
        (40, errand(1)),
        (70, Event::State(State::Running)),
        (80, errand(0)),
    ];
    story(
        KEY,
        events,
        100_000,
        expect![[r#"
            0 Begin: StartDaemon
            10 State(Stopped): StartErrand(Up)
            30 State(NeedsLogin): Terminate(Errand)
            40 Ended(Errand, Status(1)): StartErrand(Login)
        "#]],
    );
}

#[test]
fn a_key_that_control_refuses_is_tried_again_ever_later() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (100, errand(1)),
        (5_200, errand(1)),
        (15_300, errand(1)),
    ];
    story(
        KEY,
        events,
        40_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        100 Ended(Errand, Status(1)): Say("tailscale up ended with status 1; it is tried again in 5 s")
        5100 Due: StartErrand(Login)
        5200 Ended(Errand, Status(1)): Say("tailscale up ended with status 1; it is tried again in 10 s")
        15200 Due: StartErrand(Login)
        15300 Ended(Errand, Status(1)): Say("tailscale up ended with status 1; it is tried again in 20 s")
        35300 Due: StartErrand(Login)
    "#]],
    );
}

#[test]
fn the_state_told_again_is_no_reason_to_try_again_sooner() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (100, errand(1)),
        (1_000, Event::State(State::NeedsLogin)),
    ];
    story(
        KEY,
        events,
        6_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        100 Ended(Errand, Status(1)): Say("tailscale up ended with status 1; it is tried again in 5 s")
        5100 Due: StartErrand(Login)
    "#]],
    );
}

#[test]
fn a_login_by_hand_is_left_alone() {
    // With a key it is done soon, and what comes later is a matter of its own.
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (50, Event::LoginAsked),
        (100, errand(1)),
        (5_000, Event::LoginAsked),
        (5_001, Event::State(State::NeedsLogin)),
        (5_002, Event::LoginAsked),
        (9_000, Event::State(State::Running)),
        (9_100, errand(0)),
        (20_000, Event::State(State::NeedsLogin)),
    ];
    story(
        KEY,
        events,
        30_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        100 Ended(Errand, Status(1)): Say("tailscale up ended with status 1; it is tried again in 5 s")
        9000 State(Running): StartErrand(Up)
        25000 Due: StartErrand(Login)
    "#]],
    );
    // A URL takes minutes; one that nobody visits does not keep the node from its key. The other profile of a `login`
    // needs one, too.
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Running)),
        (100, errand(0)),
        (5_000, Event::State(State::NeedsLogin)),
        (5_010, Event::LoginAsked),
        (5_011, Event::State(State::NeedsLogin)),
    ];
    story(
        KEY,
        events,
        1_000_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Running): StartErrand(Up)
        605010 Due: StartErrand(Login)
    "#]],
    );
}

#[test]
fn a_node_that_control_has_forgotten_uses_its_key_until_it_is_registered() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Running)),
        (20, errand(0)),
        (60_000, Event::LoginWanted),
        (65_010, Event::State(State::Starting)),
        (65_020, Event::State(State::Running)),
        (65_030, errand(0)),
        (70_100, errand(0)),
        (80_110, Event::LoginDone),
        (80_120, errand(0)),
    ];
    story(
        KEY,
        events.clone(),
        200_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Running): StartErrand(Up)
        65000 Due: StartErrand(Login)
        70030 Due: StartErrand(Login)
        80100 Due: StartErrand(Login)
    "#]],
    );
    story(
        Rules { key: false, ..KEY },
        events[..4].to_vec(),
        200_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Running): StartErrand(Up)
    "#]],
    );
}

/// `up --force-reauth` on a node that runs: its state stays.
#[test]
fn a_login_by_hand_of_a_node_that_runs() {
    let begin =
        [(0, Event::Begin), (10, Event::State(State::Running)), (20, errand(0)), (60_000, Event::LoginAsked)];
    let told = |more: &[(u64, Event)]| begin.iter().chain(more).cloned().collect::<Vec<_>>();
    // Done, and then control forgets the node.
    story(
        KEY,
        told(&[(60_100, Event::LoginWanted), (90_000, Event::LoginDone), (120_000, Event::LoginWanted)]),
        130_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Running): StartErrand(Up)
        125000 Due: StartErrand(Login)
    "#]],
    );
    // Begun and left.
    story(
        KEY,
        told(&[(60_100, Event::LoginWanted)]),
        1_000_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(Running): StartErrand(Up)
        660000 Due: StartErrand(Login)
    "#]],
    );
}

#[test]
fn flags_that_are_not_understood_are_told_once() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (20, errand(2)),
        (30, Event::State(State::NeedsLogin)),
    ];
    story(
        KEY,
        events,
        1_000_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        20 Ended(Errand, Status(2)): Say("tailscale does not understand its flags: correct TS_EXTRA_ARGS and start the container anew")
    "#]],
    );
}

#[test]
fn a_login_lost_at_work_is_renewed() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::Running)),
        (20, errand(0)),
        (60_000, Event::State(State::NeedsLogin)),
        (65_900, Event::State(State::Running)),
        (66_000, errand(0)),
    ];
    story(
        KEY,
        events,
        100_000,
        expect![[r#"
            0 Begin: StartDaemon
            10 State(Running): StartErrand(Up)
            65000 Due: StartErrand(Login)
        "#]],
    );
}

#[test]
fn a_crash_cuts_the_errand_short_and_both_come_again() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (20, Event::Ended(Who::Daemon, ABORT)),
        (30, errand(1)),
        (300, Event::State(State::NeedsLogin)),
    ];
    story(
        KEY,
        events,
        1_000,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        20 Ended(Daemon, Signal(6, "SIGABRT")): Say("tailscaled was ended by signal 6 (SIGABRT); it is started again in 0.2 s")
        220 Due: StartDaemon
        300 State(NeedsLogin): StartErrand(Login)
    "#]],
    );
}

#[test]
fn pauses_grow_and_a_long_life_makes_them_short_again() {
    let died = |at| (at, Event::Ended(Who::Daemon, End::Status(1)));
    let mut events = vec![(0, Event::Begin)];
    events.extend([10, 300, 1_000, 3_000, 6_000, 12_000, 30_000, 60_000, 120_000, 300_000].map(died));
    story(
        Rules { by_file: true, ..KEY },
        events,
        300_100,
        expect![[r#"
        0 Begin: StartDaemon
        10 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 0.2 s")
        210 Due: StartDaemon
        300 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 0.4 s")
        700 Due: StartDaemon
        1000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 0.8 s")
        1800 Due: StartDaemon
        3000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 1.6 s")
        4600 Due: StartDaemon
        6000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 3.2 s")
        9200 Due: StartDaemon
        12000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 6.4 s")
        18400 Due: StartDaemon
        30000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 12.8 s")
        42800 Due: StartDaemon
        60000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 25.6 s")
        85600 Due: StartDaemon
        120000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 30 s")
        150000 Due: StartDaemon
        300000 Ended(Daemon, Status(1)): Say("tailscaled ended with status 1; it is started again in 0.2 s")
    "#]],
    );
}

#[test]
fn the_end_is_waited_for_and_then_forced() {
    let events = vec![
        (0, Event::Begin),
        (10, Event::State(State::NeedsLogin)),
        (100, Event::Stop),
        (110, Event::Stop),
        (120, errand(1)),
        (400, Event::Ended(Who::Daemon, End::Status(0))),
    ];
    story(
        KEY,
        events,
        400,
        expect![[r#"
        0 Begin: StartDaemon
        10 State(NeedsLogin): StartErrand(Login)
        100 Stop: Terminate(Errand)
        100 Stop: Terminate(Daemon)
        400 Ended(Daemon, Status(0)): Exit(0)
    "#]],
    );
    let events = vec![
        (0, Event::Begin),
        (100, Event::Stop),
        (2_650, Event::Ended(Who::Daemon, End::Signal(9, "SIGKILL"))),
    ];
    story(
        KEY,
        events,
        2_650,
        expect![[r#"
        0 Begin: StartDaemon
        100 Stop: Terminate(Daemon)
        2600 Due: Say("not ended after 2.5 s: killed")
        2600 Due: Kill(Daemon)
        2650 Ended(Daemon, Signal(9, "SIGKILL")): Exit(137)
    "#]],
    );
    story(
        KEY,
        vec![(0, Event::Begin), (100, Event::Stop)],
        2_900,
        expect![[r#"
        0 Begin: StartDaemon
        100 Stop: Terminate(Daemon)
        2600 Due: Say("not ended after 2.5 s: killed")
        2600 Due: Kill(Daemon)
        2900 Due: Exit(1)
    "#]],
    );
}

#[test]
fn whoever_is_stopped_between_two_lives_is_gone_at_once() {
    let events = vec![(0, Event::Begin), (100, Event::Ended(Who::Daemon, ABORT)), (150, Event::Stop)];
    story(
        KEY,
        events,
        150,
        expect![[r#"
        0 Begin: StartDaemon
        100 Ended(Daemon, Signal(6, "SIGABRT")): Say("tailscaled was ended by signal 6 (SIGABRT); it is started again in 0.2 s")
        150 Stop: Exit(0)
    "#]],
    );
}

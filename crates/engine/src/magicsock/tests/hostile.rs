//! What peers and strangers may make us do: calls, pings that were caught, floods.

use super::*;

#[test]
fn a_call_takes_the_trust_away_but_is_not_answered_with_one_later() {
    // By satellite a pong takes longer than the wait for a round that is due since the start.
    for latency in [4, 600] {
        let mut bench = Bench::new(&[at(1)]);
        bench.sending = true;
        bench.wake();
        let answers = move |_| Some(latency);
        bench.run(20_000, &answers);
        assert_eq!(bench.paths.way(), Way::Direct(at(1)));
        let call = |paths: &mut Paths, turn: &mut Turn<'_>| paths.handle_call([at(1)].into_iter(), turn);
        assert_eq!(bench.act(call), Ok(()));
        assert_eq!(bench.paths.way(), Way::Doubtful(at(1)));
        assert_eq!(bench.run(900, &answers).calls.len(), 0, "{latency} ms");
        assert_eq!(bench.paths.way(), Way::Direct(at(1)));
        // Without an answer ours follows.
        assert_eq!(bench.act(call), Ok(()));
        assert!(!bench.run(4000, &|_| None).calls.is_empty(), "{latency} ms");
    }
}

#[test]
fn pings_that_were_caught_and_are_sent_anew_do_not_keep_others_unanswered() {
    let mut bench = Bench::new(&[at(1)]);
    bench.wake();
    let (pings, _) = bench.take();
    assert_eq!(bench.pong(pings[0].1, at(1)), Ok(()));
    let caught = bench.act(|_, turn| fresh(turn));
    let again =
        |bench: &mut Bench, n: u8| bench.act(|paths, turn| paths.handle_ping(caught, To::Udp(at(n)), turn));
    assert!(again(&mut bench, 1) && !again(&mut bench, 1), "the same is answered once");
    let answered = (2..=255).filter(|n| again(&mut bench, *n)).count();
    assert_eq!(answered, PINGS_TAKEN as usize, "from anywhere");
    assert!(bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(1)), turn)), "the path in use");
    assert!(bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Relay, turn)));
}

#[test]
fn hostile_peers_are_bounded() {
    let mut bench = Bench::new(&[]);
    let everywhere: Vec<_> = (0..200).map(at).collect();
    let followed = (0..50)
        .filter(|_| bench.act(|paths, turn| paths.handle_call(everywhere.iter().copied(), turn)).is_ok())
        .count();
    assert_eq!(followed, CALLS_TAKEN as usize);
    assert!(bench.take().0.len() <= CALLS_TAKEN as usize * CANDIDATES);
    assert_eq!(bench.paths.candidates().count(), CANDIDATES);
    let answered = (0..=255)
        .filter(|n| bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(*n)), turn)))
        .count();
    assert_eq!(answered, PINGS_TAKEN as usize);
    bench.now = bench.now + Duration::from_secs(2);
    assert!(bench.act(|paths, turn| paths.handle_ping(fresh(turn), To::Udp(at(0)), turn)));
    // All is forgotten in the end.
    bench.run(700_000, NOBODY);
    assert!(bench.paths.is_over(bench.now));
}

//! Upstreams that are slow, silent, broken or lying, in time that does not pass.

use super::*;

/// What an upstream does with one way of being asked: after so many milliseconds, this.
#[derive(Clone, Copy, Debug)]
enum Does {
    Says(u64, &'static str),
    Fails(u64),
    Nothing,
}

use Does::{Fails, Nothing, Says};

/// An answer of a kind: its text is its code and whether it is cut.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[2] = 0x80;
    match text {
        "servfail" => bytes[3] = 2,
        "refused" => bytes[3] = 5,
        "cut" => bytes[2] |= 2,
        _ => {}
    }
    bytes.extend(text.bytes());
    bytes
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(bytes) => String::from_utf8_lossy(&bytes[HEADER..]).into_owned(),
        Outcome::Nothing { unreachable } => format!("nothing {unreachable}"),
    }
}

/// Runs a query; upstreams are `(delay, UDP or HTTP, TCP)`. Answers how it ended, when, and who was asked when.
fn run(transport: Transport, tcp: bool, upstreams: &[(u64, Does, Does)]) -> (String, u64, String) {
    let steps: Rc<[Step]> = upstreams
        .iter()
        .enumerate()
        .map(|(n, (delay, ..))| Step {
            upstream: Upstream::Plain(([192, 0, 2, n as u8], 53).into()),
            delay: Duration::from_millis(*delay),
        })
        .collect();
    let mut race = Race::new(steps, transport, tcp);
    let mut log = Vec::new();
    let mut coming: Vec<(Duration, Start, Option<&str>)> = Vec::new();
    let mut now = Duration::ZERO;
    let done = |outcome: Outcome, now: Duration, log: Vec<String>| {
        (text(&outcome), now.as_millis() as u64, log.join(" "))
    };
    loop {
        while let Some(start) = race.start(now) {
            log.push(format!("{}{:?}@{}", start.step, start.via, now.as_millis()).to_lowercase());
            let (_, first, second) = upstreams[start.step];
            match if start.via == Via::Tcp { second } else { first } {
                Says(after, text) => coming.push((now + Duration::from_millis(after), start, Some(text))),
                Fails(after) => coming.push((now + Duration::from_millis(after), start, None)),
                Nothing => {}
            }
        }
        if let Some(outcome) = race.timeout(now) {
            return done(outcome, now, log);
        }
        let next = coming.iter().map(|(when, ..)| *when).min().unwrap_or(TOTAL).min(race.wait());
        assert!(next > now || coming.iter().any(|(when, ..)| *when == now), "stands still at {now:?}");
        now = next;
        if let Some(at) = coming.iter().position(|(when, ..)| *when == now) {
            let (_, start, said) = coming.remove(at);
            let answer = said.map(|said| {
                let soft = ["servfail", "refused"].contains(&said);
                (if soft { Verdict::Soft } else { Verdict::Good }, bytes(said))
            });
            if let Some(outcome) = race.ended(start, answer) {
                return done(outcome, now, log);
            }
        }
    }
}

#[test]
fn by_the_table() {
    use Transport::{Tcp, Udp};
    type Line<'a> = (Transport, bool, &'a [(u64, Does, Does)], (&'a str, u64, &'a str));
    let table: &[Line<'_>] = &[
        // One that answers.
        (Udp, true, &[(0, Says(30, "a"), Nothing)], ("a", 30, "0udp@0")),
        // All at once, the first good one counts.
        (Udp, true, &[(0, Says(90, "a"), Nothing), (0, Says(30, "b"), Nothing)], ("b", 30, "0udp@0 1udp@0")),
        // Silence by UDP: TCP after two seconds.
        (Udp, true, &[(0, Nothing, Says(30, "t"))], ("t", 2030, "0udp@0 0tcp@2000")),
        (Udp, true, &[(0, Says(2500, "u"), Says(900, "t"))], ("u", 2500, "0udp@0 0tcp@2000")),
        (Udp, false, &[(0, Nothing, Says(30, "t"))], ("nothing true", 10_000, "0udp@0")),
        // A port that is closed is not waited for.
        (Udp, true, &[(0, Fails(5), Says(30, "t"))], ("t", 35, "0udp@0 0tcp@5")),
        (Udp, true, &[(0, Fails(5), Fails(5))], ("nothing true", 10, "0udp@0 0tcp@5")),
        // TCP is silent as well: seven seconds, and nobody else is left but UDP.
        (Udp, true, &[(0, Nothing, Nothing)], ("nothing true", 10_000, "0udp@0 0tcp@2000")),
        (Udp, true, &[(0, Fails(1), Nothing)], ("nothing true", 5001, "0udp@0 0tcp@1")),
        // Soft errors wait for the others.
        (Udp, true, &[(0, Says(10, "servfail"), Says(1, "t"))], ("servfail", 10, "0udp@0")),
        (
            Udp,
            true,
            &[(0, Says(10, "servfail"), Nothing), (0, Says(50, "b"), Nothing)],
            ("b", 50, "0udp@0 1udp@0"),
        ),
        (
            Udp,
            true,
            &[(0, Says(10, "refused"), Nothing), (0, Says(50, "servfail"), Nothing)],
            ("servfail", 50, "0udp@0 1udp@0"),
        ),
        (
            Udp,
            true,
            &[(0, Says(10, "refused"), Nothing), (0, Says(50, "refused"), Nothing)],
            ("refused", 50, "0udp@0 1udp@0"),
        ),
        (
            Udp,
            true,
            &[(0, Says(10, "refused"), Nothing), (0, Fails(20), Fails(20))],
            ("nothing false", 40, "0udp@0 1udp@0 1tcp@20"),
        ),
        (
            Udp,
            true,
            &[(0, Says(10, "servfail"), Nothing), (0, Nothing, Nothing)],
            ("servfail", 10_000, "0udp@0 1udp@0 1tcp@2000"),
        ),
        // What waits its turn does not wait when nobody is being asked.
        (
            Udp,
            true,
            &[(0, Says(10, "servfail"), Nothing), (500, Says(50, "b"), Nothing)],
            ("b", 60, "0udp@0 1udp@10"),
        ),
        (Udp, true, &[(0, Nothing, Nothing), (500, Says(50, "b"), Nothing)], ("b", 550, "0udp@0 1udp@500")),
        // Cut: who came by UDP asks again himself, who came by TCP gets it whole.
        (Udp, true, &[(0, Says(10, "cut"), Says(1, "t"))], ("cut", 10, "0udp@0")),
        (Tcp, true, &[(0, Says(10, "cut"), Says(30, "t"))], ("t", 30, "0udp@0 0tcp@0")),
        (Tcp, true, &[(0, Says(10, "cut"), Fails(30))], ("cut", 30, "0udp@0 0tcp@0")),
        (Tcp, false, &[(0, Says(10, "cut"), Nothing)], ("cut", 10, "0udp@0")),
        (Tcp, true, &[(0, Says(10, "a"), Says(30, "t"))], ("a", 10, "0udp@0 0tcp@0")),
        // Nobody.
        (Udp, true, &[], ("nothing true", 0, "")),
    ];
    for (transport, tcp, upstreams, (outcome, when, log)) in table {
        let ended = run(*transport, *tcp, upstreams);
        assert_eq!(ended, ((*outcome).into(), *when, (*log).into()), "{transport:?} {tcp} {upstreams:?}");
    }
}

#[test]
fn what_is_not_spoken_is_not_asked() {
    let steps = ["tls://192.0.2.1", "https://dns.google/dns-query", "http://100.64.0.1:4/dns-query"];
    let step = |text: &&str| Step { upstream: Upstream::parse(text), delay: Duration::ZERO };
    let mut race = Race::new(steps.iter().map(step).collect(), Transport::Udp, true);
    let started: Vec<_> = std::iter::from_fn(|| race.start(Duration::ZERO)).collect();
    assert_eq!(started, [Start { step: 1, via: Via::Http }, Start { step: 2, via: Via::Http }]);
    let only = Race::new([step(&steps[0])].into(), Transport::Udp, true).timeout(Duration::ZERO);
    assert_eq!(only, Some(Outcome::Nothing { unreachable: true }));
}

/// A query for `a.b`, type A, numbered 7, and its question's end.
fn query() -> (Vec<u8>, usize) {
    let bytes = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x01b\0", &[0, 1, 0, 1]].concat();
    let end = bytes.len();
    (bytes, end)
}

#[test]
fn guesses_are_foreign() {
    let (query, end) = query();
    let mut good = query.clone();
    good[2] |= 0x80;
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        judge(&query, end, &bytes)
    };
    assert_eq!(judge(&query, end, &good), Verdict::Good);
    assert_eq!(judge(&query, end, &[&good[..], b"records"].concat()), Verdict::Good);
    assert_eq!(
        [changed(3, 0x83), changed(3, 3), changed(3, 2), changed(3, 5)].map(|v| v == Verdict::Soft),
        [false, false, true, true]
    );
    // The case may change, nothing else.
    assert_eq!(changed(13, b'A'), Verdict::Good);
    for (at, byte) in
        [(0, 1), (1, 8), (2, 1), (5, 0), (13, b'c'), (12, 2), (14, 2), (end - 3, 28), (end - 1, 3)]
    {
        assert_eq!(changed(at, byte), Verdict::Foreign, "{at}");
    }
    for length in 0..end {
        assert_eq!(judge(&query, end, &good[..length]), Verdict::Foreign, "{length}");
    }
    // A letter of the kind is no letter.
    let mut kind = (query.clone(), good.clone());
    kind.0[end - 3] = b'a';
    kind.1[end - 3] = b'A';
    assert_eq!(judge(&kind.0, end, &kind.1), Verdict::Foreign);
    // An error may come bare, an answer may not.
    let bare = |code: u8| judge(&query, end, &[0, 7, 0x80, code, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        [bare(1), bare(2), bare(5), bare(0)],
        [Verdict::Good, Verdict::Soft, Verdict::Soft, Verdict::Foreign]
    );
}

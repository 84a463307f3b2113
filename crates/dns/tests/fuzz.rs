//! Real answers and queries with anything changed in them, through everything that reads them: no panic, nothing that is no
//! answer, and no growth. From fixed seeds; `SMALLTAIL_FUZZ=600` goes on for so many seconds with others.

mod common;

use common::mutate::{Dice, mutate};
use common::world::{World, asked, question};
use common::{Asked, config, forwarding, resolver};
use dns::forward::Forwarder;
use dns::frames::Frames;
use dns::message::{self, LARGEST};
use dns::{Answer, Transport, shown};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::sync::Arc;
use std::time::Duration;

/// Rounds of an ordinary run.
const ROUNDS: u32 = 1500;

/// What the process may grow by, in KiB: what allocators keep.
const MOST_GROWTH: u64 = 4 << 10;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// Answers as name servers give them, to the question of the tests.
fn answers() -> Vec<Vec<u8>> {
    let host = "www.example.com.";
    let soa = SOA::new(name("ns.example.com."), name("root.example.com."), 7, 3600, 600, 86_400, 60);
    let lists: Vec<Vec<RData>> = vec![
        vec![],
        vec![RData::A(A::new(192, 0, 2, 1))],
        vec![RData::CNAME(CNAME(name("web.example.com."))), RData::A(A::new(192, 0, 2, 2))],
        vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)); 30],
        vec![RData::MX(MX::new(10, name("mail.example.com."))), RData::SRV(SRV::new(1, 2, 53, name(host)))],
        vec![RData::TXT(TXT::new(vec!["x".repeat(250), String::new(), "y".repeat(255)])); 6],
        vec![RData::PTR(PTR(name("self.tail1.ts.net.")))],
    ];
    let mut all = Vec::new();
    for (n, list) in lists.into_iter().enumerate() {
        let mut message: Message = Message::from_vec(&question()).expect("reads");
        message.metadata.message_type = hickory_proto::op::MessageType::Response;
        message.metadata.response_code =
            [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::ServFail][n % 3];
        for data in list {
            message.add_answer(Record::from_rdata(name(host), 60, data));
        }
        message.add_authority(Record::from_rdata(name("example.com."), 60, RData::SOA(soa.clone())));
        all.push(message.to_vec().expect("encodes"));
    }
    all
}

/// Queries of every sort that we answer, with EDNS and without.
fn queries() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for host in [
        "self.tail1.ts.net.",
        "self.",
        "missing.tail1.ts.net.",
        "www.app.tail1.ts.net.",
        "svc.corp.",
        "10-1-1-16-via-7.tail1.ts.net.",
        "1.0.64.100.in-addr.arpa.",
        "1.0.0.0.0.4.2.6.6.9.d.c.3.4.8.4.2.1.b.a.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa.",
        "lb._dns-sd._udp.example.com.",
        "www.example.com.",
        ".",
    ] {
        for kind in [RecordType::A, RecordType::PTR, RecordType::ANY, RecordType::Unknown(65280)] {
            let asked = Asked::new(host, kind);
            all.extend([asked.bytes(), asked.with_size(1232)]);
        }
    }
    all
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4
}

fn local(bytes: &[u8]) {
    let (closed, open) = (resolver(config()), forwarding("192.0.2.1"));
    for (resolver, transport) in [(&closed, Transport::Udp), (&open, Transport::Tcp)] {
        if let Answer::Reply(reply) = resolver.answer(bytes, transport, 1) {
            assert!(reply.len() <= 12 + 259 + 12 + 255, "{}", reply.len());
            let read = Message::from_vec(&reply).expect("the oracle reads it");
            assert_eq!(read.metadata.id, message::id(bytes));
        }
    }
    let mut frames = Frames::default();
    for piece in bytes.chunks(7) {
        frames.push(piece);
        while let Ok(Some(_)) = frames.next_query() {}
    }
}

/// An upstream of every sort that says `forged` under the number of each query.
async fn forwarded(query: &[u8], forged: &[u8], how: usize) {
    let (upstream, transport) = [
        ("192.0.2.1", Transport::Udp),
        ("192.0.2.1", Transport::Tcp),
        ("http://100.64.0.1:4/dns-query", Transport::Udp),
        ("8.8.8.8", Transport::Tcp),
    ][how % 4];
    let forged = forged.to_vec();
    let forge = move |query: &[u8]| {
        let mut answer = forged.clone();
        message::set_id(&mut answer, message::id(query));
        answer
    };
    let script = || Some(vec![(1, common::world::Lie::Nothing); 3]);
    let world = World {
        udp: script(),
        tcp: script(),
        https: script(),
        forge: Some(Arc::new(forge)),
        ..World::default()
    };
    let open = std::rc::Rc::clone(&world.open);
    let forwarder = Forwarder::new(world, true);
    let mut asked = asked(upstream, &question(), transport);
    asked.query = query.to_vec();
    if let Some(forwarded) = forwarder.forward(asked).await {
        assert_eq!(message::id(&forwarded.reply), message::id(query));
        assert!(
            transport == Transport::Tcp || upstream.starts_with("http") || forwarded.reply.len() <= LARGEST
        );
    }
    assert_eq!(open.get(), 0, "a socket is open");
}

fn round(runtime: &tokio::runtime::Runtime, dice: &mut Dice, queries: &[Vec<u8>], answers: &[Vec<u8>]) {
    let [one, two] = [(); 2].map(|()| &queries[dice.below(queries.len())]);
    local(&mutate(dice, one, two));
    let [one, two] = [(); 2].map(|()| &answers[dice.below(answers.len())]);
    let forged = mutate(dice, one, two);
    // Whatever it is, it can be shown.
    drop(shown::records(&forged));
    let query = if dice.below(4) == 0 { mutate(dice, &question(), one) } else { question() };
    runtime.block_on(forwarded(&query, &forged, dice.below(4)));
}

#[test]
#[allow(clippy::print_stdout)]
fn anything_changed_in_answers_and_queries() {
    let seconds = std::env::var("SMALLTAIL_FUZZ").ok().and_then(|text| text.parse().ok());
    let (queries, answers) = (queries(), answers());
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().expect("a runtime");
    let begun = now();
    let (mut rounds, mut before) = (0_u32, None);
    loop {
        // A round that fails is repeated by its number.
        round(&runtime, &mut Dice(rounds.wrapping_mul(0x9e37_79b9) | 1), &queries, &answers);
        rounds += 1;
        if rounds == ROUNDS / 2 {
            before = Some(resident());
        }
        let done = seconds.map_or(rounds >= ROUNDS, |most| {
            rounds >= ROUNDS && begun.elapsed() >= Duration::from_secs(most)
        });
        if done {
            break;
        }
    }
    let (before, after) = (before.expect("measured"), resident());
    println!("{rounds} rounds, {before} KiB after the first, {after} KiB after the last");
    assert!(after <= before + MOST_GROWTH, "grown from {before} to {after} KiB in {rounds} rounds");
}

/// How long it takes, for who asks for seconds.
#[allow(clippy::disallowed_methods)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

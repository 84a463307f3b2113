//! The same questions to Go's node and ours about zones whose name servers are slow, broken, or lie.

use crate::count;
use crate::names::{self, Question, by_tcp_within, by_udp_within, query, with_edns};
use crate::upstreams::{self, Does, LIE, Upstreams};
use anyhow::Result;
use lab::{Host, Lab, Node};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where they are asked.
const QUAD100: &str = "100.100.100.100:53";

/// Zones whose name servers are not good ones: how those behave, and whether it takes longer than a few seconds to hear of it.
const ODD: [(&str, &[Does], bool); 17] = [
    ("slow", &[Does::Slow], false),
    ("fails", &[Does::Fails], false),
    ("refuses", &[Does::Refuses], false),
    ("lies", &[Does::Lies], false),
    ("cuts", &[Does::Cuts], false),
    ("cutsonly", &[Does::CutsOnly], false),
    ("bytcp", &[Does::ByTcp], false),
    ("large", &[Does::Large], false),
    ("slowfails", &[Does::Slow, Does::Fails], false),
    ("slowrefuses", &[Does::Slow, Does::Refuses], false),
    ("failsrefuses", &[Does::Fails, Does::Refuses], false),
    ("closedwell", &[Does::Closed, Does::Well], false),
    ("garbagewell", &[Does::Garbage, Does::Slow], false),
    ("silentwell", &[Does::Silent, Does::Slow], false),
    ("garbage", &[Does::Garbage], true),
    ("closed", &[Does::Closed], true),
    ("silent", &[Does::Silent], true),
];

/// Zones that are asked about at once: seven streams for each, of 32 that quad-100 has.
const AT_ONCE: usize = 4;

/// Every way to behave has an address.
fn address(does: Does) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 1 + does as u8)
}

/// The name servers of [`ODD`], and their part of the configuration.
///
/// # Errors
/// When one does not start.
pub fn servers(lab: &Lab) -> Result<(Host, Upstreams, String)> {
    let (host, upstreams, mut split) = (lab.host("odd")?, Upstreams::default(), String::new());
    let mut started = Vec::new();
    for (zone, all, _) in ODD {
        for does in all {
            if !started.contains(does) {
                started.push(*does);
                upstreams::address(&host, address(*does), &[])?;
                upstreams.start(&host, address(*does), *does)?;
            }
        }
        let addresses: Vec<_> = all.iter().map(|does| address(*does).to_string()).collect();
        split.push_str(&format!("      {zone}.lab: [{}]\n", addresses.join(", ")));
    }
    Ok((host, upstreams, split))
}

/// What is asked of a zone of [`ODD`].
fn questions(zone: &str) -> Vec<Question> {
    let name = format!("www.{zone}.lab");
    let chaos = |mut question: Question| {
        if let Some(class) = question.bytes.last_mut() {
            *class = 3;
        }
        Question { about: format!("{} CHAOS", question.about), ..question }
    };
    vec![
        query(&name, 1),
        query(&name, 16),
        query(&name, 65280),
        chaos(query(&name, 1)),
        with_edns(query(&name, 16), 512, 0, &[]),
        with_edns(query(&name, 16), 4096, 0, &[]),
        with_edns(query(&name, 1), 1232, 0x8000, &[0, 3, 0, 0]),
    ]
}

/// Whether another answer than Go's is what we want, from name servers that are not good.
fn is_meant(zone: &str, theirs: &str, own: &str) -> bool {
    match zone {
        // Who was heard first decides whose failure Go gives.
        "failsrefuses" => [theirs, own].iter().all(|answer| answer.get(8..9) == Some("2")),
        // Go leaves who asks without an answer.
        "closed" | "silent" => theirs == "silence" && own.get(8..9) == Some("2"),
        // Go sends more than who asks can take, and does not say so when only a stream gave it.
        "bytcp" | "large" => {
            let question =
                |answer: &str| answer.split(" | ").next().unwrap_or_default().replacen(" 8180 ", " 8380 ", 1);
            own.split(" | ").nth(1) == Some("") && own.contains(" 8380 ") && question(theirs) == question(own)
        }
        // Go believes a lie, or gives up at the first.
        "lies" => !own.contains(&format!("{:02x?}", LIE.octets())) && !own.contains("silence"),
        _ => false,
    }
}

/// The same questions to both nodes about [`ODD`], by night about all of it. What differs, and how many were compared.
///
/// # Errors
/// When a question cannot be sent.
pub fn answers(go: &Node, ours: &Node) -> Result<(Vec<String>, u32)> {
    let quad100: SocketAddr = QUAD100.parse()?;
    let patience = Duration::from_secs(count(4, 12).into());
    let (mut differences, mut compared) = (Vec::new(), 0);
    let zones: Vec<_> = ODD.iter().filter(|(.., late)| !late || count(0, 1) == 1).collect();
    for zones in zones.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let mut asked = Vec::new();
            for (zone, ..) in zones {
                for question in questions(zone) {
                    for udp in [true, false] {
                        let ask = move |node: &Node, bytes: &[u8]| {
                            let ask = if udp { by_udp_within } else { by_tcp_within };
                            let answer = ask(&node.host, quad100, bytes, patience)?;
                            Ok::<_, anyhow::Error>(names::text(answer.as_deref()))
                        };
                        let bytes = question.bytes.clone();
                        let theirs = scope.spawn(move || ask(go, &bytes));
                        let bytes = question.bytes.clone();
                        let own = scope.spawn(move || ask(ours, &bytes));
                        asked.push((*zone, question.about.clone(), udp, theirs, own));
                    }
                }
            }
            for (zone, about, udp, theirs, own) in asked {
                let joined = |one: std::thread::ScopedJoinHandle<'_, Result<String>>| {
                    one.join().map_err(|_| anyhow::anyhow!("asking panicked"))?
                };
                let (theirs, own) = (joined(theirs)?, joined(own)?);
                compared += 1;
                if theirs != own && !is_meant(zone, &theirs, &own) {
                    let how = if udp { "udp" } else { "tcp" };
                    differences.push(format!("{about} by {how}\n  go   {theirs}\n  ours {own}"));
                }
            }
            Ok::<_, anyhow::Error>(())
        })?;
    }
    Ok((differences, compared))
}

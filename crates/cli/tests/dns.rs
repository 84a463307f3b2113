//! `dns status`: what is told of a machine whose own resolver nobody looks at.

mod support;

use serde_json::{Value, json};
use support::{Script, run};

fn script(why: &str) -> Script {
    let status = json!({
        "BackendState": "Running", "CurrentTailnet": { "MagicDNSEnabled": true, "MagicDNSSuffix": "tail.example" },
        "Self": { "DNSName": "me.tail.example." },
    });
    Script::new(&status, &json!({ "CorpDNS": true })).answer("GET dns-config", 200, "{}").answer(
        "GET dns-osconfig",
        500,
        why,
    )
}

/// Go's command line has one word for every daemon that leaves the machine's resolver alone.
#[test]
fn a_resolver_left_alone_has_one_word() {
    for (why, want) in [
        ("getting OS base config is not supported", "not supported on this platform"),
        ("disk on fire", "500 Internal Server Error: disk on fire"),
    ] {
        let done = run(&script(why), "dns status --json");
        let said: Value = serde_json::from_str(&done.out).expect("JSON");
        assert_eq!(said["SystemDNSError"], want, "{}", done.transcript());
        assert!(run(&script(why), "dns status").out.contains(want));
    }
}

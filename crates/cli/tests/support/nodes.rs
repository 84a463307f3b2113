//! Nodes in the states in which `up` finds them.

use serde_json::{Value, json};

pub fn key(digit: &str) -> String {
    format!("nodekey:{}", digit.repeat(64))
}

pub fn status(state: &str) -> Value {
    json!({
        "Version": "1.102.5", "TUN": false, "BackendState": state, "HaveNodeKey": state != "NeedsLogin",
        "AuthURL": "", "TailscaleIPs": null, "Self": { "PublicKey": key("1"), "HostName": "router" },
        "Health": [], "Peer": { key("6"): {
            "ID": "n6", "PublicKey": key("6"), "DNSName": "exit.tail12.ts.net.",
            "TailscaleIPs": ["100.64.0.6", "fd7a:115c:a1e0::6"], "ExitNodeOption": true } },
        "MagicDNSSuffix": "tail12.ts.net",
    })
}

/// Preferences of a node that has never seen control.
pub fn fresh() -> Value {
    json!({ "CorpDNS": true, "LoggedOut": true, "NoStatefulFiltering": true, "NetfilterMode": 2,
            "AutoUpdate": { "Check": true, "Apply": null } })
}

/// Preferences of a node with many settings, as the Go tool was shown for the recorded texts.
pub fn settled() -> Value {
    json!({
        "ControlURL": "https://c.example", "RouteAll": true, "ExitNodeID": "n6", "ExitNodeIP": "", "CorpDNS": true,
        "WantRunning": true, "Hostname": "it's me", "AdvertiseRoutes": ["0.0.0.0/0", "10.0.0.0/8", "::/0"],
        "AdvertiseTags": ["tag:a", "tag:b"], "NoStatefulFiltering": true, "NetfilterMode": 1,
        "OperatorUser": "joe", "ProfileName": "nick", "AutoUpdate": { "Check": true, "Apply": null },
        "Config": { "UserProfile": { "ID": 123, "LoginName": "ann@example.com", "DisplayName": "Ann" }, "NodeID": "n1" },
    })
}

/// Logged in, all settings at their defaults but the name of the control server.
pub fn plain() -> Value {
    json!({
        "ControlURL": "https://c.example", "CorpDNS": true, "WantRunning": true, "NoStatefulFiltering": true,
        "NetfilterMode": 2, "AutoUpdate": { "Check": true, "Apply": null },
        "Config": { "UserProfile": { "ID": 123, "LoginName": "ann@example.com" }, "NodeID": "n1" },
    })
}

pub const RUNS: &[&str] = &[
    r#"{"Version":"","State":2,"Prefs":null,"NewInSomeVersion":{"x":[1]}}"#,
    r#"{"LoginFinished":{}}"#,
    r#"{"State":5}"#,
    r#"{"State":6}"#,
];

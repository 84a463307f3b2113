//! Table of typed lines against what the Go tool makes of them (texts recorded from its 1.102.5 build).

use super::*;
use crate::command::Run;
use crate::stop::Outcome;

fn run(_: &mut Run<'_, '_>, _: &Matches) -> Outcome {
    Ok(())
}

const fn command(name: &'static str, usage: &'static str) -> Command {
    Command { name, usage, run: Some(run), ..Command::PLAIN }
}

static ROOT: Command = Command {
    flags: &[&[text("socket", "/run/s", "path")]],
    commands: &[&UP, &PING, &IP, &SWITCH, &DEBUG],
    run: None,
    ..command("tailscale", "tailscale [flags] <subcommand>")
};

static UP: Command = Command {
    flags: &[
        &[switch("accept-dns", true, "dns"), switch("json", false, "json")],
        &[
            switch("report-posture", false, "posture"),
            text("auth-key", "", "key"),
            duration("timeout", "0s", "limit"),
            only_true("host-routes", "true").hidden(),
            text("hostname", "", "name"),
        ],
    ],
    ..command("up", "tailscale up [flags]")
};

static PING: Command = Command { flags: &[&[int("c", "10", "count")]], ..command("ping", "tailscale ping") };

static IP: Command = Command {
    flags: &[&[switch("4", false, "v4"), switch("1", false, "one")]],
    ..command("ip", "tailscale ip")
};

static SWITCH: Command = Command {
    flags: &[&[switch("list", false, "list")]],
    commands: &[&REMOVE],
    ..command("switch", "tailscale switch")
};

static REMOVE: Command = command("remove", "tailscale switch remove");

static DEBUG: Command =
    Command { commands: &[&PREFS], run: None, ..command("debug", "tailscale debug <subcommand>") };

static PREFS: Command = command("prefs", "");

/// `command path | flag=value… | rest`, or the first line of what is wrong.
fn typed(line: &str) -> String {
    let args: Vec<String> =
        line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("%20", " ")).collect();
    match read(&ROOT, "", &args) {
        Err(error) => format!("{}: {}", error.status, mask_given(&args, &error.message)),
        Ok(Typed::Help(text)) => format!("help {}", text.lines().nth(3).unwrap_or_default().trim()),
        Ok(Typed::Run(levels)) => {
            let mut out = Vec::new();
            for matches in &levels {
                out.push(matches.command.name.to_owned());
                let given = matches.all_given();
                out.extend(given.iter().map(|flag| format!("{}={}", flag.name, matches.word(flag.name))));
                out.extend(matches.rest().iter().map(|word| format!("[{word}]")));
            }
            out.remove(0);
            out.join(" ")
        }
    }
}

#[test]
fn lines() {
    for (line, want) in [
        ("up", "up"),
        ("up -accept-dns", "up accept-dns=true"),
        ("up --accept-dns=false -hostname=x", "up accept-dns=false hostname=x"),
        ("up --hostname x --accept-dns=0", "up accept-dns=0 hostname=x"),
        ("up --accept-dns false", "up accept-dns=true [false]"),
        ("up --hostname= --json", "up hostname= json=true"),
        ("up --hostname --json", "up hostname=--json"),
        ("up -- --hostname x", "up [--hostname] [x]"),
        ("up - x", "up [-] [x]"),
        ("up x --json", "up [x] [--json]"),
        ("up --authkey k -posture-checking", "up auth-key=k report-posture=true"),
        ("up -authkey=k=v", "up auth-key=k=v"),
        ("--socket /a up", "socket=/a up"),
        ("-socket=/a up --timeout 1m30s", "socket=/a up timeout=1m30s"),
        ("ping -c 3 host", "ping c=3 [host]"),
        ("ip -4 peer", "ip 4=true [peer]"),
        ("switch remove x", "switch remove [x]"),
        ("switch x", "switch [x]"),
        // Rewritten to `version`, which this small tree does not have.
        ("-V", "1: tailscale: unknown subcommand: version"),
        ("", "help tailscale [flags] <subcommand>"),
        ("help", "help tailscale [flags] <subcommand>"),
        ("help up", "help tailscale up [flags]"),
        ("up -h", "help tailscale up [flags]"),
        ("up --json --help --frob", "help tailscale up [flags]"),
        ("debug", "1: tailscale debug: subcommand required"),
        ("debug -h", "help tailscale debug <subcommand>"),
        (
            "funnel 80",
            "1: tailscale: unknown subcommand: funnel\n'tailscale funnel' is for a part that is not in this build.",
        ),
        ("frobnicate", "1: tailscale: unknown subcommand: frobnicate"),
        ("pinh", "1: tailscale: unknown subcommand: pinh\nDid you mean 'tailscale ping'?"),
        ("debug pref", "1: tailscale debug: unknown subcommand: pref\nDid you mean 'tailscale debug prefs'?"),
        ("up --zzz", "2: flag provided but not defined: -zzz"),
        ("up --hostnam=x", "2: flag provided but not defined: -hostnam\nDid you mean --hostname?"),
        ("up --accept-dns=maybe", "2: invalid boolean value \"maybe\" for -accept-dns: parse error"),
        (
            "up --accept-dns --accept-dns=false",
            "2: invalid boolean value \"false\" for -accept-dns: flag provided multiple times",
        ),
        (
            "--socket=/a --socket=/b up",
            "2: invalid value \"/b\" for flag -socket: flag provided multiple times",
        ),
        ("up --timeout=5x", "2: invalid value \"5x\" for flag -timeout: parse error"),
        (
            "up --timeout=tskey-auth-abc_1",
            "2: invalid value \"tskey-XXXXXXXX_1\" for flag -timeout: parse error",
        ),
        ("up --auth-key", "2: flag needs an argument: -auth-key"),
        ("ping -c=x", "2: invalid value \"x\" for flag -c: parse error"),
        (
            "ping -c=9999999999999999999999",
            "2: invalid value \"9999999999999999999999\" for flag -c: value out of range",
        ),
        (
            "up --host-routes=false",
            "2: invalid boolean value \"false\" for -host-routes: unsupported value; only 'true' is allowed",
        ),
        (
            "--hostname=x up",
            "2: flag provided but not defined: -hostname\n\
             Did you mean 'tailscale up --hostname'? Flags of a command follow its name.",
        ),
        ("---x", "2: bad flag syntax: ---x"),
        ("up --=3", "2: bad flag syntax: --=3"),
    ] {
        assert_eq!(typed(line), want, "tailscale {line}");
    }
}

#[test]
fn durations_both_ways() {
    for (text, nanos, shown) in [
        ("0", 0, "0s"),
        ("1h2m3s", 3_723_000_000_000, "1h2m3s"),
        ("90s", 90_000_000_000, "1m30s"),
        ("1.5s", 1_500_000_000, "1.5s"),
        (".25s", 250_000_000, "250ms"),
        ("23ms", 23_000_000, "23ms"),
        ("1500us", 1_500_000, "1.5ms"),
        ("-2s", -2_000_000_000, "-2s"),
        ("3ns", 3, "3ns"),
        ("60m", 3_600_000_000_000, "1h0m0s"),
    ] {
        assert_eq!(parse_duration(text), Ok(GoDuration(nanos)), "{text}");
        assert_eq!(GoDuration(nanos).to_string(), shown);
    }
    for bad in ["", "-", "5", "s", "1x", "1..s", "1s2", "99999999999999999999h", "1e3s"] {
        assert!(parse_duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn whole_numbers() {
    for (text, want) in [
        ("0", Ok(0)),
        ("-9223372036854775808", Ok(i64::MIN)),
        ("+9223372036854775807", Ok(i64::MAX)),
        ("9223372036854775808", Err("value out of range")),
        ("0x1F", Ok(31)),
        ("-0b101", Ok(-5)),
        ("0O17", Ok(15)),
        ("0x", Err("parse error")),
        ("", Err("parse error")),
        ("-", Err("parse error")),
        ("99999999999999999999x", Err("parse error")),
        ("1_0", Err("parse error")),
    ] {
        assert_eq!(parse_int(text), want, "{text}");
    }
}

#[test]
fn quoting() {
    assert_eq!(quote("a\"b\\\n\u{1}ü"), "\"a\\\"b\\\\\\n\\x01ü\"");
    assert_eq!(quote_list(&["foo", "bar"]), "[\"foo\" \"bar\"]");
    for (word, want) in [
        ("", "''"),
        ("plain", "plain"),
        ("a b", "'a b'"),
        ("it's", "it\\'s"),
        ("it's it", "'it'\\''s it'"),
        ("~x$", "\\~x\\$"),
    ] {
        assert_eq!(shell_quote(word), want);
    }
}

#[test]
fn keys_are_masked_wherever_they_stand() {
    assert_eq!(mask_given(&[], "a tskey-auth-k1_x tskey-"), "a tskey-XXXXXXX_x tskey-");
    assert_eq!(mask_given(&[], "tskey-äb"), "tskey-äb");
    for line in ["--auth-key=0123456789", "-authkey 0123456789", "up --x --authkey=0123456789", "--auth-key"]
    {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let masked = mask_given(&args, line);
        assert_eq!(masked, line.replace("0123456789", "..."), "{line}");
    }
}

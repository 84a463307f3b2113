//! Environments and the plans they make.

use super::*;
use expect_test::{Expect, expect};

fn plan(vars: &[(&str, &str)]) -> Result<Plan, Vec<String>> {
    let vars: Vec<_> = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(&vars, &|_| true, 0)
}

#[track_caller]
fn check(vars: &[(&str, &str)], want: Expect) {
    let text = match plan(vars) {
        Ok(plan) => {
            let mut text = format!("tailscaled {}\n", plan.daemon.join(" "));
            let key = plan.key.as_ref().map(|key| format!(" + {key:?}")).unwrap_or_default();
            match plan.by_file() {
                true => text.push_str("no up: from a file\n"),
                false => text.push_str(&format!("up {}{key}\n", plan.up.join(" "))),
            }
            if let Some(set) = &plan.set {
                text.push_str(&format!("set {}\n", set.join(" ")));
            }
            if let Some(at) = plan.health {
                text.push_str(&format!("health at {at}\n"));
            }
            plan.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
            text
        }
        Err(refusals) => refusals.iter().map(|refusal| format!("refused: {refusal}\n")).collect(),
    };
    want.assert_eq(&text);
}

#[test]
fn nothing_is_set() {
    check(
        &[],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false
        "#]],
    );
}

#[test]
fn all_that_is_read() {
    check(
        &[
            ("TS_AUTHKEY", "tskey-secret\n"),
            ("TS_HOSTNAME", "hex"),
            ("TS_ROUTES", "192.168.88.0/24, fd00:88::/64"),
            ("TS_ACCEPT_DNS", "true"),
            ("TS_EXTRA_ARGS", "--accept-routes  --advertise-tags=tag:router"),
            ("TS_STATE_DIR", "/flash/state"),
            ("TS_SOCKET", "/tmp/tailscaled.sock"),
            ("TS_AUTH_ONCE", "1"),
            ("TS_TAILSCALED_EXTRA_ARGS", "--port=41641 --verbose 1"),
            ("TS_USERSPACE", "true"),
            ("TS_ENABLE_HEALTH_CHECK", "true"),
            ("TS_LOCAL_ADDR_PORT", "0.0.0.0:80"),
            ("TS_LOGIN_SERVER", "https://headscale.example.com"),
        ],
        expect![[r#"
            tailscaled --socket=/tmp/tailscaled.sock --statedir=/flash/state --tun=userspace-networking --port=41641 --port=41641 --verbose 1
            up --accept-dns=true --advertise-routes=192.168.88.0/24,fd00:88::/64 --hostname=hex --login-server=https://headscale.example.com --accept-routes --advertise-tags=tag:router + Key(…)
            set --accept-dns=true --advertise-routes=192.168.88.0/24,fd00:88::/64 --hostname=hex
            health at 0.0.0.0:80
        "#]],
    );
}

#[test]
fn empty_is_not_set_but_for_routes() {
    check(
        &[
            ("TS_AUTHKEY", ""),
            ("TS_HOSTNAME", ""),
            ("TS_SOCKET", ""),
            ("TS_STATE_DIR", " "),
            ("TS_ROUTES", ""),
            ("TS_USERSPACE", ""),
        ],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false --advertise-routes=
        "#]],
    );
}

#[test]
fn two_names_of_the_key_and_a_file() {
    check(
        &[("TS_AUTHKEY", ""), ("TS_AUTH_KEY", "file:/run/key")],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false + Key(in a file)
        "#]],
    );
}

#[test]
fn a_key_in_the_extra_arguments_is_for_logins_as_well() {
    for words in ["--auth-key=hskey-a", "--auth-key hskey-a", "-authkey hskey-a", "--authkey=hskey-a"] {
        check(
            &[("TS_EXTRA_ARGS", &format!("--accept-routes {words} --shields-up"))],
            expect![[r#"
                tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
                up --accept-dns=false --accept-routes --shields-up + Key(…)
            "#]],
        );
    }
    let both = [("TS_AUTHKEY", "own"), ("TS_EXTRA_ARGS", "--auth-key=file:/run/key")];
    check(
        &both,
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false + Key(in a file)
            note: TS_EXTRA_ARGS has --auth-key, so TS_AUTHKEY is not used
        "#]],
    );
    assert_eq!(plan(&both).unwrap().key, Some(Key("file:/run/key".to_owned())));
    let empty = plan(&[("TS_AUTHKEY", "own"), ("TS_EXTRA_ARGS", "--auth-key=")]).unwrap();
    assert_eq!((empty.key, empty.notes.len()), (Some(Key("own".to_owned())), 0));
    for (words, want) in
        [("--auth-key=a --authkey b", "twice"), ("--accept-routes --auth-key", "needs a value")]
    {
        let refusals = plan(&[("TS_EXTRA_ARGS", words)]).unwrap_err();
        assert!(refusals.len() == 1 && refusals[0].contains(want), "{words}: {refusals:?}");
    }
}

#[test]
fn white_space_around_a_value_means_nothing() {
    check(
        &[
            ("PORT", "41000 \r"),
            ("TS_LOG_VERBOSITY", "1\r"),
            ("TS_HOSTNAME", "router.\r"),
            ("TS_DISABLE_UPNP", "true\r"),
            ("TS_USERSPACE", "true "),
        ],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=userspace-networking
            up --accept-dns=false --hostname=router
        "#]],
    );
    let own = plan(&[("PORT", " \r")]).unwrap();
    assert_eq!(own.flags.port, PORT);
}

#[test]
fn what_is_no_text_is_refused_by_its_name() {
    check(
        &[("TS_AUTHKEY", "hskey-\u{fffd}a"), ("TS_STATE_DIR", "/fl\u{fffd}sh"), ("PORT", "\u{fffd}")],
        expect![[r#"
            refused: TS_AUTHKEY has characters that are not UTF-8: write it anew
            refused: TS_STATE_DIR has characters that are not UTF-8: write it anew
            refused: PORT has characters that are not UTF-8: write it anew
        "#]],
    );
    assert!(plan(&[("TS_WEATHER", "\u{fffd}"), ("HOME", "/\u{fffd}")]).unwrap().notes.len() == 1);
}

#[test]
fn dns_in_the_extra_arguments_wins_and_is_cut_out() {
    check(
        &[
            ("TS_ACCEPT_DNS", "false"),
            ("TS_EXTRA_ARGS", "--ssh=false -accept-dns --shields-up"),
            ("TS_AUTH_ONCE", "true"),
        ],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=true --ssh=false --shields-up
            set --accept-dns=true
        "#]],
    );
}

#[test]
fn daemon_flags_win_and_a_file_leaves_nothing_to_bring_up() {
    check(
        &[("TS_TAILSCALED_EXTRA_ARGS", "--tun=wg0 --statedir=/s --config=/etc/ts.json"), ("TS_AUTHKEY", "k")],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641 --tun=wg0 --statedir=/s --config=/etc/ts.json
            no up: from a file
        "#]],
    );
}

#[test]
fn health_by_its_old_name() {
    check(
        &[("TS_HEALTHCHECK_ADDR_PORT", "[::]:1234")],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false
            health at [::]:1234
            note: TS_HEALTHCHECK_ADDR_PORT is an old name: set TS_ENABLE_HEALTH_CHECK=true and TS_LOCAL_ADDR_PORT
        "#]],
    );
    check(
        &[("TS_ENABLE_HEALTH_CHECK", "true")],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false
            health at [::]:9002
        "#]],
    );
}

#[test]
fn what_has_no_effect_is_told() {
    check(
        &[
            ("TS_CLIENT_SECRET", "tskey-client-secret"),
            ("TS_SERVE_CONFIG", "/serve.json"),
            ("TS_ROUTE", "10.0.0.0/8"),
            ("TS_AUTH_ONCE", "yes"),
            ("TS_LOGIN_SERVER", "https://a.example.com"),
            ("TS_EXTRA_ARGS", "--login-server=https://b.example.com"),
        ],
        expect![[r#"
            tailscaled --socket=/var/run/tailscale/tailscaled.sock --statedir=/var/lib/tailscale --tun=tailscale0 --port=41641
            up --accept-dns=false --login-server=https://b.example.com
            note: TS_CLIENT_SECRET has no effect: this build has no OAuth and workload identity; make an auth key and set TS_AUTHKEY
            note: TS_SERVE_CONFIG has no effect: this build has no serve
            note: TS_ROUTE is unknown and has no effect (did you mean TS_ROUTES?)
            note: TS_EXTRA_ARGS has --login-server, so TS_LOGIN_SERVER is not used
            note: TS_AUTH_ONCE="yes" is taken for false: write true or false
        "#]],
    );
}

#[test]
fn wrong_values_are_told_all_at_once() {
    check(
        &[
            ("TS_ROUTES", "192.168.88.1/24"),
            ("TS_HOSTNAME", "my router"),
            ("TS_LOGIN_SERVER", "headscale.example.com"),
            ("TS_EXTRA_ARGS", "--accept-dns=maybe"),
            ("TS_ENABLE_HEALTH_CHECK", "true"),
            ("TS_LOCAL_ADDR_PORT", ":9002"),
            ("TS_TAILSCALED_EXTRA_ARGS", "--vebose=1"),
        ],
        expect![[r#"
            refused: TS_EXTRA_ARGS: --accept-dns=maybe: write --accept-dns=true or --accept-dns=false
            refused: TS_ROUTES: 192.168.88.1/24 has non-address bits set; expected 192.168.88.0/24; write prefixes like 192.168.88.0/24,fd00:88::/64
            refused: TS_HOSTNAME: "my router" is not a valid DNS label: contains invalid character ' '; write a name of letters, digits and dashes
            refused: TS_LOGIN_SERVER="headscale.example.com" is no address of a server: write https://HOST or http://HOST:PORT
            refused: TS_LOCAL_ADDR_PORT=":9002" is no address and port: write 0.0.0.0:9002 or [::]:9002
            refused: TS_TAILSCALED_EXTRA_ARGS: flag provided but not defined: -vebose (did you mean --verbose?)
        "#]],
    );
    check(
        &[("TS_ROUTES", "lan")],
        expect![[r#"
        refused: TS_ROUTES: "lan" is not a valid IP address or CIDR prefix; write prefixes like 192.168.88.0/24,fd00:88::/64
    "#]],
    );
    check(
        &[("TS_TAILSCALED_EXTRA_ARGS", "--cleanup")],
        expect![[r#"
        refused: TS_TAILSCALED_EXTRA_ARGS: --cleanup, --help and --version start no daemon: leave them out
    "#]],
    );
    check(
        &[("PORT", "many")],
        expect![[r#"
        refused: invalid value "many" for -port: give a number from 0 to 65535 (correct PORT, TS_LOG_VERBOSITY, TS_DNS_LISTEN or TS_DNS_ALLOW)
    "#]],
    );
    check(
        &[("TS_ENABLE_HEALTH_CHECK", "true"), ("TS_HEALTHCHECK_ADDR_PORT", "[::]:1")],
        expect![[r#"
        refused: TS_HEALTHCHECK_ADDR_PORT and TS_ENABLE_HEALTH_CHECK are both set: leave the first out and set TS_LOCAL_ADDR_PORT to its value
    "#]],
    );
}

#[test]
fn the_plan_does_not_show_the_key() {
    let plan = plan(&[("TS_AUTHKEY", "tskey-auth-secret")]).unwrap();
    assert!(!format!("{plan:?}").contains("secret"));
}

//! The resolver against the graph of the product, and against small wrong ones.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

fn graph() -> Graph {
    Graph::load().unwrap()
}

fn request(names: &[&str]) -> Request {
    Request { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Request::default() }
}

/// Everything that the names bring along, written or not.
fn reached(names: &[&str]) -> Vec<String> {
    let closure = graph().close(&request(names)).unwrap();
    let mut all = [closure.built, closure.missing].concat();
    all.sort_unstable();
    all
}

fn refused(names: &[&str], remove: &[&str]) -> String {
    let remove = remove.iter().map(|name| (*name).to_owned()).collect();
    graph().close(&Request { remove, ..request(names) }).unwrap_err().to_string()
}

#[test]
fn every_feature_brings_what_the_design_says() {
    let exit_dns = ["dns", "netstack", "peerapiclient", "useexitnode", "useroutes"];
    let table: &[(&str, &[&str])] = &[
        (
            "advertiseexitnode",
            &["advertiseexitnode", "advertiseroutes", "c2n", "dns", "health", "netstack", "peerapiserver"],
        ),
        ("advertiseroutes", &["advertiseroutes", "c2n", "health"]),
        ("allroots", &["allroots"]),
        ("c2n", &["c2n"]),
        ("cachenetmap", &["cachenetmap"]),
        ("debug", &["debug"]),
        ("dns", &["dns", "netstack"]),
        ("gro", &["gro", "netstack"]),
        ("health", &["health"]),
        ("ipnbus", &["ipnbus"]),
        ("iptables", &["iptables", "osrouter"]),
        ("kernelwireguard", &["kernelwireguard", "osrouter"]),
        ("listenrawdisco", &["listenrawdisco"]),
        ("netstack", &["netstack"]),
        ("osrouter", &["osrouter"]),
        ("outboundproxy", &["netstack", "outboundproxy"]),
        ("peerapiclient", &["peerapiclient"]),
        ("peerapiserver", &["peerapiserver"]),
        ("portmapper", &["portmapper"]),
        ("unixsocketidentity", &["unixsocketidentity"]),
        ("useexitnode", &exit_dns),
        ("usermetrics", &["usermetrics"]),
        ("useroutes", &["useroutes"]),
        ("zstd", &["zstd"]),
    ];
    for (name, brings) in table {
        assert_eq!(reached(&[name]), *brings, "{name}");
    }
    let named: BTreeSet<_> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(graph().features.into_keys().collect::<BTreeSet<_>>(), named);
}

#[test]
fn every_spelling_is_understood() {
    let table = [
        ("advertise-exit-node", "advertiseexitnode"),
        ("AdvertiseExitNode", "advertiseexitnode"),
        ("advertise-routes", "advertiseroutes"),
        ("subnet-router", "advertiseroutes"),
        ("subnet-routes", "advertiseroutes"),
        ("control-to-node", "c2n"),
        ("map-cache", "cachenetmap"),
        ("magicdns", "dns"),
        ("magic-dns", "dns"),
        ("MagicDNS", "dns"),
        ("accept-dns", "dns"),
        ("ipn-bus", "ipnbus"),
        ("bus", "ipnbus"),
        ("watch-ipn-bus", "ipnbus"),
        ("netfilter", "iptables"),
        ("listen-raw-disco", "listenrawdisco"),
        ("raw-disco", "listenrawdisco"),
        ("all-authorities", "allroots"),
        ("userspace", "netstack"),
        ("userspace-networking", "netstack"),
        ("kernel", "osrouter"),
        ("os-router", "osrouter"),
        ("tun", "osrouter"),
        ("proxy", "outboundproxy"),
        ("socks5", "outboundproxy"),
        ("peer-api-client", "peerapiclient"),
        ("PeerAPIServer", "peerapiserver"),
        ("port-mapping", "portmapper"),
        ("port-mapper", "portmapper"),
        ("upnp", "portmapper"),
        ("local-users", "unixsocketidentity"),
        ("unix_socket_identity", "unixsocketidentity"),
        ("exit-node", "useexitnode"),
        ("use-exit-node", "useexitnode"),
        ("metrics", "usermetrics"),
        ("user-metrics", "usermetrics"),
        ("accept-routes", "useroutes"),
        ("use-routes", "useroutes"),
    ];
    for (spelling, name) in table {
        assert_eq!(reached(&[spelling]), reached(&[name]), "{spelling}");
        let reasons = graph().close(&request(&[spelling])).unwrap().reasons;
        assert_eq!(reasons[0].why, format!("asked for as {spelling}"));
    }
    let told: BTreeSet<_> = table.iter().map(|(spelling, _)| *spelling).collect();
    for alias in graph().features.values().flat_map(|feature| &feature.aliases) {
        assert!(told.contains(alias.as_str()), "{alias} is not in this table");
    }
    assert_eq!(reached(&["advertise-routes,accept-routes", "kernel"]).len(), 5);
}

#[test]
fn tags_of_gos_build_are_understood() {
    let without = |remove: &[&str], names: &[&str]| {
        let remove = remove.iter().map(|name| (*name).to_owned()).collect();
        graph().close(&Request { remove, profile: Some(Profile::Router), ..request(names) }).unwrap()
    };
    // A tag leaves its feature out, wherever it stands; what is never here is left out already.
    let mut others = without(&[], &[]).missing;
    others.retain(|name| name != "gro");
    for choice in
        [without(&["ts_omit_gro"], &[]), without(&["gro"], &[]), without(&[], &["ts_omit_gro,ts_omit_ssh"])]
    {
        assert_eq!(choice.missing, others);
    }
    assert_eq!(without(&[], &["cli", "ts_include_cli"]), without(&[], &[]));
    assert!(refused(&["dns,ts_omit_dns"], &[]).contains("say one of both"));
    assert!(refused(&["ts_omit_dsn"], &[]).contains("did you mean dns?"));
    // `featuretags --min --add=…` names what the incumbent keeps; it has no roots to choose from.
    let keeps = "advertiseexitnode,useexitnode,dns,gro,portmapper,listenrawdisco,health,iptables,osrouter,\
                 unixsocketidentity,ipnbus";
    assert_eq!(reached(&[keeps, "allroots"]), graph().profiles["router"]);
}

#[test]
fn an_unknown_name_has_its_neighbour() {
    assert_eq!(refused(&["dsn"], &[]), "no feature \"dsn\"; did you mean dns?");
    assert_eq!(
        refused(&["advertise-exitnodes"], &[]),
        "no feature \"advertise-exitnodes\"; did you mean advertiseexitnode?"
    );
    assert_eq!(refused(&["exit-nod"], &[]), "no feature \"exit-nod\"; did you mean exit-node (useexitnode)?");
    assert!(refused(&["wireless-charging"], &[]).contains("cargo xtask features"));
    assert!(refused(&["tailscale-ssh"], &[]).starts_with("no feature"));
    assert!(refused(&["ssh"], &[]).contains("leaves out"));
    assert!(refused(&[], &["grow"]).contains("gro"));
    assert!(Profile::parse("routers").unwrap_err().to_string().contains("router, tiny, full"));
}

#[test]
fn what_another_needs_is_not_removed() {
    let error = refused(&[], &["netstack"]);
    assert!(error.contains("netstack cannot be left out without"), "{error}");
    for dependent in ["advertiseexitnode", "dns", "gro", "useexitnode"] {
        assert!(error.contains(dependent), "{error}");
    }
    assert!(!error.contains("iptables"), "{error}");
    assert_eq!(
        refused(&["advertise-routes"], &["health", "c2n"]),
        "c2n cannot be left out without advertiseroutes: remove also advertiseroutes\n\
         health cannot be left out without advertiseroutes: remove also advertiseroutes"
    );
    assert!(refused(&["dns"], &["dns"]).contains("say one of both"));
    assert!(refused(&["dns"], &["cli"]).contains("always in"));
    let why = &graph().absent["ssh"];
    assert_eq!(
        refused(&["dns"], &["ts_omit_ssh"]),
        format!("ts_omit_ssh stands for no feature of this product: {why}")
    );
    // With its dependents it goes.
    let remove = ["netstack,dns", "gro", "exit-node", "advertise-exit-node"].map(str::to_owned).to_vec();
    let left = graph().close(&Request { remove, ..Request::default() }).unwrap();
    assert!(left.missing.iter().all(|name| !["dns", "gro", "netstack"].contains(&name.as_str())));
}

#[test]
fn a_build_needs_something_that_carries_packets() {
    let refusals = |names: &[&str]| graph().close(&request(names)).unwrap().refusals;
    assert_eq!(refusals(&["health", "osrouter"]), [""; 0]);
    let [refusal] = refusals(&["health"]).try_into().unwrap();
    assert!(refusal.contains("which takes osrouter") && refusal.ends_with("add osrouter"), "{refusal}");
    // A build brings one along, unless that is to be left out.
    let built = resolve(&request(&["exit-node"])).unwrap();
    assert!(
        ["osrouter", "netstack", "dns", "peerapiclient"]
            .iter()
            .all(|one| built.built.iter().any(|name| name == one))
    );
    let why = built.reasons.iter().find(|reason| reason.feature == "osrouter").unwrap();
    assert_eq!(why.why, "nothing else in this choice carries packets");
    let without = Request { remove: vec!["osrouter".to_owned()], ..request(&["health"]) };
    assert!(resolve(&without).unwrap_err().to_string().ends_with("add osrouter"));
}

#[test]
fn what_is_planned_is_refused_by_name_and_missing_by_edge() {
    let json = json!({
        "features": { "base": [], "top": ["base"] },
        "metadata": {
            "features": {
                "base": { "about": "x" },
                "later": { "about": "x", "planned": true, "needs": { "base": "it must" } },
                "top": { "about": "x", "needs": { "later": "some day", "base": "now" } },
            },
            "profiles": { "router": ["base", "later", "top"], "tiny": ["base"], "full": ["base"] },
            "one-of": ["base"],
        },
    });
    let graph = Graph::parse(&json).unwrap();
    let by_name = graph.close(&request(&["later"])).unwrap();
    assert!(by_name.check().unwrap_err().to_string().contains("later is planned"));
    for choice in [request(&["top"]), Request::default()] {
        let closure = graph.close(&choice).unwrap();
        assert!(closure.check().is_ok());
        assert_eq!((closure.built.join(" "), closure.missing_value()), ("base top".into(), "later".into()));
        assert_eq!(closure.cargo_words(), ["--no-default-features", "--features=base,top"]);
    }
    // What is needed by something planned comes with it.
    assert_eq!(graph.close(&request(&["later"])).unwrap().built, ["base"]);
}

#[test]
fn profiles_are_what_the_design_says() {
    let graph = graph();
    let whole = |profile: Profile| {
        let closure = resolve(&profile.into()).unwrap();
        assert!(closure.refusals.is_empty());
        let mut all = [closure.built, closure.missing].concat();
        all.sort_unstable();
        assert_eq!(all, graph.profiles[profile.name()], "nothing comes in by an edge alone");
        all
    };
    let (router, tiny, full) = (whole(Profile::Router), whole(Profile::Tiny), whole(Profile::Full));
    assert_eq!(router.len(), 18);
    let seven =
        ["advertiseroutes", "c2n", "health", "ipnbus", "osrouter", "portmapper", "unixsocketidentity"];
    assert_eq!(tiny, [&seven[..], &["useroutes"]].concat());
    let extras: Vec<_> = full.iter().filter(|name| !router.contains(name)).collect();
    assert_eq!(extras, ["cachenetmap", "debug", "outboundproxy", "usermetrics", "zstd"]);
    assert!(router.iter().chain(&tiny).all(|name| full.contains(name)));
    assert_eq!(resolve(&Request::default()).unwrap(), resolve(&Profile::Router.into()).unwrap());
    for profile in Profile::ALL {
        assert_eq!(Profile::parse(profile.name()).unwrap(), profile);
    }
}

#[test]
fn a_plain_build_is_the_router_and_what_scenarios_look_at() {
    // The demo and some scenarios run a plain build and look into it.
    let router = resolve(&Profile::Router.into()).unwrap().built;
    let expected: BTreeSet<_> =
        router.into_iter().chain(["cachenetmap", "debug"].map(str::to_owned)).collect();
    assert_eq!(graph().default, expected);
}

#[test]
fn wrong_graphs_are_found() {
    let profiles = json!({ "router": [], "tiny": [], "full": [] });
    let wrong = |cargo: serde_json::Value, features: serde_json::Value| {
        let json = json!({ "features": cargo, "metadata": { "features": features, "profiles": profiles } });
        Graph::parse(&json).unwrap_err().to_string()
    };
    let planned = |needs: &str| json!({ "about": "x", "planned": true, "needs": { needs: "why" } });
    let circle = json!({ "a": planned("b"), "b": planned("c"), "c": planned("a") });
    assert_eq!(wrong(json!({}), circle), "the features go round in a circle: a needs b needs c needs a");
    assert!(wrong(json!({}), json!({ "a": planned("a") })).contains("circle: a needs a"));
    assert!(wrong(json!({}), json!({ "a": planned("z") })).contains("no feature"));
    assert!(wrong(json!({}), json!({ "a": { "about": "x" } })).contains("not planned"));
    assert!(
        wrong(json!({ "a": [] }), json!({ "a": { "about": "x", "planned": true } }))
            .contains("which of both")
    );
    assert!(wrong(json!({ "a": [] }), json!({})).contains("[package.metadata.features] has not"));
    let two = json!({ "a": { "about": "x", "needs": { "b": "why" } }, "b": { "about": "x" } });
    assert!(wrong(json!({ "a": [], "b": [] }), two).contains("[features] says"));
    let twice = json!({ "a": { "about": "x", "aliases": ["b"] }, "b": { "about": "x" } });
    assert!(wrong(json!({ "a": [], "b": [] }), twice).contains("means both"));
    let bare = json!({ "features": { "a": [] }, "metadata": { "features": { "a": { "about": "x" } },
        "profiles": { "router": ["b"], "tiny": [], "full": [] } } });
    assert!(Graph::parse(&bare).unwrap_err().to_string().contains("no feature"));
}

#[test]
fn people_and_programs_are_answered() {
    let graph = graph();
    let text = print::all(&graph);
    assert_eq!(text.lines().filter(|line| line.contains("planned")).count(), planned(&graph));
    let closure = graph.close(&Profile::Router.into()).unwrap();
    let text = print::closure(&graph, &closure, true);
    assert!(text.contains("advertiseroutes needs it: control asks"), "{text}");
    assert!(text.contains("in profile router"));
    let value = print::closure_json(&closure);
    assert_eq!(value["built"].as_array().unwrap().len(), closure.built.len());
    assert_eq!(value["cargo"][0], "--no-default-features");
    assert_eq!(print::all_json(&graph)["features"].as_array().unwrap().len(), graph.features.len());
}

fn planned(graph: &Graph) -> usize {
    graph.features.values().filter(|feature| feature.planned).count()
}

#[test]
fn arguments_choose() {
    let read = |words: &[&str]| {
        let matches = command().try_get_matches_from([&["features"], words].concat()).unwrap();
        Request::read(&matches)
    };
    let request = read(&["dns", "--add", "gro,c2n", "--remove=c2n", "--profile", "tiny"]).unwrap();
    assert_eq!(request.names, ["dns", "gro,c2n"]);
    assert_eq!((request.profile, request.remove), (Some(Profile::Tiny), vec!["c2n".to_owned()]));
    assert_eq!(read(&[]).unwrap(), Request::default());
    assert!(read(&["--profile=huge"]).is_err());
}

//! The choice of the home relay, and its health.

use super::*;
use engine::netcheck::Report;
use std::sync::Arc;

/// A report that chose `home` and found out nothing else.
fn looked(home: u16) -> Input {
    Input::Looked(Arc::new(Report { preferred_derp: RegionId(home), ..Report::default() }))
}

/// A node whose map has three regions.
fn three() -> Fixture {
    let mut node = Fixture::running();
    let told = node.map(map_with_regions(&[1, 2, 3]), &[2, 3]);
    assert!(told.contains(&"look".to_owned()), "{told:?}");
    node
}

#[test]
fn one_region_needs_no_measuring() {
    let node = Fixture::running();
    assert_eq!(node.backend.home(), RegionId(1));
}

#[test]
fn home_is_where_the_report_says() {
    let mut node = three();
    let told = node.input(looked(2));
    assert!(told.contains(&"relays".to_owned()) && told.contains(&"report".to_owned()), "{told:?}");
    assert_eq!(node.backend.home(), RegionId(2));
    assert_eq!(node.input(looked(2)), [""; 0], "nothing new");
    // A region that does not exist, or none at all: home stays.
    node.input(looked(9));
    node.input(looked(0));
    assert_eq!(node.backend.home(), RegionId(2));
}

#[test]
fn a_region_that_does_not_answer_any_more_is_not_near() {
    let mut node = three();
    let mut report = |full, udp, regions: &[u16]| {
        let took = Duration::from_millis(20);
        let region_v4_latency = regions.iter().map(|id| (RegionId(*id), took)).collect();
        node.input(Input::Looked(Arc::new(Report {
            preferred_derp: RegionId(2),
            full,
            udp,
            region_v4_latency,
            ..Report::default()
        })));
        [1, 2, 3].map(|id| node.backend.seconds_to(RegionId(id)).is_some())
    };
    assert_eq!(report(true, true, &[1, 2]), [true, true, false]);
    assert_eq!(report(false, true, &[3]), [true, true, true], "it asked that one only");
    assert_eq!(report(true, false, &[]), [true, true, true], "nobody could be asked");
    assert_eq!(report(true, true, &[2, 3]), [false, true, true]);
}

#[test]
fn home_stays_while_control_is_away() {
    let mut node = three();
    node.input(looked(2));
    node.control(Event::MapDown { error: ::control::Error::StreamEnded });
    assert_eq!(node.input(looked(3)), [""; 0], "peers could not be told");
    assert_eq!(node.backend.home(), RegionId(2));
    assert!(node.control(Event::MapUp).contains(&"look".to_owned()));
    node.input(looked(3));
    assert_eq!(node.backend.home(), RegionId(3));
    // Nothing was withheld this time: what it found last still stands.
    node.control(Event::MapDown { error: ::control::Error::StreamEnded });
    node.input(looked(2));
    node.input(looked(3));
    assert!(!node.control(Event::MapUp).contains(&"look".to_owned()));
}

#[test]
fn control_is_told_what_is_new_but_not_how_far_relays_are() {
    let mut node = three();
    node.input(looked(2));
    let far = |ms| [(RegionId(2), Duration::from_millis(ms))].into();
    let report = |varies, ms| {
        let preferred_derp = RegionId(2);
        let report =
            Report { udp: true, ipv4: true, mapping_varies: varies, preferred_derp, ..Report::default() };
        Input::Looked(Arc::new(Report { region_v4_latency: far(ms), ..report }))
    };
    assert_eq!(node.input(report(Some(true), 10)), ["report"]);
    assert_eq!(node.input(report(Some(true), 90)), [""; 0]);
    assert_eq!(node.input(report(None, 10)), [""; 0], "one server alone cannot tell");
    assert_eq!(node.input(report(Some(false), 10)), ["report"]);
    // Whether the system has IPv6 is not what the network lets through.
    assert_eq!(node.backend.looked.os_has_ipv6(), Some(false));
    node.backend.host.has_ipv6 = true;
    node.input(report(Some(true), 10));
    assert_eq!(node.backend.looked.os_has_ipv6(), Some(true));
}

/// A report that chose `home` and found it so many milliseconds away.
fn measured(home: u16, ms: u64) -> Input {
    let far = [(RegionId(home), Duration::from_millis(ms))].into();
    let preferred_derp = RegionId(home);
    Input::Looked(Arc::new(Report { preferred_derp, region_v4_latency: far, ..Report::default() }))
}

#[test]
fn how_far_relays_are_counts_as_last_measured_and_is_told_with_a_new_home() {
    let mut node = three();
    let far = |node: &Fixture, region| node.backend.seconds_to(RegionId(region));
    node.input(measured(2, 10));
    assert_eq!(node.input(measured(2, 20)), [""; 0]);
    assert_eq!(far(&node, 2), Some(0.02));
    node.backend.handle(measured(3, 5), &node.store, node.now);
    let mut told = None;
    while let Some(effect) = node.backend.poll_effect() {
        if let Effect::Control(::control::Command::Report(report)) = effect {
            told = report.hostinfo.net_info.as_ref().map(|info| info.derp_latency.clone());
        }
    }
    assert_eq!(told, Some([("2-v4".to_owned(), 0.02), ("3-v4".to_owned(), 0.005)].into()));
    assert_eq!((far(&node, 2), far(&node, 3)), (Some(0.02), Some(0.005)));
    // The numbers of another tailnet's regions mean other places.
    node.ask(Command::NewProfile);
    assert_eq!((far(&node, 2), far(&node, 3)), (None, None));
}

#[test]
fn an_automatic_exit_node_is_chosen_once_there_is_a_home() {
    if crate::parts::useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |prefs| prefs.auto_exit_node = "any".to_owned());
    node.control(registered(1));
    node.control(Event::MapUp);
    let exit = routing::router(2, &["0.0.0.0/0", "::/0"]);
    node.control(Event::MapItem(MapItem::Peer(Box::new(exit))));
    node.map(map_with_regions(&[1, 2]), &[]);
    assert_eq!(node.backend.prefs().exit_node_id, "auto:any");
    let told = node.input(measured(1, 10));
    assert_eq!(node.backend.prefs().exit_node_id, "n2TEST");
    assert!(told.contains(&"sync all".to_owned()), "{told:?}");
}

#[test]
fn port_mappings_are_told() {
    let mut node = Fixture::running();
    let mapping = crate::parts::portmapper::Mapping {
        external: Some("203.0.113.1:9".parse().unwrap()),
        pmp: Some(true),
        ..Default::default()
    };
    let told = node.input(Input::PortMapping(mapping));
    assert_eq!(told, ["port mapping Some(203.0.113.1:9)", "report"]);
}

#[test]
fn a_node_without_any_answer_has_a_home_all_the_same() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |_| {});
    node.control(registered(1));
    node.control(Event::MapUp);
    node.map(map_with_regions(&[4, 5]), &[]);
    assert_eq!(node.backend.home(), RegionId::NONE);
    node.input(looked(0));
    assert_eq!(node.backend.home(), RegionId(4));
}

#[test]
fn a_connection_that_could_not_be_made_takes_nothing_away() {
    let mut node = Fixture::running();
    let error = "connection refused".to_owned();
    node.input(Input::Relay(derp::Event::Disconnected { region: RegionId(9), error, home: false }));
    node.pass(60);
    assert!(node.health().is_empty(), "{:?}", node.health());
    node.want_running(false);
    node.want_running(true);
    assert_eq!(node.backend.state(), State::Running, "the relay is still there");
}

#[test]
fn a_lost_home_is_told_after_ten_seconds() {
    let mut node = Fixture::running();
    let error = "relay closed the connection".to_owned();
    node.input(Input::Relay(derp::Event::Disconnected { region: RegionId(1), error, home: true }));
    node.pass(9);
    assert!(node.health().is_empty());
    assert_eq!(seen(&node.pass(2)), ["> health [\"no-derp-connection\"]"]);
    let told = node.health().concat();
    assert!(told.contains("relay server 'r1'") && told.ends_with("(relay closed the connection)"), "{told}");
    assert_eq!(seen(&node.relay_up()), ["> health []"]);
    assert_eq!(node.backend.state(), State::Running);
}

#[test]
fn what_the_home_relay_says_of_itself() {
    let mut node = Fixture::running();
    let says = |region, text: &str| {
        Input::Relay(derp::Event::Health { region: RegionId(region), text: text.to_owned() })
    };
    assert_eq!(node.input(says(8, "full")), [""; 0], "not ours");
    node.input(says(1, "full"));
    assert_eq!(node.health(), ["The relay server 'r1' reports a problem: full"]);
    node.input(says(1, ""));
    assert!(node.health().is_empty());
}

#[test]
fn what_the_former_home_said_is_not_told_of_the_new_one() {
    let mut node = three();
    node.input(looked(2));
    for region in [2, 3] {
        let region = RegionId(region);
        node.input(Input::Relay(derp::Event::Connected { region, home: region == RegionId(2) }));
    }
    node.input(Input::Relay(derp::Event::Health { region: RegionId(2), text: "full".to_owned() }));
    assert_eq!(node.health(), ["The relay server 'r2' reports a problem: full"]);
    // It is connected already, so no news of a connection will come.
    node.input(looked(3));
    assert_eq!((node.backend.home(), node.health()), (RegionId(3), Vec::new()));
}

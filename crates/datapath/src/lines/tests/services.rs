//! The door to services of this process: what the TUN sends to them, and what they say to it.

use super::*;
use crate::lines::batch::Run;

struct Tun(Vec<Vec<u8>>);

impl TunSink for Tun {
    fn deliver(&mut self, run: Run<'_>) -> usize {
        self.0.extend(run.iter().map(<[u8]>::to_vec));
        run.len()
    }
}

/// Node 1, whose service is at address 53, and whose peer 2 carries everything.
fn serving(limits: &Limits) -> Node {
    let mut node = Node::bare(1, limits);
    node.control.set_peer(slot(2), facts(2));
    let mut routes = RoutesBuilder::new();
    routes.add(IpNet::from(ip(53)), PeerSlot::SERVICE);
    routes.add(IpNet::from(ip(53)), slot(2));
    routes.add("0.0.0.0/0".parse().expect("prefix"), slot(2));
    node.control.publish(Snapshot { routes: Arc::new(routes.build()), ..snapshot(1, &[2], true) });
    node
}

#[test]
fn packets_to_a_service_go_to_control_and_to_nobody_else() {
    let (mut a, _) = joined();
    let mut node = serving(&Limits::default());
    let (for_a, _) = agreed(1, 2, 4, NOW);
    assert!(node.control.install(&for_a));
    for packet in [udp(1, 53, 9), udp(1, 54, 9), echo(1, 53)] {
        node.control.inject_tx(&packet, None).expect("room");
    }
    assert!(node.tx.turn(NOW, BUDGET).wake_control);
    let services: Vec<_> = std::iter::from_fn(|| node.control.next_service().map(<[u8]>::to_vec)).collect();
    assert_eq!(services, [udp(1, 53, 9), echo(1, 53)]);
    // Who asks services alone has control read for them.
    node.control.inject_tx(&udp(1, 53, 9), None).expect("room");
    let report = node.tx.turn(NOW, BUDGET);
    assert!(report.served && !report.relayed && !report.direct);
    assert_eq!(node.sent().len(), 1, "the other one is the peer's");
    // A route to nobody is no service.
    a.control.inject_tx(&udp(1, 53, 9), None).expect("room");
    a.turn(NOW);
    assert!(a.control.next_service().is_none());
    assert_eq!(a.dropped(DropReason::NoRoute), 1);
}

#[test]
fn nobody_speaks_in_the_name_of_a_service() {
    let (mut a, mut b) = joined();
    let mut routes = RoutesBuilder::new();
    routes.add(IpNet::from(ip(53)), PeerSlot::SERVICE);
    routes.add("0.0.0.0/0".parse().expect("prefix"), slot(1));
    b.control.publish(Snapshot { routes: Arc::new(routes.build()), ..snapshot(2, &[1], true) });
    for from in [53, 1] {
        a.control.inject_tx(&udp(from, 2, 9), Some(slot(2))).expect("room");
    }
    a.turn(NOW);
    a.deliver(&mut b);
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 1);
    assert_eq!(b.dropped(DropReason::BadSource), 1);
}

#[test]
fn answers_of_one_flow_and_length_come_together() {
    let mut node = serving(&Limits::default());
    let [short, long] = [4, 9].map(|len| udp(53, 1, len));
    let other = echo(53, 1);
    for packet in [&long, &short, &other, &long, &short] {
        node.control.inject_tun(packet).expect("room");
    }
    let mut tun = Tun(Vec::new());
    node.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert_eq!(tun.0, [other, short.clone(), short, long.clone(), long]);
}

#[test]
fn a_full_ring_is_counted() {
    let mut node = serving(&Limits { services: 200, ..Limits::default() });
    for _ in 0..4 {
        node.control.inject_tx(&udp(1, 53, 60), None).expect("room");
    }
    node.turn(NOW);
    assert!(node.control.next_service().is_some() && node.control.next_service().is_none());
    assert_eq!(node.dropped(DropReason::RingFull), 3);
}

#[test]
fn answers_reach_the_tun_between_what_peers_send() {
    let (mut a, mut b) = joined();
    b.control.publish(Snapshot { tun: true, ..snapshot(2, &[1], true) });
    a.control.inject_tx(&udp(1, 2, 5), None).expect("room");
    a.control.inject_tx(&udp(1, 2, 6), None).expect("room");
    a.turn(NOW);
    let datagrams: Vec<_> = a.sent().into_iter().map(|(_, datagram)| datagram).collect();
    let answers: Vec<_> = (0..90).map(|len| udp(53, 2, len * 10)).collect();
    b.receive(1, &datagrams[0]);
    for answer in &answers {
        b.control.inject_tun(answer).expect("room");
    }
    b.receive(1, &datagrams[1]);
    let mut tun = Tun(Vec::new());
    b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    let wanted = [&[udp(1, 2, 5)], &answers[..], &[udp(1, 2, 6)]].concat();
    assert_eq!(tun.0, wanted);
    assert_eq!(b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp).packets, 0);
    // Without a TUN they are lost, and counted.
    b.control.inject_tun(&answers[1]).expect("room");
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::NoHost), 1);
}

//! What the node has the kernel's interface and the packet path do, and what it is told of it.
//!
//! Leaves out: when that is due (the rest of `node`, `mending`) and what exactly is to be set (`backend`, crate `router`).

use super::Node;
use crate::backend::{Input, PeerSet};
use crate::parts::advertiseroutes;
use crate::parts::osrouter::{Bind, Interface};

/// Problems with the kernel that are told one by one.
const TOLD: usize = 10;

/// Peers given to the engine before others have their turn.
const PEERS_A_TURN: usize = 64;

impl Node {
    /// Gives the interface what the backend wants of it, and the PeerAPI its addresses.
    pub(super) fn set_up_kernel(&mut self) {
        let shared = self.shared.clone();
        let mut config = shared.backend.borrow().router_config();
        config.firewall.port = shared.plane.port();
        if let Some(interface) = self.interface.as_mut().filter(|_| self.monitor.is_none()) {
            // Nobody else would say so.
            interface.network_moved();
        }
        if let Some(input) = self.with_interface(&mut |interface, bind| interface.apply(&config, bind)) {
            shared.backend.borrow_mut().handle(input, &self.store, shared.now());
        }
        for input in [self.look_at_peerapi(), self.look_at_forwarding()].into_iter().flatten() {
            shared.backend.borrow_mut().handle(input, &self.store, shared.now());
        }
    }

    /// Has the PeerAPI listen at the addresses that are there now, unless another machine has them; where it does.
    fn look_at_peerapi(&mut self) -> Option<Input> {
        let shared = self.shared.clone();
        let interface = self.interface.as_ref()?;
        let all = shared.backend.borrow().own_addresses();
        let all = if interface.forwards_own_address() { Vec::new() } else { all };
        let own = all.iter().map(netmap::IpNet::addr);
        let own: Vec<_> = own.filter(|ip| ip.is_ipv4() || interface.has_ipv6()).collect();
        Some(Input::PeerApi(self.peerapi.apply(&shared, &own, interface.name())))
    }

    /// Has the interface do something; what the backend is to know of it.
    fn with_interface(
        &mut self,
        work: &mut dyn FnMut(&mut Interface, Bind<'_>) -> Vec<String>,
    ) -> Option<Input> {
        let shared = self.shared.clone();
        let interface = self.interface.as_mut()?;
        let mut rebound = false;
        let mut problems = work(interface, &mut |names| {
            if dial::set_uplinks(names) {
                rebound = true;
                shared.plane.mark_sockets();
            }
        });
        let firewall = interface.firewall();
        self.mending.tried(shared.now().mono, problems.is_empty());
        shorten(&mut problems);
        if problems != self.problems {
            for problem in &problems {
                log::error!(target: crate::logging::UNLIMITED, "{problem}");
            }
            self.problems.clone_from(&problems);
        }
        if rebound {
            // What is connected already would be led another way now.
            shared.plane.close_relays();
            shared.plane.relays(&shared.backend.borrow().relay_config());
            self.network_changed();
        }
        Some(Input::Router { problems, firewall })
    }

    /// Puts back what others have removed, and what depends on it.
    pub(super) async fn mend(&mut self) {
        let mut found = false;
        let input = self.with_interface(&mut |interface, bind| {
            let (changed, problems) = interface.mend(bind);
            found = changed;
            problems
        });
        self.mending.looked(self.shared.now().mono, found);
        for input in [input, self.look_at_peerapi(), self.look_at_forwarding()].into_iter().flatten() {
            self.take(input).await;
        }
    }

    pub(super) async fn sync_peers(&mut self, peers: PeerSet) {
        let shared = self.shared.clone();
        let now = shared.now();
        let ids: Vec<netmap::NodeId> = match peers {
            PeerSet::All => {
                let backend = shared.backend.borrow();
                shared.plane.retain_peers(&|id| backend.peer_config(id, now).is_some());
                backend.netmap().map(|map| map.peers().map(|peer| peer.id).collect()).unwrap_or_default()
            }
            PeerSet::Some(ids) => ids.into_iter().collect(),
        };
        for (n, id) in ids.into_iter().enumerate() {
            if n % PEERS_A_TURN == PEERS_A_TURN - 1 {
                // The packet thread takes them while there are few: what waits for it is kept twice.
                shared.plane.pump();
                tokio::task::yield_now().await;
            }
            let config = shared.backend.borrow().peer_config(id, now);
            match config {
                Some(config) => shared.plane.set_peer(config),
                None => shared.plane.remove_peer(id),
            }
        }
        shared.plane.commit();
    }

    /// Whether what is advertised can be forwarded; `None` while nothing has changed.
    pub(super) fn look_at_forwarding(&mut self) -> Option<Input> {
        let shared = &self.shared;
        let mut routes = shared.backend.borrow().advertised();
        if self.interface.as_ref().is_some_and(Interface::forwards_own_address) {
            routes.extend(shared.backend.borrow().own_addresses());
        }
        let problem = self.interface.as_ref().and_then(|_| advertiseroutes::forwarding_problem(&routes));
        if problem == self.not_forwarding {
            return None;
        }
        self.not_forwarding.clone_from(&problem);
        Some(Input::Forwarding(problem))
    }
}

/// Leaves the first problems and says how many there are besides: where a kernel refuses one route it may refuse thousands.
fn shorten(problems: &mut Vec<String>) {
    let more = problems.len().saturating_sub(TOLD);
    if more > 0 {
        problems.truncate(TOLD);
        problems.push(format!("… and {more} more"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_problems_are_told_in_a_few_lines() {
        let problems = |count: u32| (0..count).map(|n| format!("cannot add route {n}")).collect::<Vec<_>>();
        for few in [0, 1, 10] {
            let mut told = problems(few);
            shorten(&mut told);
            assert_eq!(told, problems(few));
        }
        let mut told = problems(2000);
        shorten(&mut told);
        assert_eq!((told.len(), &told[..10], told[10].as_str()), (11, &problems(10)[..], "… and 1990 more"));
    }
}

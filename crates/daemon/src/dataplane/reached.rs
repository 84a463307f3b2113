//! Where this node can be reached: what is found out is told to the engine and the backend.
//!
//! Leaves out: the order of endpoints (`endpoints`), finding out (`looks`).

use super::{Dataplane, Found, News, endpoints};
use std::net::SocketAddr;

impl Dataplane {
    /// Others have found out something about where we are reached.
    pub fn set_found(&self, found: Found) {
        *self.found.borrow_mut() = found;
        self.refresh_endpoints();
    }

    /// The user knows of these endpoints besides.
    pub fn set_static_endpoints(&self, fixed: &[SocketAddr]) {
        if *self.fixed.borrow() != fixed {
            *self.fixed.borrow_mut() = fixed.to_vec();
            self.refresh_endpoints();
        }
    }

    /// An address, a route or a link of this machine has changed, or it has slept: every direct path is doubted.
    pub fn network_changed(&self) {
        self.look_anew();
        self.check_relays();
    }

    /// What was known of the network is void. Our endpoints are found out first: peers are told where we are, and an address
    /// that is not among those any more is given up by them at once.
    pub(super) fn look_anew(&self) {
        self.forget_looks();
        self.refresh_endpoints();
        self.engine.borrow_mut().handle_network_change(self.clock.mono());
        self.pump();
    }

    /// Looks where we can be reached and tells the engine, and the backend if it has changed.
    pub fn refresh_endpoints(&self) {
        let local = endpoints::local(self.sockets.borrow().families());
        let fixed = [&self.pretended[..], &self.fixed.borrow()].concat();
        let ports = (self.port(), self.wanted_port.1.get());
        let all = endpoints::list(&self.found.borrow(), &fixed, &local, ports);
        let addrs: Vec<_> = all.iter().map(|endpoint| endpoint.addr).collect();
        self.engine.borrow_mut().set_local_endpoints(&addrs, self.clock.mono());
        if *self.told_endpoints.borrow() != all {
            self.told_endpoints.borrow_mut().clone_from(&all);
            self.tell(News::Endpoints(all));
        }
        self.pump();
    }
}

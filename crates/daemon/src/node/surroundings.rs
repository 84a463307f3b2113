//! The kernel tells of a change: what of it concerns the network, and who has to look anew.
//!
//! Leaves out: putting back what others removed (`mending`).

use super::Node;
use crate::backend::Input;
use crate::network::{self, Change, Heard, Monitor};
use crate::parts::osrouter::Interface;

impl Node {
    /// The kernel has told of a change, or tells of none any more.
    pub(super) async fn kernel_told(&mut self, heard: std::io::Result<Heard>) {
        let heard = match heard {
            Ok(heard) => heard,
            Err(error) => {
                log::warn!("changes of the network are noticed late from now on: {error}");
                self.monitor = None;
                return;
            }
        };
        let forwarding = if heard.forwarding { self.look_at_forwarding() } else { None };
        let network = if heard.network || heard.address { self.look_at_network() } else { None };
        // Where one thing was changed another may have been: a firewall is loaded anew when a link comes up.
        if heard.network || heard.ours || heard.forwarding || network.is_some() {
            self.mending.hear();
        }
        if let Some(interface) = self.interface.as_mut().filter(|_| heard.network || network.is_some()) {
            interface.network_moved();
        }
        for input in [forwarding, network].into_iter().flatten() {
            self.take(input).await;
        }
    }

    /// Looks at the network; `None` if it is as it was.
    fn look_at_network(&mut self) -> Option<Input> {
        let network = network::State::read(self.interface.as_ref().map(Interface::name));
        if network == self.network {
            return None;
        }
        let before = std::mem::replace(&mut self.network, network);
        let (change, lost) = (self.network.since(&before), self.network.has_lost_of(&before));
        if change != Change::None {
            log::info!("the network has changed");
            // Connections would be asked first whether they are alive, and those that are not yet wait before they try again.
            if lost || self.shared.plane.connected_relays() == 0 {
                self.shared.plane.close_relays();
                self.shared.plane.relays(&self.shared.backend.borrow().relay_config());
            }
        }
        match change {
            Change::None => {}
            Change::Beside => {
                self.shared.plane.network_changed();
                if let Some(control) = &mut self.control {
                    control.send(::control::Command::Wake);
                }
            }
            Change::Moved => self.network_changed(),
        }
        Some(Input::Interfaces(self.network.networks()))
    }

    /// The way out is another one: nothing that was known of it holds, nor perhaps what is connected.
    pub(super) fn network_changed(&mut self) {
        self.shared.plane.network_changed();
        let active = self.shared.backend.borrow().follows_control();
        if let Some(control) = &mut self.control {
            // A connection from an address that is gone would be noticed only when something has waited in vain for it.
            for command in [true, false].into_iter().filter(|_| active).map(::control::Command::Pause) {
                control.send(command);
            }
            control.send(::control::Command::Wake);
        }
        if let Some(port_mapper) = &mut self.port_mapper {
            port_mapper.network_changed();
        }
    }
}

/// Resolves when the network has changed; never, where nobody tells.
pub(super) async fn changed(monitor: &mut Option<Monitor>) -> std::io::Result<Heard> {
    match monitor {
        Some(monitor) => monitor.changed().await,
        None => std::future::pending().await,
    }
}

//! What the backend has decided is carried out, in its order.
//!
//! Leaves out: the tasks behind it (`control`, `kernel`, `mending`), when the backend is asked (`node`).

use super::control::ControlTask;
use super::{Node, Shared, Word};
use crate::backend::{Command, Effect, Input};
use localapi::types::{Notify, mask};

impl Node {
    /// Gives the backend one input and carries out everything that follows.
    pub(super) async fn take(&mut self, input: Input) {
        let asks = matches!(&input, Input::Command(Command::Start(..) | Command::LoginInteractive(..)));
        if let Some(told) = self.told.as_ref().filter(|_| asks) {
            told(Word::LoginAsked);
        }
        let now = self.shared.now();
        let watched = self.shared.bus.borrow().wants(mask::PEER_CHANGES | mask::PEER_PATCHES);
        {
            let mut backend = self.shared.backend.borrow_mut();
            backend.set_peers_watched(watched);
            backend.handle(input, &self.store, now);
        }
        loop {
            let effect = self.shared.backend.borrow_mut().poll_effect();
            let Some(effect) = effect else { return };
            self.carry_out(effect).await;
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        let shared = self.shared.clone();
        match effect {
            Effect::Save(changes) => {
                self.store.set_time(shared.clock.system_time());
                let result = self.store.write(changes).map_err(|error| error.to_string());
                shared.backend.borrow_mut().handle(Input::Saved(result), &self.store, shared.now());
            }
            Effect::StartControl(start) => {
                self.control = Some(ControlTask::start(*start, self.dialer.clone(), self.force_noise_443));
            }
            Effect::Control(command) => {
                if let Some(control) = &mut self.control {
                    control.send(command);
                }
            }
            Effect::StopControl => self.control = None,
            Effect::ExpireSooner(at, reply) => self.expire_sooner(at, reply),
            Effect::Logout => self.log_out(),
            Effect::ControlTime(at) => {
                if let Some(off) = shared.clock.set_control_time(at) {
                    log::info!("the clock of this machine is off by {off} s; using control's time");
                }
            }
            Effect::Configure => {
                let config = shared.backend.borrow().self_config();
                shared.plane.configure(config);
            }
            Effect::Router => self.set_up_kernel(),
            Effect::Dns => shared.dns.apply(&shared.backend.borrow(), shared.now()),
            Effect::SyncPeers(peers) => self.sync_peers(peers).await,
            Effect::Relays => {
                {
                    let backend = shared.backend.borrow();
                    let config = backend.relay_config();
                    shared.plane.relays(&config);
                    if let Some(port_mapper) = &mut self.port_mapper {
                        let port = if config.paused || !config.udp { 0 } else { shared.plane.port() };
                        port_mapper.want(port, config.upnp);
                    }
                }
                let input = Input::Udp4(shared.plane.has_udp4());
                shared.backend.borrow_mut().handle(input, &self.store, shared.now());
            }
            Effect::Look => shared.plane.look(),
            Effect::PortMapping(at) => shared.plane.set_port_mapping(at.map(std::net::SocketAddr::V4)),
            Effect::StaticEndpoints(fixed) => shared.plane.set_static_endpoints(&fixed),
            Effect::Notify(notify) => {
                if let Some(told) = &self.told {
                    // Control may also just want a page to be seen.
                    let backend = shared.backend.borrow();
                    let url = notify.browse_to_url.as_deref().filter(|url| backend.auth_url() == Some(*url));
                    let url = url.map(|_| Word::LoginWanted);
                    let done = notify.login_finished.as_ref().map(|_| Word::LoginDone);
                    [notify.state.map(Word::State), url, done].into_iter().flatten().for_each(told);
                }
                publish(&shared, *notify);
            }
        }
    }

    fn log_out(&mut self) {
        let waiting = self.control.as_mut().map(ControlTask::log_out);
        let inputs = self.shared.inputs.clone();
        dial::spawn(async move {
            let result = match waiting {
                Some(answer) => match answer.await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err("the control client has ended".to_owned()),
                },
                None => Ok(()),
            };
            let _ = inputs.send(Input::LoggedOut(result)).await;
        });
    }
}

/// Tells everybody who watches.
fn publish(shared: &Shared, mut notify: Notify) {
    if !shared.bus.borrow().is_watched() {
        return;
    }
    notify.version = crate::version::LONG.to_owned();
    let backend = shared.backend.borrow();
    let now = shared.now();
    shared.bus.borrow_mut().publish(notify, &|patches| {
        let nodes: netmap::Set<_> = patches.iter().map(|patch| netmap::NodeId(patch.node_id)).collect();
        nodes.into_iter().filter_map(|id| backend.whole_node(id, now)).collect()
    });
}

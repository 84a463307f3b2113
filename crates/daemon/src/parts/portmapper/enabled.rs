//! Keeps the router in front of us forwarding our UDP port, and gives it back at the end.
//!
//! Leaves out: how the router is asked (crate `portmapper`).

use super::Mapping;
use crate::flags::switched_on;
use portmapper::{Disabled, State, Want};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("portmapper");

/// How long the end of the daemon waits for the router.
const GOODBYE: Duration = Duration::from_millis(1200);

/// The task that talks to the router.
pub struct PortMapper {
    wants: watch::Sender<Want>,
    task: JoinHandle<()>,
    /// The user wants no mapping, or none by UPnP.
    off: bool,
    no_upnp: bool,
}

impl PortMapper {
    /// Starts it; nothing is asked before [`Self::want`]. `told` hears of every change.
    pub fn start(dialer: Rc<dyn dial::Dial>, mut told: impl FnMut(Mapping) + 'static) -> Self {
        let no_upnp = switched_on("TS_DISABLE_UPNP");
        let off = switched_on("TS_DISABLE_PORTMAPPER");
        let (wants, wanted) = watch::channel(Want::default());
        let task = dial::spawn(async move {
            let mut tell = |state: State| {
                let State { found, external } = state;
                told(Mapping {
                    external: external.map(|(at, _)| at),
                    pmp: found.pmp,
                    pcp: found.pcp,
                    upnp: found.upnp,
                });
            };
            portmapper::run(&*dialer, wanted, &mut tell).await;
        });
        Self { wants, task, off, no_upnp }
    }

    /// The port that is to be reached; 0 = none. Not by UPnP unless `upnp`.
    pub fn want(&mut self, port: u16, upnp: bool) {
        let port = if self.off { 0 } else { port };
        let disabled = Disabled { upnp: !upnp || self.no_upnp, ..Disabled::default() };
        self.wants.send_if_modified(|want| {
            let new = Want { port, disabled, ..*want };
            std::mem::replace(want, new) != new
        });
    }

    /// The network has been looked at: a reason to try again where nothing was found. `seen` is how the internet sees us,
    /// if that is known.
    pub fn look(&mut self, seen: Option<SocketAddr>) {
        let seen = seen.and_then(|at| if let IpAddr::V4(ip) = at.ip() { Some(ip) } else { None });
        self.wants.send_modify(|want| {
            *want = Want { looks: want.looks.wrapping_add(1), seen, ..*want };
        });
    }

    /// The network is another one.
    pub fn network_changed(&mut self) {
        self.wants.send_modify(|want| want.network = want.network.wrapping_add(1));
    }

    /// Gives back what there is.
    pub async fn close(self) {
        drop(self.wants);
        let _ = tokio::time::timeout(GOODBYE, self.task).await;
    }
}

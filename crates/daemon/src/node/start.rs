//! What the run loop has when it begins: the store, the packet threads, the backend, who maps ports, who watches the kernel.
//!
//! Leaves out: the order of start and end (`node`).

use super::mending::Mending;
use super::{Node, Shared};
use crate::backend::{Backend, Command, HostFacts, Input, Reply, Setup};
use crate::clock::Clock;
use crate::config;
use crate::dataplane::{self, Dataplane, Ways};
use crate::flags::{Flags, StatePlace};
use crate::network::{self, Monitor};
use crate::parts::allroots;
use crate::parts::cachenetmap::Cache;
use crate::parts::dns::{self, Dns};
use crate::parts::netstack;
use crate::parts::osrouter::{Interface, Packets};
use crate::parts::peerapiserver::PeerApi;
use crate::parts::portmapper::PortMapper;
use crate::state::{DirLock, Store, StoreError};
use anyhow::{Context as _, Result};
use keys::DiscoPrivate;
use rand_core::RngCore as _;
use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The store; if it cannot be used, one in memory and the reason, so that the daemon can say so.
pub(super) fn open_store(flags: &Flags) -> Result<(Store, Option<String>, Option<DirLock>)> {
    let StatePlace::File(path) = &flags.state else { return Ok((Store::memory(), None, None)) };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let opened = Store::open_locked(path, dir);
    match opened {
        Ok((store, lock)) => {
            if let Some(warning) = store.warning() {
                log::warn!("{warning}");
            }
            Ok((store, None, lock))
        }
        Err(error @ StoreError::Locked { .. }) => Err(error.into()),
        Err(error) => Ok((Store::memory(), Some(error.to_string()), None)),
    }
}

impl Node {
    pub(super) fn new(
        flags: &Flags,
        clock: Arc<Clock>,
        host: HostFacts,
        interface: Option<(Interface, Packets)>,
        store: Store,
        store_problem: Option<String>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self> {
        let options = dial::Options {
            extra_ca_file: flags.ca_files.clone(),
            roots: allroots::roots(),
            wall: clock.clone(),
        };
        let dialer: Rc<dyn dial::Dial> = Rc::new(dial::Dialer::new(options)?);
        let mut seed = [0; 32];
        rand_core::OsRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| anyhow::anyhow!("no randomness from the system: {error}"))?;
        let relays = derp::Options { use_http: crate::flags::switched_on("TS_DEBUG_USE_DERP_HTTP") };
        let (interface, packets) = interface.unzip();
        let threads = crate::flags::variable("TS_PACKET_THREADS");
        let mut cache = Cache::open(&flags.state, &store, &clock);
        let disco = cache.disco(|| DiscoPrivate::generate(&mut rand_core::OsRng));
        let pretended = crate::flags::variable("TS_DEBUG_PRETENDPOINT").unwrap_or_default();
        let ways = Ways {
            packets,
            port: flags.port,
            two_threads: dataplane::two_threads(threads.as_deref()),
            disco: disco.clone(),
            relay_only: crate::flags::switched_on("TS_DEBUG_NEVER_DIRECT_UDP"),
            pretended: pretended.split(',').filter_map(|at| at.trim().parse().ok()).collect(),
        };
        let plane = Dataplane::start(dialer.clone(), relays, clock.clone(), seed, ways)
            .context("start the packet threads")?;
        let setup = Setup {
            disco: disco.public(),
            host,
            ephemeral: flags.state == StatePlace::Memory,
            tun: interface.is_some(),
            store_problem,
            rng: Box::new(rand_core::OsRng),
        };
        let (backend, problems) = Backend::new(setup, &store);
        for problem in problems {
            log::error!(target: crate::logging::UNLIMITED, "{problem}");
        }
        let dns = Dns::start(dns::Setup {
            clock: clock.clone(),
            inputs: inputs.clone(),
            interface: interface.is_some(),
            quad100: interface.is_some() && netstack::FEATURE.is_some(),
            dialer: dialer.clone(),
            listen: flags.dns_listen.clone(),
        });
        let asked = dns.clone();
        plane.set_ask(Rc::new(move |query, stream, reply| {
            asked.ask(query, stream, dns::Asker::Machine, reply);
        }));
        let shared = Rc::new(Shared {
            dns,
            backend: RefCell::new(backend),
            plane,
            bus: RefCell::default(),
            clock,
            inputs,
            config: OnceCell::new(),
        });
        let force_noise_443 = crate::flags::switched_on("TS_FORCE_NOISE_443");
        let inputs = shared.inputs.clone();
        let port_mapper = PortMapper::start(dialer.clone(), move |mapping| {
            let inputs = inputs.clone();
            dial::spawn(async move { drop(inputs.send(Input::PortMapping(mapping)).await) });
        });
        let own = interface.as_ref().map(Interface::name);
        let network = network::State::read(own);
        let monitor = Monitor::open(own.zip(interface.as_ref().map(Interface::port)));
        let monitor = monitor
            .inspect_err(|error| log::warn!("changes of the network are noticed late: no netlink ({error})"));
        Ok(Self {
            shared,
            store,
            cache,
            dialer,
            control: None,
            interface,
            peerapi: PeerApi::default(),
            problems: Vec::new(),
            not_forwarding: None,
            port_mapper: Some(port_mapper),
            monitor: monitor.ok(),
            mending: Mending::default(),
            network,
            asleep: None,
            force_noise_443,
            told: None,
        })
    }

    /// Puts in force what the configuration file says, before anything starts.
    pub(super) async fn configure(&mut self, config: config::Config, place: config::Place) -> Result<()> {
        let _ = self.shared.config.set(place);
        let (sender, mut answer) = oneshot::channel();
        let reply = Reply::new(move |result| drop(sender.send(result)));
        self.take(Input::Command(Command::SetConfig(Box::new(config), reply))).await;
        answer.try_recv()?.map_err(|error: String| {
            anyhow::anyhow!("the configuration file asks for what cannot be: {error}")
        })
    }
}

//! What a node said about itself: most of it is the same for many nodes or not there at all, so it is kept once or
//! not at all.

use crate::Set;
use ipnet::IpNet;
use std::sync::Arc;

/// The part of Hostinfo that some part of a node shows or uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hostinfo {
    /// Host name it reported.
    pub hostname: Box<str>,
    /// Ports it announces: PeerAPI and the like.
    pub services: Box<[Service]>,
    system: Option<Arc<System>>,
    rest: Option<Box<HostRest>>,
}

/// What a node runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct System {
    /// `linux`, `macOS`, `iOS`…
    pub os: Box<str>,
    /// Kernel or system version.
    pub os_version: Box<str>,
    /// Version of the client.
    pub ipn_version: Box<str>,
}

/// What few nodes say about themselves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostRest {
    /// Routes it asks to serve.
    pub routable_ips: Box<[IpNet]>,
    /// Tags it asked for.
    pub request_tags: Box<[Box<str>]>,
    /// Where it stands, for exit-node choice.
    pub location: Option<Location>,
    /// It was shared into this tailnet only to be reached (hidden from lists).
    pub sharee_node: bool,
}

impl Hostinfo {
    /// Puts it together; what is empty takes no room.
    pub fn new(hostname: Box<str>, services: Box<[Service]>, system: System, rest: HostRest) -> Self {
        Self {
            hostname,
            services,
            system: (system != System::default()).then(|| Arc::new(system)),
            rest: (rest != HostRest::default()).then(|| Box::new(rest)),
        }
    }

    /// `linux`, `macOS`, `iOS`… or nothing.
    pub fn os(&self) -> &str {
        self.system.as_ref().map_or("", |system| &system.os)
    }

    /// Kernel or system version, or nothing.
    pub fn os_version(&self) -> &str {
        self.system.as_ref().map_or("", |system| &system.os_version)
    }

    /// Version of the client, or nothing.
    pub fn ipn_version(&self) -> &str {
        self.system.as_ref().map_or("", |system| &system.ipn_version)
    }

    /// What few nodes say.
    pub fn rest(&self) -> Option<&HostRest> {
        self.rest.as_deref()
    }
}

/// Systems that nodes run on, each once.
#[derive(Debug, Default)]
pub(crate) struct Systems(Set<Arc<System>>);

impl Systems {
    /// How many are kept; a tailnet with more different ones spends a little more memory on each node.
    const MAX: usize = 256;

    /// Lets `host` share its system with whoever runs on the same.
    pub(crate) fn share(&mut self, host: &mut Hostinfo) {
        let Some(system) = &mut host.system else { return };
        if let Some(known) = self.0.get(system) {
            *system = Arc::clone(known);
            return;
        }
        if self.0.len() >= Self::MAX {
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        if self.0.len() < Self::MAX {
            self.0.insert(Arc::clone(system));
        }
    }
}

/// A port that a node announces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Port number, or a version for `peerapi-dns-proxy`.
    pub port: u16,
    /// Which of [`PROTOS`], while there is no text.
    proto: u8,
    /// An unknown protocol, and free text.
    text: Option<Box<(Box<str>, Box<str>)>>,
}

/// What a service may be (protocol reference §1.9.3).
const PROTOS: [&str; 5] = ["tcp", "udp", "peerapi4", "peerapi6", "peerapi-dns-proxy"];

impl Service {
    /// A service; `description` is free text.
    pub fn new(proto: Box<str>, port: u16, description: Box<str>) -> Self {
        match PROTOS.iter().position(|known| **known == *proto) {
            Some(known) if description.is_empty() => Self { port, proto: known as u8, text: None },
            _ => Self { port, proto: 0, text: Some(Box::new((proto, description))) },
        }
    }

    /// `tcp`, `udp`, `peerapi4`, `peerapi6`, `peerapi-dns-proxy`.
    pub fn proto(&self) -> &str {
        match &self.text {
            Some(text) => &text.0,
            None => PROTOS.get(usize::from(self.proto)).copied().unwrap_or_default(),
        }
    }

    /// Free text.
    pub fn description(&self) -> &str {
        self.text.as_ref().map_or("", |text| &text.1)
    }
}

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Location {
    /// Country name.
    pub country: Box<str>,
    /// Two letters.
    pub country_code: Box<str>,
    /// City name.
    pub city: Box<str>,
    /// Short city code.
    pub city_code: Box<str>,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Higher is preferred.
    pub priority: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(os: &str) -> Hostinfo {
        let system = System { os: os.into(), ..System::default() };
        Hostinfo::new("h".into(), Box::default(), system, HostRest::default())
    }

    #[test]
    fn the_same_system_is_kept_once() {
        let mut systems = Systems::default();
        let mut all: Vec<_> = (0..3 * Systems::MAX).map(|n| host(&format!("os{}", n / 2))).collect();
        all.iter_mut().for_each(|host| systems.share(host));
        let same = |a: usize, b: usize| {
            Arc::ptr_eq(all[a].system.as_ref().expect("a system"), all[b].system.as_ref().expect("a system"))
        };
        assert!(same(0, 1) && !same(1, 2));
        assert_eq!((all[0].os(), all[2].os(), systems.0.len()), ("os0", "os1", Systems::MAX));
        drop(all);
        let mut again = host("new");
        systems.share(&mut again);
        assert_eq!(systems.0.len(), 1, "those that nobody runs on any more make room");
    }

    #[test]
    fn nothing_takes_no_room() {
        assert_eq!(host(""), Hostinfo { hostname: "h".into(), ..Hostinfo::default() });
        assert_eq!((host("").system, host("").rest), (None, None));
    }

    #[test]
    fn services_keep_their_words() {
        for (proto, description) in [("peerapi4", ""), ("tcp", "sshd"), ("quic", ""), ("", "")] {
            let service = Service::new(proto.into(), 7, description.into());
            assert_eq!((service.proto(), service.port, service.description()), (proto, 7, description));
        }
    }
}

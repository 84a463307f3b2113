//! What UPnP gateways are told and tell: their description, and SOAP (protocol reference §5.5). Pure.

use crate::xml::{self, Item, Reader};
use std::net::Ipv4Addr;

/// Services of a gateway that are looked at.
const SERVICES: usize = 8;

/// What a gateway calls itself among mappings of others.
const DESCRIPTION: &str = "tailscale-portmap";

/// Kinds of service that forward ports, best first. The last two are of old DSL routers.
const KINDS: [&str; 5] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
    "urn:dslforum-org:service:WANIPConnection:1",
    "urn:dslforum-org:service:WANPPPConnection:1",
];

/// A service that forwards ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its place in `KINDS`.
    rank: usize,
    /// Path (or whole address) where it is asked.
    pub control: String,
}

impl Service {
    /// Its name in requests.
    pub fn kind(&self) -> &'static str {
        KINDS.get(self.rank).copied().unwrap_or_default()
    }

    /// It can choose another port when the wanted one is taken.
    pub const fn chooses(&self) -> bool {
        self.rank == 0
    }
}

/// The services of a description that forward ports, best first, and the address that their paths belong to if it is
/// told.
pub fn services(document: &str) -> (Vec<Service>, Option<String>) {
    let (mut found, mut base) = (Vec::new(), None);
    let (mut element, mut kind, mut control) = ("", None, None);
    for item in Reader::new(document) {
        match item {
            Item::Open("service") => (kind, control) = (None, None),
            Item::Open(name) => element = name,
            Item::Text(text) => match element {
                "serviceType" => kind = Some(text),
                "controlURL" => control = Some(text),
                "URLBase" => base = Some(text),
                _ => {}
            },
            Item::Close("service") => {
                let rank = kind.take().and_then(|kind| KINDS.iter().position(|known| *known == kind));
                if let (Some(rank), Some(control)) = (rank, control.take())
                    && found.len() < SERVICES
                {
                    found.push(Service { rank, control });
                }
            }
            Item::Close(_) => element = "",
        }
    }
    found.sort_by_key(|service| service.rank);
    (found, base)
}

/// What can be asked of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Whether it is connected.
    Status,
    /// Its own address.
    Address,
    /// Forward `external` to `internal` of `client`.
    Add {
        /// The router's port.
        external: u16,
        /// Our port.
        internal: u16,
        /// Our address.
        client: Ipv4Addr,
        /// Seconds; 0 = for ever.
        lease: u32,
        /// Another external port will do.
        any: bool,
    },
    /// Forward it no more.
    Delete {
        /// The router's port.
        external: u16,
    },
}

impl Action {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "GetStatusInfo",
            Self::Address => "GetExternalIPAddress",
            Self::Add { any: true, .. } => "AddAnyPortMapping",
            Self::Add { any: false, .. } => "AddPortMapping",
            Self::Delete { .. } => "DeletePortMapping",
        }
    }

    /// The request's body.
    pub fn body(self, kind: &str) -> String {
        let name = self.name();
        let arguments = match self {
            Self::Status | Self::Address => String::new(),
            Self::Delete { external } => format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>"
            ),
            Self::Add { external, internal, client, lease, .. } => format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>\
                 <NewInternalPort>{internal}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
                 <NewEnabled>1</NewEnabled><NewPortMappingDescription>{DESCRIPTION}</NewPortMappingDescription>\
                 <NewLeaseDuration>{lease}</NewLeaseDuration>"
            ),
        };
        format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{name} xmlns:u=\"{}\">\
             {arguments}</u:{name}></s:Body></s:Envelope>\r\n",
            xml::escape(kind)
        )
    }
}

/// It is connected, as its answer to [`Action::Status`] says.
pub fn connected(answer: &str) -> bool {
    let status = xml::text_of(answer, "NewConnectionStatus");
    status.is_some_and(|status| status == "Connected" || status == "Up")
}

/// The address of an answer to [`Action::Address`]; none that can be nobody's.
pub fn address(answer: &str) -> Option<Ipv4Addr> {
    let ip: Ipv4Addr = xml::text_of(answer, "NewExternalIPAddress")?.parse().ok()?;
    let nobody = ip.is_unspecified() || ip.is_loopback() || ip.is_broadcast() || ip.is_multicast();
    (!nobody).then_some(ip)
}

/// The port of an answer to [`Action::Add`] with `any`.
pub fn port(answer: &str) -> Option<u16> {
    xml::text_of(answer, "NewReservedPort")?.parse().ok().filter(|port| *port != 0)
}

/// The fault that an answer tells.
pub fn fault(answer: &str) -> Option<u32> {
    xml::text_of(answer, "errorCode")?.parse().ok()
}

/// The service forwards for ever or not at all: faults of that meaning, or of routers that find the argument odd.
pub const fn wants_permanent(fault: u32) -> bool {
    matches!(fault, 402 | 725)
}

/// Somebody has the external port.
pub const fn is_conflict(fault: u32) -> bool {
    matches!(fault, 718 | 724)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = r#"<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major></specVersion>
 <URLBase>http://192.168.1.1:5000/</URLBase>
 <device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
  <serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>
   <controlURL>/l3f</controlURL></service></serviceList>
  <deviceList><device><deviceList><device><serviceList>
   <service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType><controlURL>/ppp</controlURL></service>
   <service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType><SCPDURL/><controlURL>/ip?a=1&amp;b=2</controlURL></service>
   <service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType></service>
  </serviceList></device></deviceList></device></deviceList></device></root>"#;

    #[test]
    fn descriptions() {
        let (services, base) = services(ROOT);
        let all: Vec<_> = services.iter().map(|s| (s.kind(), s.control.as_str(), s.chooses())).collect();
        assert_eq!(all, [(KINDS[0], "/ip?a=1&b=2", true), (KINDS[2], "/ppp", false)]);
        assert_eq!(base.as_deref(), Some("http://192.168.1.1:5000/"));
        let service = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                       <controlURL>/a</controlURL></service>";
        assert_eq!(super::services(&service.repeat(10_000)).0.len(), SERVICES);
        for cut in 0..ROOT.len() {
            let _ = super::services(&ROOT[..cut]);
        }
    }

    #[test]
    fn requests() {
        let add = Action::Add {
            external: 4097,
            internal: 41641,
            client: [192, 168, 1, 9].into(),
            lease: 7200,
            any: true,
        };
        let body = add.body(KINDS[0]);
        assert!(
            body.contains("<u:AddAnyPortMapping xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:2\">")
        );
        let document: Vec<_> = Reader::new(&body).filter(|item| matches!(item, Item::Text(_))).collect();
        let texts = ["4097", "UDP", "41641", "192.168.1.9", "1", DESCRIPTION, "7200"];
        assert_eq!(document, texts.map(|text| Item::Text(text.to_owned())));
        assert!(Action::Delete { external: 4097 }.body(KINDS[1]).contains("<u:DeletePortMapping "));
        assert!(Action::Status.body(KINDS[1]).contains("></u:GetStatusInfo>"));
    }

    #[test]
    fn answers() {
        assert!(connected("<a><NewConnectionStatus>Connected</NewConnectionStatus></a>"));
        assert!(!connected("<a><NewConnectionStatus>Connecting</NewConnectionStatus></a>"));
        let of = |ip: &str| address(&format!("<u:R><NewExternalIPAddress>{ip}</NewExternalIPAddress></u:R>"));
        assert_eq!(of("203.0.113.7"), Some([203, 0, 113, 7].into()));
        assert_eq!(["0.0.0.0", "127.0.0.1", "", "2001:db8::1", "255.255.255.255"].map(of), [None; 5]);
        assert_eq!(port("<a><NewReservedPort>70</NewReservedPort></a>"), Some(70));
        assert_eq!(port("<a><NewReservedPort>70000</NewReservedPort></a>"), None);
        let text = "<s:Fault><detail><UPnPError><errorCode>725</errorCode></UPnPError></detail></s:Fault>";
        assert!(fault(text).is_some_and(wants_permanent));
        assert!(fault(&text.replace("725", "718")).is_some_and(is_conflict));
    }
}

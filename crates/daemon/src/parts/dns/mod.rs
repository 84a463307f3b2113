//! Feature `dns`: names of the tailnet, split DNS, the machine's resolv.conf.
//!
//! [`Dns`] is the handle: whoever has a query gives it to [`Dns::ask`] and is called back with the answer. Those are
//! quad-100, the LocalAPI, the listener on a LAN (`--dns-listen`) and exit-node clients by the PeerAPI.

#[cfg(feature = "dns")]
mod facts;
#[cfg(feature = "dns")]
mod http;
#[cfg(feature = "dns")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "dns"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "dns")]
mod listener;
#[cfg(feature = "dns")]
mod machine;
#[cfg(feature = "dns")]
mod sockets;
#[cfg(feature = "dns")]
mod trouble;

pub use imp::*;

use crate::backend::Input;
use crate::clock::Clock;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What it is made of.
pub struct Setup {
    /// Reads the time.
    pub clock: Arc<Clock>,
    /// Where findings go.
    pub inputs: mpsc::Sender<Input>,
    /// There is a kernel interface, so that the machine's resolver is ours to tell.
    pub interface: bool,
    /// Packets to quad-100 are answered, so that it can be told of that.
    pub quad100: bool,
    /// Opens connections to providers and exit nodes.
    pub dialer: Rc<dyn dial::Dial>,
    /// The listener for a LAN.
    pub listen: Option<Listen>,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// This machine, at quad-100 or by the LocalAPI: everything is answered.
    Machine,
    /// A LAN, by the listener: names of the tailnet and of zones that are configured, nothing else.
    Lan,
    /// A node that uses us as its exit node: as this machine would, but for the names that control excepts.
    ExitClient,
}

/// What became worse or better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Why queries cannot be forwarded, if so.
    Forwarding(Option<String>),
    /// Why the machine's resolver could not be told, if so.
    Machine(Option<String>),
}

/// Where a LAN may ask, and who belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Address and port.
    pub at: SocketAddr,
    /// Who is answered; empty = the subnet of the address.
    pub allowed: Vec<IpNet>,
}

impl Listen {
    /// Reads `ADDR`, `ADDR:PORT`, `[ADDR]:PORT`, and a list of networks or addresses with commas.
    ///
    /// # Errors
    /// What to write.
    pub fn parse(at: &str, allowed: &str) -> Result<Option<Self>, String> {
        if at.is_empty() {
            return match allowed {
                "" => Ok(None),
                _ => Err("--dns-allow needs --dns-listen: say where to listen, too".to_owned()),
            };
        }
        let parsed = at.parse().ok().or_else(|| at.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        let given = |at: &SocketAddr| !at.ip().is_unspecified() && at.port() != 0;
        let Some(at) = parsed.filter(given) else {
            return Err(format!(
                "--dns-listen={at:?} is no address of this machine: write one like 172.18.0.2 or [fd00::2]:53"
            ));
        };
        let net = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let nets = allowed.split(',').map(str::trim).filter(|text| !text.is_empty()).map(|text| {
            net(text).ok_or_else(|| {
                format!("--dns-allow: {text:?} is no network: write some like 192.168.88.0/24,172.18.0.1")
            })
        });
        Ok(Some(Self { at, allowed: nets.collect::<Result<_, _>>()? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form() {
        let at = |at: &str| Listen::parse(at, "").map(|listen| listen.map(|listen| listen.at.to_string()));
        assert_eq!(at(""), Ok(None));
        assert_eq!(at("172.18.0.2"), Ok(Some("172.18.0.2:53".to_owned())));
        assert_eq!(at("172.18.0.2:5353"), Ok(Some("172.18.0.2:5353".to_owned())));
        assert_eq!(at("fd00::2"), Ok(Some("[fd00::2]:53".to_owned())));
        assert_eq!(at("[fd00::2]:54"), Ok(Some("[fd00::2]:54".to_owned())));
        for bad in ["0.0.0.0", "::", "eth0", ":53", "172.18.0.2:0", "172.18.0.0/24"] {
            assert!(at(bad).expect_err(bad).contains("--dns-listen"), "{bad}");
        }
    }

    #[test]
    fn who_is_answered() {
        let nets = |text: &str| Listen::parse("172.18.0.2", text).map(|listen| listen.expect("one").allowed);
        assert_eq!(nets("192.168.88.0/24, 172.18.0.1").expect("nets").len(), 2);
        assert_eq!(nets("fd00::/64,").expect("nets").len(), 1);
        assert!(nets("lan").expect_err("none").contains("\"lan\""));
        assert!(Listen::parse("", "10.0.0.0/8").is_err());
    }
}

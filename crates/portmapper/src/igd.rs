//! A mapping by UPnP: find the service, ask it, give it back (protocol reference §5.5).

use crate::gateway::Gateway;
use crate::http::{self, Place};
use crate::upnp::{self, Action, Service};
use crate::{Error, LEASE};
use dial::Dial;
use rand_core::{OsRng, RngCore as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::time::timeout;

/// For all of it: some routers take a second for each answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Other ports that are tried when the wanted one is taken.
const PORTS: u32 = 3;
/// Below are ports that routers do not give away.
const FIRST_PORT: u16 = 1024;

/// A service that has said yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    service: Service,
    place: Place,
}

/// A mapping by UPnP.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) control: Control,
    pub(crate) external: SocketAddrV4,
}

/// Asks the devices at `places` in turn for a port, `wanted` if it can be had.
pub(crate) async fn map(
    dialer: &dyn Dial,
    gateway: Gateway,
    places: &[Place],
    internal: u16,
    wanted: u16,
) -> Result<Mapped, Error> {
    let mut last = Error::Silent;
    let asking = async {
        for place in places {
            match device(dialer, gateway, place, internal, wanted).await {
                Ok(mapped) => return Ok(mapped),
                Err(error) => last = error,
            }
        }
        Err(last.clone())
    };
    timeout(LIMIT, asking).await.unwrap_or(Err(Error::Silent))
}

/// Asks for the mapping that `control` has given once more.
pub(crate) async fn renew(
    dialer: &dyn Dial,
    gateway: Gateway,
    control: &Control,
    internal: u16,
    wanted: u16,
) -> Result<Mapped, Error> {
    let adding = async {
        let given = add(dialer, gateway, control, internal, wanted).await?;
        // Without an answer what there was stays: the router has it, and has said how long.
        let ip = public(&call(dialer, gateway, control, Action::Address).await?)?;
        Ok(Mapped { control: control.clone(), external: SocketAddrV4::new(ip, given) })
    };
    timeout(LIMIT, adding).await.unwrap_or(Err(Error::Silent))
}

/// Gives a mapping back.
pub(crate) async fn delete(
    dialer: &dyn Dial,
    gateway: Gateway,
    control: &Control,
    external: u16,
) -> Result<(), Error> {
    let asking = call(dialer, gateway, control, Action::Delete { external });
    timeout(Duration::from_secs(1), asking).await.map_err(|_| Error::Silent)?.map(drop)
}

async fn device(
    dialer: &dyn Dial,
    gateway: Gateway,
    place: &Place,
    internal: u16,
    wanted: u16,
) -> Result<Mapped, Error> {
    let description = http::ask(dialer, gateway.router, place, None).await?;
    if description.status != 200 {
        return Err(Error::Refused(format!("status {} for its description", description.status)));
    }
    let (services, base) = upnp::services(&description.body);
    let base = base.and_then(|base| Place::at(gateway.router, &base)).unwrap_or_else(|| place.clone());
    let controls: Vec<Control> = services
        .into_iter()
        .filter_map(|service| {
            let place = base.join(gateway.router, &service.control)?;
            Some(Control { service, place })
        })
        .collect();
    // Of several, one that is connected and has an address the internet can reach. Without its address a port would be of no
    // use, and some routers forward for ever: so that is asked first.
    let mut ranked = Vec::new();
    for control in controls {
        let status = call(dialer, gateway, &control, Action::Status).await;
        let address = call(dialer, gateway, &control, Action::Address).await;
        let connected = status.is_ok_and(|answer| upnp::connected(&answer));
        let address = address.and_then(|answer| public(&answer));
        let reachable = address.as_ref().is_ok_and(|ip| !ip.is_private());
        ranked.push((!(connected && reachable), !connected, control, address));
    }
    ranked.sort_by_key(|(best, good, ..)| (*best, *good));
    let mut last = Error::Refused("it forwards no ports".to_owned());
    for (_, _, control, address) in ranked {
        let given = match address {
            Ok(ip) => add(dialer, gateway, &control, internal, wanted).await.map(|port| (ip, port)),
            Err(error) => Err(error),
        };
        match given {
            Ok((ip, port)) => return Ok(Mapped { control, external: SocketAddrV4::new(ip, port) }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The address in what a router answered.
fn public(answer: &str) -> Result<Ipv4Addr, Error> {
    upnp::address(answer).ok_or(Error::Nonsense("no external address"))
}

/// Asks for a port, and gives the one that the router has chosen.
async fn add(
    dialer: &dyn Dial,
    gateway: Gateway,
    control: &Control,
    internal: u16,
    wanted: u16,
) -> Result<u16, Error> {
    let mut external = if wanted < FIRST_PORT { random_port() } else { wanted };
    let mut lease = LEASE.as_secs() as u32;
    let mut any = control.service.chooses();
    let mut left = PORTS;
    loop {
        let action = Action::Add { external, internal, client: gateway.own, lease, any };
        match call_faulty(dialer, gateway, control, action).await? {
            Ok(answer) => return Ok(if any { upnp::port(&answer).unwrap_or(external) } else { external }),
            Err(fault) if upnp::wants_permanent(fault) && lease != 0 => lease = 0,
            Err(fault) if upnp::is_conflict(fault) && left > 0 => {
                left -= 1;
                external = random_port();
            }
            // Says it can choose and cannot.
            Err(_) if any => any = false,
            Err(fault) => return Err(Error::Refused(format!("UPnP fault {fault}"))),
        }
    }
}

/// A port that a router may give away.
pub(crate) fn random_port() -> u16 {
    let room = u32::from(u16::MAX - FIRST_PORT) + 1;
    FIRST_PORT + (OsRng.next_u32() % room) as u16
}

async fn call(
    dialer: &dyn Dial,
    gateway: Gateway,
    control: &Control,
    action: Action,
) -> Result<String, Error> {
    let answer = call_faulty(dialer, gateway, control, action).await?;
    answer.map_err(|fault| Error::Refused(format!("UPnP fault {fault}")))
}

/// The answer, or the number of the fault.
async fn call_faulty(
    dialer: &dyn Dial,
    gateway: Gateway,
    control: &Control,
    action: Action,
) -> Result<Result<String, u32>, Error> {
    let kind = control.service.kind();
    let soap = (format!("{kind}#{}", action.name()), action.body(kind));
    let answer = http::ask(dialer, gateway.router, &control.place, Some(soap)).await?;
    match (answer.status, upnp::fault(&answer.body)) {
        (200, _) => Ok(Ok(answer.body)),
        (_, Some(fault)) => Ok(Err(fault)),
        (status, None) => Err(Error::Refused(format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dial::{BoxStream, LocalFuture, Target};
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A router that forwards ports and does not know its own address.
    #[derive(Default)]
    struct Nameless(Rc<RefCell<Vec<&'static str>>>);

    impl Dial for Nameless {
        fn dial<'a>(&'a self, _: &'a Target) -> LocalFuture<'a, std::io::Result<BoxStream>> {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let done = self.0.clone();
            tokio::task::spawn_local(async move {
                let mut room = vec![0; 4096];
                let len = theirs.read(&mut room).await.unwrap_or_default();
                let asked = String::from_utf8_lossy(&room[..len]).into_owned();
                let kind = "urn:schemas-upnp-org:service:WANIPConnection:1";
                let description = format!(
                    "<service><serviceType>{kind}</serviceType><controlURL>/c</controlURL></service>"
                );
                let body = if asked.starts_with("GET") {
                    description
                } else {
                    let all =
                        ["AddPortMapping", "DeletePortMapping", "GetExternalIPAddress", "GetStatusInfo"];
                    done.borrow_mut()
                        .extend(all.into_iter().find(|name| asked.contains(&format!("#{name}"))));
                    "<ok></ok>".to_owned()
                };
                let _ = theirs.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).await;
            });
            Box::pin(async { Ok(Box::new(ours) as BoxStream) })
        }
    }

    #[tokio::test]
    async fn a_port_that_would_be_of_no_use_is_not_asked_for() {
        let router = Nameless::default();
        let gateway = Gateway { router: [192, 168, 1, 1].into(), own: [192, 168, 1, 9].into() };
        let places = [Place { port: 5000, path: "/d".to_owned() }];
        let asking = map(&router, gateway, &places, 41641, 0);
        let mapped = tokio::task::LocalSet::new().run_until(asking).await;
        assert_eq!(mapped.map(|mapped| mapped.external), Err(Error::Nonsense("no external address")));
        let done = router.0.borrow();
        let changes: Vec<_> = done.iter().filter(|name| name.ends_with("PortMapping")).collect();
        assert!(changes.is_empty() && done.contains(&"GetExternalIPAddress"), "{done:?}");
    }
}

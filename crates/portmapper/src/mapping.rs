//! A mapping, and asking the router for one by the protocols of one datagram: NAT-PMP and PCP.
//!
//! Leaves out: UPnP (`igd`), when it is asked for (`run`).

use crate::gateway::Gateway;
use crate::igd::Control;
use crate::{Error, LEASE, Protocol, lease, pcp, pmp};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

/// How long one datagram to the router is waited for.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often it is sent.
const TRIES: u32 = 3;

/// A mapping in force.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) gateway: Gateway,
    pub(crate) internal: u16,
    pub(crate) external: SocketAddrV4,
    pub(crate) by: By,
    pub(crate) made: Instant,
    pub(crate) lease: Duration,
    /// When it is asked for again.
    pub(crate) renew: Instant,
}

/// How it was made, with what it takes to renew it.
#[derive(Debug)]
pub(crate) enum By {
    Pmp,
    Pcp(pcp::Nonce),
    Upnp(Control),
}

impl By {
    pub(crate) const fn protocol(&self) -> Protocol {
        match self {
            Self::Pmp => Protocol::Pmp,
            Self::Pcp(_) => Protocol::Pcp,
            Self::Upnp(_) => Protocol::Upnp,
        }
    }
}

pub(crate) fn made(
    gateway: Gateway,
    internal: u16,
    external: SocketAddrV4,
    by: By,
    lease: Duration,
) -> Mapping {
    let made = Instant::now();
    Mapping { gateway, internal, external, by, made, lease, renew: made + lease / 2 }
}

pub(crate) async fn map_by_pmp(
    gateway: Gateway,
    port: u16,
    wanted: u16,
    address: Option<Ipv4Addr>,
) -> Result<Mapping, Error> {
    let ask_address = |datagram: &[u8]| match pmp::answer(datagram)? {
        pmp::Answer::Address { external } => Some(Ok(external)),
        pmp::Answer::Refused(why) => Some(Err(why)),
        pmp::Answer::Mapped { .. } => None,
    };
    let ask_port = |datagram: &[u8]| match pmp::answer(datagram)? {
        pmp::Answer::Mapped { internal, external, lifetime } if internal == port => {
            Some(Ok((external, lifetime)))
        }
        pmp::Answer::Refused(why) => Some(Err(why)),
        pmp::Answer::Mapped { .. } | pmp::Answer::Address { .. } => None,
    };
    let refused = |why: u16| Error::Refused(pmp::reason(why).to_owned());
    let ip = match address {
        Some(ip) => ip,
        None => exchange(gateway, &pmp::ADDRESS_REQUEST, &ask_address).await?.map_err(refused)?,
    };
    let request = pmp::map_request(port, wanted, LEASE.as_secs() as u32);
    let (external, lifetime) = exchange(gateway, &request, &ask_port).await?.map_err(refused)?;
    if external == 0 || lifetime == 0 {
        return Err(Error::Nonsense("port or lifetime 0"));
    }
    Ok(made(gateway, port, SocketAddrV4::new(ip, external), By::Pmp, lease(lifetime)))
}

pub(crate) async fn map_by_pcp(
    gateway: Gateway,
    port: u16,
    suggested: SocketAddrV4,
    nonce: pcp::Nonce,
) -> Result<Mapping, Error> {
    let request = pcp::map_request(gateway.own, port, suggested, LEASE.as_secs() as u32, &nonce);
    let ask = |datagram: &[u8]| match pcp::answer(datagram)? {
        pcp::Answer::Mapped { nonce: theirs, internal, external, lifetime }
            if theirs == nonce && internal == port =>
        {
            Some(Ok((external, lifetime)))
        }
        pcp::Answer::Refused(why) => Some(Err(why)),
        pcp::Answer::Mapped { .. } | pcp::Answer::Announced => None,
    };
    let answer = exchange(gateway, &request, &ask).await?;
    let (external, lifetime) = answer.map_err(|why| Error::Refused(pcp::reason(why).to_owned()))?;
    if external.port() == 0 || lifetime == 0 || external.ip().is_unspecified() {
        return Err(Error::Nonsense("address, port or lifetime 0"));
    }
    Ok(made(gateway, port, external, By::Pcp(nonce), lease(lifetime)))
}

/// Sends a datagram to the router until something comes that `read` takes for the answer.
pub(crate) async fn exchange<T>(
    gateway: Gateway,
    request: &[u8],
    read: &dyn Fn(&[u8]) -> Option<T>,
) -> Result<T, Error> {
    let socket = UdpSocket::bind((gateway.own, 0)).await?;
    dial::mark(&socket);
    // Connected: the router's word alone is heard.
    socket.connect((gateway.router, pmp::PORT)).await?;
    let mut room = [0; 1100];
    for _ in 0..TRIES {
        socket.send(request).await?;
        let end = Instant::now() + PATIENCE;
        while let Ok(received) =
            timeout(end.saturating_duration_since(Instant::now()), socket.recv(&mut room)).await
        {
            let Ok(len) = received else { break };
            if let Some(answer) = read(room.get(..len).unwrap_or_default()) {
                return Ok(answer);
            }
        }
    }
    Err(Error::Silent)
}

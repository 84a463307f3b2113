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
    // A router without an uplink: peers could not be told where to send.
    if ip.is_unspecified() {
        return Err(Error::Nonsense("address 0"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a router that tells `address` and forwards any port is asked, and what comes of it.
    async fn by_pmp(router: [u8; 4], address: [u8; 4]) -> (Vec<u8>, Result<SocketAddrV4, String>) {
        let gateway = Gateway { router: router.into(), own: Ipv4Addr::LOCALHOST };
        let socket = UdpSocket::bind((gateway.router, pmp::PORT)).await.expect("an address of this machine");
        let mut asked = Vec::new();
        let answer = async {
            let mut room = [0; 64];
            loop {
                let (len, from) = socket.recv_from(&mut room).await.expect("a request");
                asked.push(room[1]);
                let answer = match &room[..len] {
                    [0, 0] => [&[0, 128, 0, 0, 0, 0, 0, 9], &address[..]].concat(),
                    _ => vec![0, 129, 0, 0, 0, 0, 0, 9, room[4], room[5], 0x10, 0x01, 0, 0, 0x0e, 0x10],
                };
                socket.send_to(&answer, from).await.expect("sent");
            }
        };
        let made = tokio::select! {
            made = map_by_pmp(gateway, 41641, 0, None) => made,
            () = answer => unreachable!("routers do not end"),
        };
        (asked, made.map(|mapping| mapping.external).map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn a_router_without_an_address_of_its_own_has_none_for_us() {
        let (asked, made) = by_pmp([127, 83, 51, 1], [203, 0, 113, 7]).await;
        assert_eq!((&*asked, made), (&[0, 1][..], Ok(SocketAddrV4::new([203, 0, 113, 7].into(), 4097))));
        let (asked, made) = by_pmp([127, 83, 51, 2], [0; 4]).await;
        assert_eq!((&*asked, made), (&[0][..], Err("nonsense: address 0".to_owned())));
    }
}

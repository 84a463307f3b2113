//! The listener for a LAN (`--dns-listen`): UDP and TCP at one address of this machine, for those who are allowed to.
//!
//! Strangers are not answered at all, so that nobody can be flooded by our answers; what is asked for besides names of
//! the tailnet and configured zones is refused.

use super::{Asker, Dns, Listen};
use crate::backend::Reply;
use crate::network::State;
use dns::frames::{Frames, IDLE, framed};
use dns::message::LARGEST;
use ipnet::IpNet;
use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How soon an address that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// Streams at the same time; more are closed.
const MOST_STREAMS: usize = 16;

/// Listens for as long as the process lives; waits for an address that is not there yet.
pub(super) async fn serve(listen: Listen, dns: Dns) {
    let mut told = String::new();
    loop {
        match open(&listen).await {
            Ok((udp, tcp)) => {
                let allowed: Rc<[IpNet]> = match listen.allowed.is_empty() {
                    true => subnets(listen.at.ip()).into(),
                    false => listen.allowed.as_slice().into(),
                };
                log::info!("answering DNS at {} for {allowed:?}", listen.at);
                let streams = streams(tcp, Rc::clone(&allowed), dns.clone());
                dial::spawn(streams);
                datagrams(udp, &allowed, &dns).await;
                return;
            }
            Err(error) => {
                let problem = error.to_string();
                if told != problem {
                    let at = listen.at;
                    log::warn!(
                        "cannot listen for DNS at {at}: {problem}; is it an address of this machine, and free?"
                    );
                    told = problem;
                }
            }
        }
        sleep(AGAIN).await;
    }
}

async fn open(listen: &Listen) -> io::Result<(UdpSocket, TcpListener)> {
    Ok((UdpSocket::bind(listen.at).await?, TcpListener::bind(listen.at).await?))
}

/// The subnet of an address of this machine, or the address alone.
fn subnets(ip: IpAddr) -> Vec<IpNet> {
    let mut nets = State::read(None).networks();
    nets.retain(|net| net.addr() == ip);
    nets.push(ip.into());
    nets.iter().map(IpNet::trunc).collect()
}

fn may_ask(allowed: &[IpNet], ip: IpAddr) -> bool {
    allowed.iter().any(|net| net.contains(&ip))
}

async fn datagrams(udp: UdpSocket, allowed: &[IpNet], dns: &Dns) {
    let udp = Rc::new(udp);
    let mut room = vec![0; LARGEST];
    loop {
        let (length, from) = match udp.recv_from(&mut room).await {
            Ok(received) => received,
            Err(error) => {
                log::debug!("DNS listener: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if may_ask(allowed, from.ip()) {
            let query = room.get(..length).unwrap_or_default().to_vec();
            let udp = Rc::clone(&udp);
            // An answer that does not fit into the socket's queue is lost as one on the way could be.
            let reply = Reply::new(move |bytes: Vec<u8>| drop(udp.try_send_to(&bytes, from)));
            dns.ask(query, false, Asker::Lan, reply);
        }
    }
}

async fn streams(tcp: TcpListener, allowed: Rc<[IpNet]>, dns: Dns) {
    let open = Rc::new(Cell::new(0));
    loop {
        match tcp.accept().await {
            Ok((stream, from)) if open.get() < MOST_STREAMS && may_ask(&allowed, from.ip()) => {
                open.set(open.get() + 1);
                let (dns, open) = (dns.clone(), Rc::clone(&open));
                dial::spawn(async move {
                    if let Err(error) = talk(stream, &dns).await {
                        log::debug!("DNS by TCP from {from}: {error}");
                    }
                    open.set(open.get() - 1);
                });
            }
            Ok(_) => {}
            Err(error) => {
                log::debug!("DNS listener: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One stream: a query, its answer, the next.
async fn talk(mut stream: TcpStream, dns: &Dns) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut room = [0; 512];
    loop {
        while let Some(query) = frames.next_query().map_err(|_| io::ErrorKind::InvalidData)? {
            let (sender, answer) = oneshot::channel();
            let reply = Reply::new(move |bytes: Vec<u8>| drop(sender.send(bytes)));
            dns.ask(query, true, Asker::Lan, reply);
            if let Some(bytes) = answer.await.ok().and_then(|bytes| framed(&bytes)) {
                timeout(IDLE, stream.write_all(&bytes)).await??;
            }
        }
        let most = frames.room().min(room.len());
        let length = timeout(IDLE, stream.read(room.get_mut(..most).unwrap_or_default())).await??;
        if length == 0 {
            return Ok(());
        }
        frames.push(room.get(..length).unwrap_or_default());
    }
}

//! The listener for a LAN (`--dns-listen`): UDP and TCP at one address of this machine, for those who are allowed to.
//!
//! Strangers are not answered at all, so that nobody can be flooded by our answers; what is asked for besides names of
//! the tailnet and configured zones is refused. Address and subnet may change and go: they are looked at now and then.

use super::{Asker, Dns, Listen};
use crate::backend::Reply;
use crate::network::State;
use dns::frames::{Frames, IDLE, framed};
use dns::message::LARGEST;
use ipnet::IpNet;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How soon an address that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often is looked whether the address is there still, and in which subnet.
const LOOK: Duration = Duration::from_secs(10);
/// Streams at the same time; more are closed.
const MOST_STREAMS: usize = 16;

/// Who is answered at the moment.
type Allowed = Rc<RefCell<Vec<IpNet>>>;

/// Listens for as long as the process lives; waits for an address that is not there yet, or not any more.
pub(super) async fn serve(listen: Listen, dns: Dns) {
    let mut told = String::new();
    loop {
        match open(&listen).await {
            Ok((udp, tcp)) => {
                told.clear();
                let allowed = Allowed::default();
                tokio::select! {
                    // Who is allowed comes first.
                    biased;
                    () = while_there(&listen, &allowed) => {}
                    () = streams(tcp, &allowed, &dns) => {}
                    () = datagrams(udp, &allowed, &dns) => {}
                }
                log::warn!(
                    "{} is no address of this machine any more: DNS is answered there again when it is back",
                    listen.at.ip()
                );
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

/// Ends when the address is gone; until then `allowed` is true.
async fn while_there(listen: &Listen, allowed: &Allowed) {
    loop {
        let nets = match listen.allowed.is_empty() {
            true => subnets(listen.at.ip()),
            false => listen.allowed.clone(),
        };
        if *allowed.borrow() != nets {
            log::info!("answering DNS at {} for {nets:?}", listen.at);
            *allowed.borrow_mut() = nets;
        }
        sleep(LOOK).await;
        if !is_there(listen.at) {
            return;
        }
    }
}

/// Whether an address is this machine's: else nothing can be bound to it.
fn is_there(mut at: SocketAddr) -> bool {
    at.set_port(0);
    let gone = |error: io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
    !std::net::UdpSocket::bind(at).is_err_and(gone)
}

/// The subnet of an address of this machine, or the address alone.
fn subnets(ip: IpAddr) -> Vec<IpNet> {
    let mut nets = State::read(None).networks();
    nets.retain(|net| net.addr() == ip);
    nets.push(ip.into());
    nets.iter().map(IpNet::trunc).collect()
}

fn may_ask(allowed: &Allowed, ip: IpAddr) -> bool {
    allowed.borrow().iter().any(|net| net.contains(&ip))
}

async fn datagrams(udp: UdpSocket, allowed: &Allowed, dns: &Dns) {
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

async fn streams(tcp: TcpListener, allowed: &Allowed, dns: &Dns) {
    let open = Rc::new(Cell::new(0));
    loop {
        match tcp.accept().await {
            Ok((stream, from)) if open.get() < MOST_STREAMS && may_ask(allowed, from.ip()) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address_of_this_machine() {
        for (at, there) in [("127.0.0.1:53", true), ("127.9.9.9:1", true), ("192.0.2.77:53", false)] {
            assert_eq!(is_there(at.parse().expect("an address")), there, "{at}");
        }
    }

    #[tokio::test]
    async fn who_is_allowed_is_known_from_the_first_question_on() {
        let listen = Listen::parse("192.0.2.77", "10.0.0.0/8").expect("reads").expect("one");
        let allowed = Allowed::default();
        let looking = while_there(&listen, &allowed);
        assert!(timeout(Duration::from_millis(1), looking).await.is_err());
        assert!(may_ask(&allowed, [10, 1, 2, 3].into()) && !may_ask(&allowed, [192, 0, 2, 77].into()));
    }
}

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
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How soon an address that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often is looked whether the address is there still, and in which subnet.
const LOOK: Duration = Duration::from_secs(10);
/// Streams at the same time, of all and of one address; more are closed. The one may be a router that asks for a whole LAN.
const MOST_STREAMS: usize = 32;
const MOST_STREAMS_OF_ONE: usize = 8;

/// How long is waited for queries.
#[derive(Clone, Copy)]
struct Patience {
    /// For one to begin.
    idle: Duration,
    /// For the rest of it: one byte now and then would keep the place for ever.
    whole: Duration,
}

const PATIENCE: Patience = Patience { idle: IDLE, whole: Duration::from_secs(10) };

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
    let open = Open::default();
    loop {
        match tcp.accept().await {
            Ok((stream, from)) if may_ask(allowed, from.ip()) => {
                let Some(place) = Place::take(&open, from.ip()) else { continue };
                let dns = dns.clone();
                dial::spawn(async move {
                    let _place = place;
                    if let Err(error) = talk(stream, &dns, PATIENCE).await {
                        log::debug!("DNS by TCP from {from}: {error}");
                    }
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

/// Whose streams are open, once for each.
type Open = Rc<RefCell<Vec<IpAddr>>>;

/// One of the places for streams.
struct Place(Open, IpAddr);

impl Place {
    fn take(open: &Open, ip: IpAddr) -> Option<Self> {
        let mut all = open.borrow_mut();
        let of_one = all.iter().filter(|other| **other == ip).count();
        (all.len() < MOST_STREAMS && of_one < MOST_STREAMS_OF_ONE).then(|| {
            all.push(ip);
            Self(Rc::clone(open), ip)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.borrow_mut();
        if let Some(at) = all.iter().position(|ip| *ip == self.1) {
            all.swap_remove(at);
        }
    }
}

/// One stream: a query, its answer, the next.
async fn talk(mut stream: TcpStream, dns: &Dns, patience: Patience) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut room = [0; 512];
    let (mut end, mut begun) = (Instant::now() + patience.idle, false);
    loop {
        while let Some(query) = frames.next_query().map_err(|_| io::ErrorKind::InvalidData)? {
            let (sender, answer) = oneshot::channel();
            let reply = Reply::new(move |bytes: Vec<u8>| drop(sender.send(bytes)));
            dns.ask(query, true, Asker::Lan, reply);
            if let Some(bytes) = answer.await.ok().and_then(|bytes| framed(&bytes)) {
                timeout(patience.idle, stream.write_all(&bytes)).await??;
            }
            (end, begun) = (Instant::now() + patience.idle, false);
        }
        if !begun && !frames.is_empty() {
            (end, begun) = (Instant::now() + patience.whole, true);
        }
        let most = frames.room().min(room.len());
        let length = timeout_at(end, stream.read(room.get_mut(..most).unwrap_or_default())).await??;
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
    #[test]
    fn one_address_does_not_take_all_streams() {
        let open = Open::default();
        let mut places: Vec<_> = (0..100).filter_map(|_| Place::take(&open, [10, 0, 0, 1].into())).collect();
        assert_eq!(places.len(), MOST_STREAMS_OF_ONE);
        places.extend((2..100).filter_map(|last| Place::take(&open, [10, 0, 0, last].into())));
        assert_eq!(places.len(), MOST_STREAMS);
        places.clear();
        assert!(open.borrow().is_empty() && Place::take(&open, [10, 0, 0, 1].into()).is_some());
    }

    /// Whoever sends a byte now and then is not waited for; whoever asks and asks again is.
    #[tokio::test]
    async fn a_query_that_has_begun_has_to_end() {
        let work = async {
            let (dns, _told) = super::super::imp::tests::started();
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
            let at = listener.local_addr().expect("an address");
            let patience = Patience { idle: Duration::from_secs(600), whole: Duration::from_millis(300) };
            for (piece, ends) in [(1, true), (31, false)] {
                let mut asker = TcpStream::connect(at).await.expect("connects");
                let (stream, _) = listener.accept().await.expect("a stream");
                let name = dns::name::Name::parse(b"a.example.org").expect("a name");
                let query = framed(&dns::message::query(1, &name, dns::message::kind::A)).expect("short");
                let all = query.repeat(40);
                let asking = async {
                    for bytes in all.chunks(if piece == 1 { 1 } else { query.len() }) {
                        if asker.write_all(bytes).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    ended = talk(stream, &dns, patience) => {
                        assert!(ends && ended.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut));
                    }
                    () = asking => assert!(!ends, "waited for ever"),
                }
            }
        };
        tokio::task::LocalSet::new().run_until(work).await;
    }
}

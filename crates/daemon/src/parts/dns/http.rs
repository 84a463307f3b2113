//! DNS over HTTP/1.1: to an exit node's PeerAPI, and with TLS to a provider. A connection is kept for the next question.
//!
//! Owns: how many connections there are, how long they live, and whom it is no use to ask for a while. Connections go where
//! the routes lead, into the tunnel too. Leaves out: who is asked when (crate `dns`). Callers bound the time.

use dial::{BoxStream, Dial, LocalFuture, Target, Verify};
use http1::{Head, Method, ask};
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What DNS over HTTP carries.
const DNS_MESSAGE: &str = "application/dns-message";

/// How long a connection is kept for another question, as Go keeps it.
const IDLE: Duration = Duration::from_secs(10);

/// Connections that are kept at most.
const MOST_KEPT: usize = 8;

/// Questions by TLS at the same time; the others wait, and are asked by UDP meanwhile. Each may need a handshake, and tens of
/// KiB.
const MOST_TLS: usize = 4;

/// Questions to PeerAPIs at the same time; the others wait, and go by a connection that is there. More than a page of a browser
/// has mostly, and not all that an exit node grants one node (64 of ours): a name whose servers are silent takes a place for
/// five seconds.
const MOST_PEERAPI: usize = 32;

/// A provider whose HTTPS does not work is not asked by it for so long, if it can be asked by UDP. Some speak HTTP/2 only,
/// some networks let no HTTPS of this kind pass: a handshake in vain for each question would be dear.
const PAUSE: Duration = Duration::from_secs(60);

/// A connection that hangs for so long and is then given up, because somebody else has answered, is one in vain, too: a
/// network that drops HTTPS without a word would cost every question the head start.
const HANGS: Duration = dns::config::HTTPS_FIRST;

/// Providers that are remembered to be paused.
const MOST_PAUSED: usize = 8;

/// Longest answer: a DNS message.
const LONGEST: usize = 65_535;

/// Sends DNS messages, and keeps connections for those that follow.
#[derive(Clone)]
pub(super) struct Client(Rc<Inner>);

struct Inner {
    dialer: Rc<dyn Dial>,
    kept: RefCell<Vec<Kept>>,
    /// Places for questions by TLS, and for those to PeerAPIs.
    tls: Semaphore,
    peerapi: Semaphore,
    /// Until when.
    paused: RefCell<Vec<(String, Instant)>>,
}

/// A connection that nothing is asked by at the moment.
struct Kept {
    to: String,
    stream: BoxStream,
    /// Ends it when nothing follows.
    end: JoinHandle<()>,
    number: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end.abort();
    }
}

/// What a URL means.
struct Place {
    /// As it stands in the URL: what a connection is known by, and the header `Host`.
    host: String,
    path: String,
    target: Target,
}

impl Place {
    /// `None` for what is no URL of ours. `addresses` is where a provider is.
    fn of(url: &str, addresses: Vec<IpAddr>) -> Option<Self> {
        let (rest, tls) = match url.strip_prefix("http://") {
            Some(rest) => (rest, false),
            None => (url.strip_prefix("https://")?, true),
        };
        let (host, path) = rest.split_at(rest.find('/')?);
        let target = if tls {
            // A provider that would have to be looked up cannot be: we are who looks up.
            let addrs = Some(addresses).filter(|all| !all.is_empty())?;
            Target { host: host.to_owned(), port: 443, addrs, tls: Some(Verify::Host) }
        } else {
            let at: SocketAddr = host.parse().ok()?;
            Target { host: at.ip().to_string(), port: at.port(), addrs: vec![at.ip()], tls: None }
        };
        Some(Self { host: host.to_owned(), path: path.to_owned(), target })
    }

    /// Whether somebody answers by UDP at the same address.
    fn has_another_way(&self) -> bool {
        self.target.tls.is_some() && !self.target.addrs.iter().all(|ip| dns::providers::is_https_only(*ip))
    }
}

impl Client {
    /// Connects by [`Dial::dial_by_routes`].
    pub(super) fn new(dialer: Rc<dyn Dial>) -> Self {
        let (kept, paused) = Default::default();
        let (tls, peerapi) = (Semaphore::new(MOST_TLS), Semaphore::new(MOST_PEERAPI));
        Self(Rc::new(Inner { dialer, kept, tls, peerapi, paused }))
    }

    /// Sends a DNS message to `url` and takes the answer; see [`dns::forward::Net::post`].
    pub(super) fn post(
        &self,
        url: &str,
        addresses: Vec<IpAddr>,
        message: Vec<u8>,
    ) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let place = Place::of(url, addresses);
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let place = place.ok_or(io::ErrorKind::InvalidInput)?;
            let places = if place.target.tls.is_some() { &inner.tls } else { &inner.peerapi };
            let _place = places.acquire().await.map_err(io::Error::other)?;
            if inner.is_paused(&place.host) {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            let answer = inner.answer(&place, &message).await;
            if let Err(error) = &answer {
                inner.pause(&place, error);
            }
            answer
        })
    }
}

impl Inner {
    async fn answer(self: &Rc<Self>, place: &Place, message: &[u8]) -> io::Result<Vec<u8>> {
        let kept = self.take(&place.host);
        let old = kept.is_some();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect(place).await?,
        };
        let mut answer = exchange(&mut stream, place, message).await;
        if old && answer.is_err() {
            // The other side has let go of it in the meantime, most likely.
            stream = self.connect(place).await?;
            answer = exchange(&mut stream, place, message).await;
        }
        let (answer, again) = answer?;
        if again {
            self.keep(&place.host, stream);
        }
        Ok(answer)
    }

    async fn connect(&self, place: &Place) -> io::Result<BoxStream> {
        let mut waiting = Waiting { inner: self, place, since: Some(Instant::now()) };
        let connected = self.dialer.dial_by_routes(&place.target).await;
        waiting.since = None;
        connected
    }

    fn take(&self, to: &str) -> Option<BoxStream> {
        let mut all = self.kept.borrow_mut();
        let place = all.iter().rposition(|kept| kept.to == to)?;
        let mut kept = all.remove(place);
        Some(std::mem::replace(&mut kept.stream, Box::new(tokio::io::empty())))
    }

    /// The oldest makes room.
    fn keep(self: &Rc<Self>, to: &str, stream: BoxStream) {
        let mut all = self.kept.borrow_mut();
        let number = all.iter().map(|kept| kept.number + 1).max().unwrap_or_default();
        let others = Rc::downgrade(self);
        let end = dial::spawn(async move {
            tokio::time::sleep(IDLE).await;
            if let Some(others) = others.upgrade() {
                // Out of the list first: it ends this very task.
                let gone = others.kept.borrow_mut().extract_if(.., |kept| kept.number == number).next();
                drop(gone);
            }
        });
        if all.len() >= MOST_KEPT {
            all.remove(0);
        }
        all.push(Kept { to: to.to_owned(), stream, end, number });
    }

    fn is_paused(&self, host: &str) -> bool {
        let mut paused = self.paused.borrow_mut();
        let now = Instant::now();
        paused.retain(|(_, until)| *until > now);
        paused.iter().any(|(known, _)| known == host)
    }

    /// Leaves a provider alone for a while, if it can be asked by UDP.
    fn pause(&self, place: &Place, why: &dyn std::fmt::Display) {
        if !place.has_another_way() || self.is_paused(&place.host) {
            return;
        }
        log::info!("DNS over HTTPS to {}: {why}; by UDP for a minute", place.host);
        let mut paused = self.paused.borrow_mut();
        // The oldest makes room.
        if paused.len() >= MOST_PAUSED {
            paused.remove(0);
        }
        paused.push((place.host.clone(), Instant::now() + PAUSE));
    }
}

/// Somebody waits for a connection.
struct Waiting<'a> {
    inner: &'a Inner,
    place: &'a Place,
    /// `None` once it is there, or cannot be had.
    since: Option<Instant>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= HANGS) {
            self.inner.pause(self.place, &"no connection yet");
        }
    }
}

fn other(error: http1::Error) -> io::Error {
    io::Error::other(error.to_string())
}

/// One message and its answer, and whether the connection takes another.
async fn exchange(stream: &mut BoxStream, place: &Place, message: &[u8]) -> io::Result<(Vec<u8>, bool)> {
    let request = Head::request(Method::POST, &place.path, &place.host)
        .field("content-type", DNS_MESSAGE)
        .field("accept", DNS_MESSAGE);
    let mut response = ask(stream, request, message).await.map_err(other)?;
    if response.status != 200 || response.headers.text("content-type") != DNS_MESSAGE {
        return Err(io::Error::other(format!("HTTP status {}", response.status)));
    }
    let answer = response.whole(stream, LONGEST).await.map_err(other)?.to_vec();
    let stays = response.headers.get("content-length").is_some()
        && !response.headers.text("connection").eq_ignore_ascii_case("close");
    Ok((answer, stays && response.into_rest().is_empty()))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

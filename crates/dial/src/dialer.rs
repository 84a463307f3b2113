//! The real dialler: name lookup, TCP, TLS.

use crate::lookup::Lookup;
use crate::provider;
use crate::roots::{self, Error};
use crate::tls::Tls;
use crate::verify::{Judge, Trust, explain, server_name_of};
use crate::{BoxStream, Dial, LocalFuture, Target, Verify, WallClock, race};
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::TrustAnchor;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long TCP may try. The system itself asks again after 1, 3, 7, 15… seconds: a caller that tries anew finds a
/// server that has come back sooner.
const CONNECT: Duration = Duration::from_secs(5);

/// What a [`Dialer`] is made of.
pub struct Options {
    /// PEM files with further roots (`SSL_CERT_FILE`, `--ca-file`).
    pub extra_ca_file: Vec<PathBuf>,
    /// The public authorities that are trusted beside those files.
    pub roots: Vec<TrustAnchor<'static>>,
    /// What time certificates are judged at.
    pub wall: Arc<dyn WallClock>,
}

/// Opens real connections. One per process; shared as `Rc<dyn Dial>`.
pub struct Dialer {
    lookup: Lookup,
    provider: Arc<CryptoProvider>,
    trust: Arc<Trust>,
}

impl Dialer {
    /// Reads the CA files.
    ///
    /// # Errors
    /// A CA file that cannot be read or holds no certificate.
    pub fn new(options: Options) -> Result<Self, Error> {
        let provider = Arc::new(provider::provider());
        let (roots, named) = roots::load(options.roots, &options.extra_ca_file)?;
        let trust = Arc::new(Trust::new(roots, named, options.wall));
        Ok(Self { lookup: Lookup::system(), provider, trust })
    }

    async fn tcp(&self, target: &Target, marked: bool) -> io::Result<TcpStream> {
        let addrs = if let Ok(literal) = target.host.parse::<IpAddr>()
            && target.addrs.is_empty()
        {
            vec![literal]
        } else if target.addrs.is_empty() {
            self.lookup.resolve(&target.host).await?
        } else {
            target.addrs.clone()
        };
        let connected = tokio::time::timeout(CONNECT, race::connect(&addrs, target.port, marked)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|e| {
            let at = format!("{}:{}", target.host, target.port);
            let text = match e.kind() {
                io::ErrorKind::ConnectionRefused => {
                    format!("connection refused by {at}: nothing listens there, or a firewall rejects it")
                }
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    format!("no route to {at}: check this machine's default route")
                }
                io::ErrorKind::TimedOut => {
                    format!("no answer from {at}: it is down, or a firewall drops what is sent to it")
                }
                _ => format!("cannot connect to {at}: {e}"),
            };
            io::Error::new(e.kind(), text)
        })?;
        if let Err(e) = stream.set_nodelay(true) {
            log::debug!("{}: TCP_NODELAY: {e}", target.host);
        }
        Ok(stream)
    }

    async fn tls(&self, target: &Target, verify: &Verify, tcp: TcpStream) -> io::Result<BoxStream> {
        let at = || format!("{}:{}", target.host, target.port);
        let fail = |e: &rustls::Error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("TLS to {}: {}", at(), explain(e)))
        };
        let trust = Arc::clone(&self.trust);
        let judge = Judge { trust: Arc::clone(&trust), verify: verify.clone(), host: target.host.clone() };
        let mut config = ClientConfig::builder_with_details(Arc::clone(&self.provider), trust)
            .with_safe_default_protocol_versions()
            .map_err(|e| fail(&e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_no_client_auth();
        // Connections live for hours: remembering sessions would only cost memory.
        config.resumption = Resumption::disabled();
        let name = server_name_of(&target.host).map_err(|e| fail(&e))?;
        let tls = UnbufferedClientConnection::new(Arc::new(config), name).map_err(|e| fail(&e))?;
        let stream = Tls::connect(tls, tcp).await.map_err(|e| {
            match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => fail(tls),
                None => io::Error::new(e.kind(), format!("TLS to {}: {e}; is it a TLS port?", at())),
            }
        })?;
        Ok(Box::new(stream))
    }
}

impl Dialer {
    fn open<'a>(&'a self, target: &'a Target, marked: bool) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let tcp = self.tcp(target, marked).await?;
            match &target.tls {
                None => Ok(Box::new(tcp) as BoxStream),
                Some(verify) => self.tls(target, verify, tcp).await,
            }
        })
    }
}

impl Dial for Dialer {
    fn dial<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        self.open(target, true)
    }

    fn dial_by_routes<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        self.open(target, false)
    }

    fn resolve<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(self.lookup.resolve(name))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! The dialler against TLS servers on loopback whose certificates are made for each test.

use super::*;
use crate::WallReading;
use crate::roots::sha256;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// 2025-06-01, inside the validity of `leaf`.
const GOOD_TIME: u64 = 1_748_736_000;
/// 2019-01-01, before every certificate here.
const EARLY: u64 = 1_546_300_800;
/// 2040-01-01, after every certificate here.
const LATE: u64 = 2_208_988_800;

struct Fixed(WallReading);
impl WallClock for Fixed {
    fn reading(&self) -> WallReading {
        self.0
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2039, 1, 1);
    let key = KeyPair::generate().expect("key");
    let cert = params.self_signed(&key).expect("self-signed");
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(cert.pem().as_bytes()).expect("write");
    Authority { issuer: Issuer::new(params, key), file }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2026, 1, 1);
    params
}

fn leaf(ca: &Authority, name: &str) -> Identity {
    let key = KeyPair::generate().expect("key");
    let cert = params(name).signed_by(&key, &ca.issuer).expect("sign");
    (vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("key"))
}

fn self_signed(name: &str) -> Identity {
    let key = KeyPair::generate().expect("key");
    let cert = params(name).self_signed(&key).expect("sign");
    (vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).expect("key"))
}

fn meta() -> CertificateDer<'static> {
    let mut params = params("ignored.example");
    params.distinguished_name.push(DnType::CommonName, format!("derpkey{}", "ab".repeat(32)));
    params.self_signed(&KeyPair::generate().expect("key")).expect("sign").der().clone()
}

fn dialer(ca: Option<&Authority>, unix_secs: u64, trusted: bool) -> Dialer {
    let extra_ca_file = ca.map(|ca| ca.file.path().to_owned()).into_iter().collect();
    Dialer::new(Options {
        extra_ca_file,
        roots: Vec::new(),
        wall: Arc::new(Fixed(WallReading { unix_secs, trusted })),
    })
    .expect("dialer")
}

/// A server's side of TLS.
fn acceptor(identity: Identity) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(identity.0, identity.1)
        .expect("certificate");
    Arc::new(config).into()
}

/// Serves one connection with `identity`, dials it as `a.example`, and moves some bytes both ways.
async fn attempt(dialer: &Dialer, identity: Identity, verify: Verify) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let port = listener.local_addr().expect("addr").port();
    let acceptor = acceptor(identity);
    let server = async move {
        let (tcp, _) = listener.accept().await.expect("accept");
        if let Ok(mut tls) = acceptor.accept(tcp).await {
            assert_eq!(tls.get_ref().1.server_name(), Some("a.example"), "SNI is always the host");
            let mut four = [0; 4];
            if tls.read_exact(&mut four).await.is_ok() {
                let _ = tls.write_all(&four).await;
                let _ = tls.flush().await;
            }
        }
    };
    let client = async {
        let addrs = vec![IpAddr::from([127, 0, 0, 1])];
        let target = Target { host: "a.example".to_owned(), port, addrs, tls: Some(verify) };
        let mut stream = dialer.dial(&target).await.map_err(|e| e.to_string())?;
        stream.write_all(b"ping").await.expect("write");
        stream.flush().await.expect("flush");
        let mut four = [0; 4];
        stream.read_exact(&mut four).await.expect("read");
        assert_eq!(&four, b"ping");
        Ok(())
    };
    tokio::join!(server, client).1
}

async fn expect_error(dialer: &Dialer, identity: Identity, verify: Verify, part: &str) {
    let error = attempt(dialer, identity, verify).await.expect_err("must be refused");
    assert!(error.starts_with("TLS to a.example:"), "{error}");
    assert!(error.contains(part), "{error:?} should say {part:?}");
}

#[tokio::test]
async fn extra_ca_makes_a_chain_good() {
    let ca = authority();
    let good = dialer(Some(&ca), GOOD_TIME, true);
    assert_eq!(attempt(&good, leaf(&ca, "a.example"), Verify::Host).await, Ok(()));
    let without = dialer(None, GOOD_TIME, true);
    expect_error(&without, leaf(&ca, "a.example"), Verify::Host, "--ca-file").await;
    expect_error(&good, self_signed("a.example"), Verify::Host, "bad").await;
}

/// What `openssl req -x509` makes: its own authority, and a server's certificate at once.
#[tokio::test]
async fn a_self_signed_certificate_that_is_named_as_ca_is_good() {
    let mut params = params("a.example");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("key");
    let cert = params.self_signed(&key).expect("self-signed");
    let identity = || {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        (vec![cert.der().clone()], key)
    };
    expect_error(&dialer(None, GOOD_TIME, true), identity(), Verify::Host, "--ca-file").await;
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(cert.pem().as_bytes()).expect("write");
    let at = |unix_secs, trusted| {
        let wall = Arc::new(Fixed(WallReading { unix_secs, trusted }));
        Dialer::new(Options { extra_ca_file: vec![file.path().to_owned()], roots: Vec::new(), wall })
            .expect("dialer")
    };
    assert_eq!(attempt(&at(GOOD_TIME, true), identity(), Verify::Host).await, Ok(()));
    assert_eq!(attempt(&at(0, false), identity(), Verify::Host).await, Ok(()));
    let other = Verify::Name("b.example".to_owned());
    expect_error(&at(GOOD_TIME, true), identity(), other, "another name").await;
    expect_error(&at(LATE, true), identity(), Verify::Host, "expired").await;
}

#[tokio::test]
async fn the_name_is_checked() {
    let ca = authority();
    let good = dialer(Some(&ca), GOOD_TIME, true);
    expect_error(&good, leaf(&ca, "b.example"), Verify::Host, "another name").await;
    let other = Verify::Name("b.example".to_owned());
    assert_eq!(attempt(&good, leaf(&ca, "b.example"), other.clone()).await, Ok(()));
    expect_error(&good, leaf(&ca, "a.example"), other, "another name").await;
    // A clock that is wrong does not soften that.
    let early = dialer(Some(&ca), EARLY, false);
    expect_error(&early, leaf(&ca, "b.example"), Verify::Host, "another name").await;
}

#[tokio::test]
async fn validity_is_judged_by_our_clock() {
    let ca = authority();
    expect_error(&dialer(Some(&ca), LATE, true), leaf(&ca, "a.example"), Verify::Host, "expired").await;
    expect_error(&dialer(Some(&ca), LATE, false), leaf(&ca, "a.example"), Verify::Host, "expired").await;
    expect_error(&dialer(Some(&ca), EARLY, true), leaf(&ca, "a.example"), Verify::Host, "not valid yet")
        .await;
    let untrusted = dialer(Some(&ca), EARLY, false);
    assert_eq!(attempt(&untrusted, leaf(&ca, "a.example"), Verify::Host).await, Ok(()));
    let at_1970 = dialer(Some(&ca), 0, false);
    assert_eq!(attempt(&at_1970, leaf(&ca, "a.example"), Verify::Host).await, Ok(()));
    // An unknown authority stays unknown whatever the clock says.
    expect_error(&dialer(None, 0, false), leaf(&ca, "a.example"), Verify::Host, "--ca-file").await;
}

#[tokio::test]
async fn pins() {
    let good = dialer(None, GOOD_TIME, true);
    let identity = self_signed("whatever.example");
    let pin = sha256(&identity.0[0]);
    let again = || (identity.0.clone(), identity.1.clone_key());
    assert_eq!(attempt(&good, again(), Verify::PinnedSha256(pin)).await, Ok(()));
    expect_error(&good, again(), Verify::PinnedSha256([7; 32]), "pinned").await;
    let mut with_meta = again();
    with_meta.0.push(meta());
    assert_eq!(attempt(&good, with_meta, Verify::PinnedSha256(pin)).await, Ok(()));
    let mut two = again();
    two.0.push(self_signed("second.example").0.remove(0));
    expect_error(&good, two, Verify::PinnedSha256(pin), "exactly one").await;
    let late = dialer(None, LATE, false);
    expect_error(&late, again(), Verify::PinnedSha256(pin), "expired").await;
    let early = dialer(None, EARLY, true);
    expect_error(&early, again(), Verify::PinnedSha256(pin), "not valid yet").await;
    let at_1970 = dialer(None, 0, false);
    assert_eq!(attempt(&at_1970, again(), Verify::PinnedSha256(pin)).await, Ok(()));
}

#[tokio::test]
async fn meta_certificates_and_no_verification() {
    let ca = authority();
    let good = dialer(Some(&ca), GOOD_TIME, true);
    let mut identity = leaf(&ca, "a.example");
    identity.0.push(meta());
    assert_eq!(attempt(&good, identity, Verify::Host).await, Ok(()));
    assert_eq!(attempt(&good, self_signed("b.example"), Verify::Nothing).await, Ok(()));
}

#[test]
fn ca_files_that_are_none() {
    let make = |path: PathBuf| {
        let wall = Arc::new(Fixed(WallReading { unix_secs: GOOD_TIME, trusted: true }));
        Dialer::new(Options { extra_ca_file: vec![path], roots: Vec::new(), wall }).map(drop)
    };
    let mut garbage = tempfile::NamedTempFile::new().expect("file");
    garbage
        .write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\xff\x00 no PEM")
        .expect("write");
    let path = garbage.path().to_owned();
    assert_eq!(make(path.clone()), Err(Error::CaFileEmpty { path }));
    let missing = PathBuf::from("/nonexistent/ca.pem");
    let error = make(missing).expect_err("missing").to_string();
    assert!(error.starts_with("cannot read CA file /nonexistent/ca.pem:"), "{error}");
}

#[tokio::test]
async fn plain_tcp_and_its_errors() {
    let dialer = dialer(None, GOOD_TIME, true);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let port = listener.local_addr().expect("addr").port();
    let mut target = Target { host: "127.0.0.1".to_owned(), port, addrs: vec![], tls: None };
    assert!(dialer.dial(&target).await.is_ok());
    // Not a TLS server: the other end hangs up in the middle of the handshake.
    target.tls = Some(Verify::Host);
    let hang_up = async {
        drop(listener.accept().await.expect("first"));
        drop(listener.accept().await.expect("second"));
    };
    let (error, ()) = tokio::join!(dialer.dial(&target), hang_up);
    let error = error.map(drop).expect_err("no TLS").to_string();
    assert!(error.starts_with(&format!("TLS to 127.0.0.1:{port}: ")), "{error}");
    let in_clear = async {
        let (mut stream, _) = listener.accept().await.expect("third");
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await;
    };
    let (error, ()) = tokio::join!(dialer.dial(&target), in_clear);
    let error = error.map(drop).expect_err("no TLS").to_string();
    assert!(error.contains("does not speak TLS; is it a TLS port?"), "{error}");
    drop(listener);
    target.tls = None;
    let error = dialer.dial(&target).await.map(drop).expect_err("refused").to_string();
    assert!(error.starts_with(&format!("connection refused by 127.0.0.1:{port}")), "{error}");
}

/// A server that reads all there is and sends it back; `politely` says whether it says so before it hangs up.
async fn echo(politely: bool, bytes: usize) -> io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let port = listener.local_addr().expect("addr").port();
    let acceptor = acceptor(self_signed("a.example"));
    let server = async move {
        let (tcp, _) = listener.accept().await.expect("accept");
        let mut tls = acceptor.accept(tcp).await.expect("handshake");
        let mut all = vec![0; bytes];
        // Nothing is read at first, so that the other side's socket fills.
        tokio::time::sleep(Duration::from_millis(20)).await;
        tls.read_exact(&mut all).await.expect("read");
        tls.write_all(&all).await.expect("write");
        tls.flush().await.expect("flush");
        if politely {
            tls.shutdown().await.expect("shutdown");
        }
    };
    let client = async {
        let addrs = vec![IpAddr::from([127, 0, 0, 1])];
        let target = Target { host: "a.example".to_owned(), port, addrs, tls: Some(Verify::Nothing) };
        let mut stream = dialer(None, GOOD_TIME, true).dial(&target).await.expect("dial");
        let sent: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
        stream.write_all(&sent).await.expect("write");
        stream.flush().await.expect("flush");
        // In steps that never fit a record.
        let (mut got, mut piece) = (Vec::new(), [0; 4999]);
        loop {
            match stream.read(&mut piece).await {
                Ok(0) => break,
                Ok(count) => got.extend_from_slice(&piece[..count]),
                Err(error) => {
                    assert!(got == sent, "all of it came before the end did");
                    return Err(error);
                }
            }
        }
        assert!(got == sent, "what came back is what was sent");
        stream.shutdown().await.expect("shutdown");
        Ok(got.len())
    };
    tokio::join!(server, client).1
}

#[tokio::test]
async fn much_goes_both_ways_and_comes_back_whole() {
    // More than both sockets hold, no multiple of a record.
    const MUCH: usize = (8 << 20) + 12_345;
    assert_eq!(echo(true, MUCH).await.expect("echo"), MUCH);
    assert_eq!(echo(true, 1).await.expect("echo"), 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_from_one_that_ended() {
    let error = echo(false, 100_000).await.expect_err("cut");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

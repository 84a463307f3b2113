//! When health hears of name servers that do not answer. Nothing is sent: the machine has no interface of ours.

use super::*;
use dns::name::Name;

/// Nobody is ever reached.
struct NoDial;

impl dial::Dial for NoDial {
    fn dial<'a>(&'a self, _: &'a dial::Target) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// And what it tells.
pub(in crate::parts::dns) fn started() -> (Dns, mpsc::Receiver<Input>) {
    let (inputs, told) = mpsc::channel(8);
    let clock = Arc::new(Clock::new(None));
    let dialer = Rc::new(NoDial);
    (Dns::start(Setup { clock, inputs, interface: false, quad100: false, dialer, listen: None }), told)
}

/// Names below `corp` are asked of this one.
fn split(server: &str) -> Config {
    Config { routes: vec![("corp".into(), [Upstream::parse(server)].into())], ..Config::default() }
}

/// Whether the last thing that was told is a trouble; `None` if nothing was told since.
async fn last(told: &mut mpsc::Receiver<Input>) -> Option<bool> {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let mut last = None;
    while let Ok(input) = told.try_recv() {
        if let Input::Dns(Finding::Forwarding(text)) = input {
            last = Some(text.is_some());
        }
    }
    last
}

async fn local<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn silence_is_forgotten_with_those_who_were_silent() {
    local(async {
        let (dns, mut told) = started();
        let inner = &dns.0;
        inner.compile(split("192.0.2.1"));
        let first = inner.resolver.borrow().whom();
        inner.heard(Asker::Machine, &first, false);
        assert_eq!(last(&mut told).await, Some(true));
        // What changes without them, and the same once more, leaves it.
        inner.compile(Config { nodes_aaaa: true, ..split("192.0.2.1") });
        let resolver = std::mem::take(&mut *inner.resolver.borrow_mut());
        inner.compile(resolver.into_config());
        assert_eq!(last(&mut told).await, None);
        inner.compile(split("192.0.2.2"));
        assert_eq!(last(&mut told).await, Some(false));
        // Who asked the former ones may wait for them for ten seconds still.
        inner.heard(Asker::Machine, &first, false);
        assert_eq!(last(&mut told).await, None);
        let second = inner.resolver.borrow().whom();
        inner.heard(Asker::Lan, &second, false);
        assert_eq!(last(&mut told).await, Some(true));
        // As with --accept-dns=false.
        inner.compile(Config::default());
        assert_eq!(last(&mut told).await, Some(false));
    })
    .await;
}

#[tokio::test]
async fn what_this_machine_asks_for_others_is_not_told() {
    local(async {
        let (dns, mut told) = started();
        let inner = &dns.0;
        let whom = inner.resolver.borrow().whom();
        inner.heard(Asker::ExitClient, &whom, false);
        assert_eq!(last(&mut told).await, None);
        // Nor does their luck end what our own have told.
        inner.heard(Asker::Machine, &whom, false);
        inner.heard(Asker::ExitClient, &whom, true);
        assert_eq!(last(&mut told).await, Some(true));
    })
    .await;
}

#[tokio::test]
async fn a_client_of_an_exit_node_has_names_looked_up_and_nothing_else() {
    local(async {
        let (dns, _told) = started();
        let name = Name::parse(b"a.corp").expect("a name");
        let mut update = message::query(1, &name, message::kind::SOA);
        update[2] |= 5 << 3;
        let verdict = dns.0.answer_exit_client(&dns.0.resolver.borrow(), &update);
        assert!(matches!(verdict, Verdict::Reply(bytes) if message::code(&bytes) == Code::NotImp as u8));
    })
    .await;
}

/// A zone of split DNS whose name server is silent, and a LAN that asks for names there again and again.
#[tokio::test]
async fn a_lan_does_not_keep_this_machine_from_asking() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let server = silent.local_addr().expect("an address").to_string();
    let asked = async |dns: &Dns, asker, name: &str| {
        let name = Name::parse(name.as_bytes()).expect("a name");
        let query = message::query(1, &name, message::kind::A);
        dns.ask(query, false, asker, Reply::new(drop));
        tokio::task::yield_now().await;
        let mut room = [0; 512];
        std::iter::from_fn(|| silent.try_recv(&mut room).ok()).count()
    };
    local(async {
        let (dns, _told) = started();
        dns.0.compile(split(&server));
        let mut arrived = 0;
        for number in 0..300 {
            arrived += asked(&dns, Asker::Lan, &format!("lan{number}.corp")).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        for number in 0..4 {
            arrived += asked(&dns, Asker::Machine, &format!("own{number}.corp")).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        arrived += asked(&dns, Asker::Machine, "last.corp").await;
        // Loopback takes a moment.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut room = [0; 512];
        arrived += std::iter::from_fn(|| silent.try_recv(&mut room).ok()).count();
        assert_eq!((arrived, dns.0.others.get()), (MOST_OF_OTHERS as usize + 5, MOST_OF_OTHERS));
    })
    .await;
}

//! The lock that everybody shares who changes tables. In a file of its own: no other test may run beside it.

mod common;

use common::in_host;
use router::{Firewall, Kind, Mode, Netfilter};

#[test]
fn somebody_else_holds_the_lock() {
    in_host(|_| {
        let file =
            std::fs::File::options().create(true).append(true).open("/run/xtables.lock").expect("lock file");
        file.lock().expect("lock");
        let firewall = &Firewall { mode: Mode::On, kind: Kind::Legacy, ..Firewall::default() };
        let told = Netfilter::default().apply(firewall);
        assert!(
            !told.is_empty() && told.iter().all(|error| error.to_string().contains("IPv4 rules")),
            "{told:?}"
        );
        file.unlock().expect("unlock");
        let mut netfilter = Netfilter::default();
        assert_eq!(netfilter.apply(firewall), []);
        file.lock().expect("lock");
        assert_eq!(netfilter.apply(firewall), [], "who changes nothing needs no lock");
        // At the end there is nobody to try again, so whoever has it is waited for.
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            drop(file);
        });
        assert_eq!(netfilter.close(), []);
        letting_go.join().expect("thread");
    });
}

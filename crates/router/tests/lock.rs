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
        drop(file);
        assert_eq!(Netfilter::default().apply(firewall), []);
    });
}

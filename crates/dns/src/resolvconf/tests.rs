//! A file system that stops at any step, has things mounted on it, or cannot be written.

use super::*;
use crate::Server;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

const ORIGINAL: &str = "# by dhcp\nnameserver 192.168.88.1\nsearch lan\n";

/// Names lead to inodes, inodes hold bytes; a link leads to a name.
#[derive(Debug, Clone, Default)]
struct Fake {
    names: RefCell<BTreeMap<String, u64>>,
    inodes: RefCell<BTreeMap<u64, Inode>>,
    next: Cell<u64>,
    /// Changes that still succeed; then the process is dead.
    left: Cell<u32>,
    mounted: bool,
    read_only: bool,
}

#[derive(Debug, Clone)]
enum Inode {
    File(Vec<u8>, i64),
    Link(String),
}

impl Fake {
    fn with(original: Option<&str>) -> Self {
        let fake = Self { left: Cell::new(u32::MAX), ..Self::default() };
        if let Some(text) = original {
            fake.write(PATH, text);
        }
        fake
    }

    /// Somebody else replaces a file.
    fn write(&self, name: &str, text: &str) {
        self.make(name, Inode::File(text.as_bytes().to_vec(), 0));
    }

    fn make(&self, name: &str, inode: Inode) {
        self.next.set(self.next.get() + 1);
        self.inodes.borrow_mut().insert(self.next.get(), inode);
        self.names.borrow_mut().insert(name.into(), self.next.get());
    }

    fn text(&self, name: &str) -> Option<String> {
        self.read(name).ok().map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    fn inode(&self, name: &str) -> io::Result<(u64, Inode)> {
        let number = *self.names.borrow().get(name).ok_or(ErrorKind::NotFound)?;
        let inode = self.inodes.borrow()[&number].clone();
        match inode {
            Inode::Link(to) => self.inode(&to),
            file @ Inode::File(..) => Ok((number, file)),
        }
    }

    /// Before every change.
    fn step(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1).ok_or(ErrorKind::Interrupted)?;
        self.left.set(left);
        if self.read_only { Err(ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl Files for Fake {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match self.inode(name)? {
            (_, Inode::File(bytes, _)) => Ok(bytes),
            (_, Inode::Link(_)) => Err(ErrorKind::NotFound.into()),
        }
    }

    fn exists(&self, name: &str) -> bool {
        self.names.borrow().contains_key(name)
    }

    fn stamp(&self, name: &str) -> io::Result<Stamp> {
        let (inode, Inode::File(bytes, changes)) = self.inode(name)? else {
            return Err(ErrorKind::NotFound.into());
        };
        Ok(Stamp { inode, modified: (changes, 0), size: bytes.len() as u64 })
    }

    fn link(&self, name: &str, second: &str) -> io::Result<()> {
        self.step()?;
        if self.mounted {
            return Err(ErrorKind::CrossesDevices.into());
        }
        assert!(!self.exists(second));
        let inode = *self.names.borrow().get(name).ok_or(ErrorKind::NotFound)?;
        self.names.borrow_mut().insert(second.into(), inode);
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        if self.exists(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // A kill may come in the middle.
        self.make(name, Inode::File(bytes[..bytes.len() / 2].to_vec(), 0));
        self.step()?;
        self.make(name, Inode::File(bytes.to_vec(), 0));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        if self.mounted && [from, to].contains(&PATH) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let inode = *self.names.borrow().get(from).ok_or(ErrorKind::NotFound)?;
        if self.names.borrow().get(to) != Some(&inode) {
            self.names.borrow_mut().remove(from);
            self.names.borrow_mut().insert(to.into(), inode);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.exists(name) {
            return Err(ErrorKind::NotFound.into());
        }
        self.step()?;
        if self.mounted && name == PATH {
            return Err(ErrorKind::ResourceBusy.into());
        }
        self.names.borrow_mut().remove(name);
        Ok(())
    }

    fn overwrite(&self, name: &str, bytes: &[u8], length: usize) -> io::Result<()> {
        self.step()?;
        let (inode, Inode::File(old, changes)) = self.inode(name)? else {
            return Err(ErrorKind::NotFound.into());
        };
        assert!(bytes.len() >= old.len(), "what is written leaves the end of the old");
        let set =
            |bytes: &[u8]| self.inodes.borrow_mut().insert(inode, Inode::File(bytes.to_vec(), changes + 1));
        set(bytes);
        self.step()?;
        set(&bytes[..length]);
        Ok(())
    }
}

fn config(servers: &[&str]) -> OsConfig {
    let server = |text: &&str| Server::parse(text, |_| None).expect("an address");
    let nameservers = servers.iter().map(server).collect();
    OsConfig { nameservers, search: vec!["tail1.ts.net".into(), "lan".into()] }
}

fn ours() -> OsConfig {
    config(&["100.100.100.100", "fd7a:115c:a1e0::53"])
}

fn manager(fake: &Fake) -> ResolvConf<Fake> {
    ResolvConf::new(fake.clone())
}

#[test]
fn there_and_back() {
    for mounted in [false, true] {
        let mut manager = manager(&Fake { mounted, ..Fake::with(Some(ORIGINAL)) });
        assert_eq!(manager.set(&ours()), Ok(true));
        let text = manager.files.text(PATH).expect("there");
        assert_eq!(
            text,
            "# resolv.conf(5) file generated by tailscale\n# The original is in \
             /etc/resolv.pre-tailscale-backup.conf.\n\nnameserver 100.100.100.100\nnameserver fd7a:115c:a1e0::53\n\
             search tail1.ts.net lan\n"
        );
        assert_eq!(manager.files.text(BACKUP).as_deref(), Some(ORIGINAL));
        assert_eq!(manager.base().expect("readable").nameservers, config(&["192.168.88.1"]).nameservers);
        // Again, and another one: the original stays what it was.
        let left = manager.files.left.get();
        assert_eq!((manager.set(&ours()), manager.files.left.get()), (Ok(false), left));
        assert_eq!(manager.set(&config(&["9.9.9.9"])), Ok(true));
        assert_eq!(manager.files.text(BACKUP).as_deref(), Some(ORIGINAL));
        assert_eq!(manager.set(&OsConfig::default()), Ok(true));
        assert_eq!(manager.files.text(PATH).as_deref(), Some(ORIGINAL));
        assert_eq!(manager.files.names.borrow().len(), 1, "{:?}", manager.files.names);
        assert_eq!(manager.set(&OsConfig::default()), Ok(false));
    }
}

/// The original is in place, or ours is there and the original beside it; and the next run ends well.
#[test]
fn killed_at_every_step_nothing_is_lost() {
    for mounted in [false, true] {
        for restoring in [false, true] {
            let mut steps = 0;
            loop {
                let mut manager = manager(&Fake { mounted, ..Fake::with(Some(ORIGINAL)) });
                if restoring {
                    manager.set(&ours()).expect("sets");
                }
                manager.files.left.set(steps);
                let wanted = if restoring { OsConfig::default() } else { ours() };
                let finished = manager.set(&wanted).is_ok();
                let (current, backup) = (manager.files.text(PATH), manager.files.text(BACKUP));
                let context =
                    format!("mounted {mounted} restoring {restoring} step {steps}: {current:?} {backup:?}");
                let is_original = current.as_deref().map(str::trim_end) == Some(ORIGINAL.trim_end());
                let is_ours = current.as_deref().is_some_and(|text| is_ours(text.as_bytes()));
                assert!(is_original || (is_ours && backup.as_deref() == Some(ORIGINAL)), "{context}");
                // Whatever comes next: a run that wants DNS and ends well, or one that only cleans up.
                for next in [true, false] {
                    let mut again = ResolvConf::new(manager.files.clone());
                    again.files.left.set(u32::MAX);
                    if next {
                        again.set(&ours()).expect("sets");
                        assert_eq!(
                            again.base().expect("readable").nameservers,
                            config(&["192.168.88.1"]).nameservers
                        );
                    }
                    again.set(&OsConfig::default()).expect("restores");
                    let text = again.files.text(PATH).expect(&context);
                    assert_eq!(text.trim_end(), ORIGINAL.trim_end(), "{context}");
                    assert!(!again.files.exists(BACKUP) && !is_ours_anywhere(&again.files), "{context}");
                }
                if finished {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 0, "nothing was interrupted");
        }
    }
}

/// Ours must not lie about where somebody could take it for the original.
fn is_ours_anywhere(fake: &Fake) -> bool {
    [PATH, BACKUP].iter().any(|name| fake.text(name).is_some_and(|text| is_ours(text.as_bytes())))
}

#[test]
fn foreign_edits_are_kept() {
    let mut manager = manager(&Fake::with(Some(ORIGINAL)));
    manager.set(&ours()).expect("sets");
    manager.files.write(PATH, "nameserver 10.0.0.1\n");
    assert_eq!(manager.set(&OsConfig::default()), Ok(false));
    assert_eq!(manager.files.text(PATH).as_deref(), Some("nameserver 10.0.0.1\n"));
    assert!(!manager.files.exists(BACKUP));
    // What was there when we put ours in again is the original then.
    manager.set(&ours()).expect("sets");
    manager.files.write(PATH, "nameserver 10.0.0.2\n");
    manager.set(&ours()).expect("sets");
    manager.set(&OsConfig::default()).expect("restores");
    assert_eq!(manager.files.text(PATH).as_deref(), Some("nameserver 10.0.0.2\n"));
}

#[test]
fn without_an_original() {
    for (mounted, original, after) in [(false, None, None), (true, Some(""), Some(""))] {
        let mut manager = manager(&Fake { mounted, ..Fake::with(original) });
        manager.set(&ours()).expect("sets");
        assert_eq!(manager.base(), Ok(OsConfig::default()));
        manager.set(&OsConfig::default()).expect("restores");
        assert_eq!(manager.files.text(PATH).as_deref(), after);
        assert!(!manager.files.exists(BACKUP));
    }
    // A run of Go's that was killed between its two steps has left nothing but the backup.
    let fake = Fake::with(None);
    fake.write(BACKUP, ORIGINAL);
    let mut manager = manager(&fake);
    assert_eq!(manager.base().expect("readable").nameservers.len(), 1);
    manager.set(&ours()).expect("sets");
    manager.set(&OsConfig::default()).expect("restores");
    assert_eq!(manager.files.text(PATH).as_deref(), Some(ORIGINAL));
}

#[test]
fn links_stay_links() {
    for target in [Some(ORIGINAL), None] {
        let fake = Fake::with(None);
        if let Some(text) = target {
            fake.write("/run/resolv.conf", text);
        }
        fake.make(PATH, Inode::Link("/run/resolv.conf".into()));
        let mut manager = manager(&fake);
        manager.set(&ours()).expect("sets");
        assert_eq!(manager.files.text("/run/resolv.conf").as_deref(), target);
        assert!(is_ours(&manager.files.read(PATH).expect("there")));
        manager.set(&OsConfig::default()).expect("restores");
        let inode = manager.files.names.borrow()[PATH];
        assert!(matches!(manager.files.inodes.borrow()[&inode], Inode::Link(_)));
    }
}

/// A file that others keep up to date: what it says is followed, once for each change.
#[test]
fn an_original_behind_a_link_is_followed() {
    const TARGET: &str = "/run/resolv.conf";
    let fake = Fake::with(None);
    fake.make(PATH, Inode::Link(TARGET.into()));
    let mut manager = manager(&fake);
    let servers = |manager: &mut ResolvConf<Fake>| {
        let base = manager.follow_base().expect("readable");
        manager.set(&ours()).expect("sets");
        base.nameservers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let mut look = {
        let mut now = Duration::ZERO;
        move |manager: &mut ResolvConf<Fake>| {
            now += manager.pause();
            manager.look(now)
        }
    };
    // The link leads nowhere yet.
    assert_eq!((servers(&mut manager).as_str(), look(&mut manager)), ("", Look::Fine));
    let write = |manager: &ResolvConf<Fake>, text: &str| manager.files.write(TARGET, text);
    for (text, known) in
        [("nameserver 10.0.0.1\n", "10.0.0.1"), ("nameserver 10.0.0.2\nsearch lan\n", "10.0.0.2")]
    {
        write(&manager, text);
        assert_eq!(look(&mut manager), Look::NewBase, "{text}");
        assert_eq!((servers(&mut manager).as_str(), look(&mut manager)), (known, Look::Fine));
        // Written again, and the same.
        write(&manager, text);
        assert_eq!(look(&mut manager), Look::Fine);
    }
    // Without a server it may be about to be written; if it stays so, it is so.
    for (text, looks) in
        [("", [Look::Fine, Look::NewBase]), ("nameserver 10.0.0.3\n", [Look::NewBase, Look::Fine])]
    {
        write(&manager, text);
        assert_eq!([look(&mut manager), look(&mut manager)], looks, "{text:?}");
        servers(&mut manager);
    }
    write(&manager, "");
    assert_eq!(look(&mut manager), Look::Fine);
    write(&manager, "nameserver 10.0.0.3\n");
    assert_eq!([look(&mut manager), look(&mut manager)], [Look::Fine, Look::Fine]);
    // Nothing is looked at that is not ours.
    manager.set(&OsConfig::default()).expect("restores");
    write(&manager, "nameserver 10.0.0.4\n");
    assert_eq!(look(&mut manager), Look::Fine);
}

/// A server on one link alone is asked on that link, by the number that it has now.
#[test]
fn links_are_known_by_their_numbers() {
    let mut manager = manager(&Fake::with(Some("nameserver fe80::1%ppp0\n")));
    let link = |manager: &ResolvConf<Fake>, number: &str| {
        manager.files.write(LINKS, &format!("fe80{:028} {number} 40 20 80 ppp0\n", 2));
    };
    assert_eq!(manager.base(), Ok(OsConfig::default()));
    for (number, known) in [("09", 9), ("0a", 10)] {
        link(&manager, number);
        let base = manager.follow_base().expect("readable");
        assert_eq!(base.nameservers[0].at().to_string(), format!("[fe80::1%{known}]:53"));
        manager.set(&ours()).expect("sets");
    }
    assert_eq!(manager.look(Duration::ZERO), Look::Fine);
    link(&manager, "0b");
    let text = manager.files.text(BACKUP).expect("kept");
    manager.files.write(BACKUP, &text);
    assert_eq!(manager.look(Duration::from_secs(15)), Look::NewBase);
}

/// A link that comes after the file, comes anew, or goes for good, while the file stays as it is.
#[test]
fn links_are_looked_up_again() {
    let mut manager = manager(&Fake::with(Some("nameserver fe80::1%ppp0\n")));
    let link = |manager: &ResolvConf<Fake>, table: &str| manager.files.write(LINKS, table);
    let line = |number: u32| format!("fe80{:028} {number:02x} 40 20 80 ppp0\n", 2);
    let follow = |manager: &mut ResolvConf<Fake>| {
        let base = manager.follow_base().expect("readable");
        manager.set(&ours()).expect("sets");
        base.nameservers.first().map(|server| server.at().to_string())
    };
    let mut now = Duration::ZERO;
    let mut look = |manager: &mut ResolvConf<Fake>| {
        now += manager.pause();
        manager.look(now)
    };
    assert_eq!((follow(&mut manager), look(&mut manager)), (None, Look::Fine));
    for number in [9, 10] {
        link(&manager, &line(number));
        assert_eq!(look(&mut manager), Look::NewBase);
        assert_eq!(follow(&mut manager), Some(format!("[fe80::1%{number}]:53")));
        assert_eq!([look(&mut manager), look(&mut manager)], [Look::Fine, Look::Fine]);
    }
    // A link that is made anew is away for a moment.
    link(&manager, "");
    assert_eq!([look(&mut manager), look(&mut manager)], [Look::Fine, Look::NewBase]);
    assert_eq!((follow(&mut manager), look(&mut manager)), (None, Look::Fine));
    // A sign in a comment, or in what is no server, is no link.
    for (text, linked) in
        [("nameserver fe80::1%a", true), ("# %\nnameserver 1.1.1.1\nsearch a%b", false), ("", false)]
    {
        assert_eq!(text::has_links(text.as_bytes()), linked, "{text}");
    }
}

#[test]
fn read_only_is_said_once_and_changes_nothing() {
    let mut manager = manager(&Fake { read_only: true, ..Fake::with(Some(ORIGINAL)) });
    let Err(Error::Unwritable { reason, .. }) = manager.set(&ours()) else { panic!("must fail") };
    assert!(!reason.is_empty());
    assert_eq!(manager.look(Duration::ZERO), Look::Fine);
    assert_eq!(manager.base().expect("readable").search, ["lan".into()]);
    assert_eq!(manager.set(&OsConfig::default()), Ok(false));
    assert_eq!(manager.files.text(PATH).as_deref(), Some(ORIGINAL));
}

#[test]
fn the_text() {
    let text = "# comment\n; comment\nnameserver 10.0.0.1 # here\nnameserver 100.100.100.100\nnameserver\tfd7a:115c:a1e0::53\n\
                nameserver fe80::1%eth0\nnameserver fe80::2%eth9\nnameserver\nnameservers 1.1.1.1\nsearch old\n  search Lan. a..b corp.example  \noptions ndots:5\n";
    let links = b"fe80000000000000021132fffe2c1a5f 1f 40 20 80     eth0\n\n1 2 3\n00 xy 00 00 00 eth1\n";
    let number = |name: &str| text::link_number(links, name);
    assert_eq!([number("eth0"), number("eth1"), number("eth9"), number("")], [Some(31), None, None, None]);
    let base = parse(text.as_bytes(), number);
    let servers: Vec<_> = base.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.1", "fe80::1%eth0"]);
    assert_eq!(base.nameservers[1].at().to_string(), "[fe80::1%31]:53");
    assert_eq!(base.search, ["lan".into(), "corp.example".into()]);
    assert_eq!(parse(&[0xff, b'\n', 0], number), OsConfig::default());
    let written = format(&ours());
    assert!(is_ours(&written) && !is_ours(ORIGINAL.as_bytes()) && !is_ours(b""));
    assert_eq!(parse(&format(&config(&["9.9.9.9"])), number), config(&["9.9.9.9"]));
}

#[test]
fn a_fight_ends() {
    let mut manager = manager(&Fake::with(Some(ORIGINAL)));
    manager.set(&ours()).expect("sets");
    let mut now = Duration::ZERO;
    assert_eq!(manager.look(now), Look::Fine);
    let mut again = 0;
    loop {
        manager.files.write(PATH, ORIGINAL);
        now += manager.pause().min(Duration::from_secs(2));
        match manager.look(now) {
            Look::Again => again += 1,
            Look::GivenIn => break,
            look @ (Look::Fine | Look::NewBase) => panic!("not seen: {look:?}"),
        }
        assert_eq!(manager.set(&ours()), Ok(true));
        assert_eq!(manager.look(now), Look::Fine);
    }
    assert_eq!(again, 9);
    // It stays his, and is said; after some peace, one more try.
    assert_eq!(manager.look(now + Duration::from_secs(60)), Look::GivenIn);
    manager.files.write(PATH, "nameserver 10.0.0.1\n");
    assert_eq!(manager.look(now + Duration::from_secs(120)), Look::Again);
    // Touched and not changed is nothing.
    manager.set(&ours()).expect("sets");
    let text = manager.files.text(PATH).expect("there");
    manager.files.write(PATH, &text);
    assert_eq!(manager.look(now + Duration::from_secs(180)), Look::Fine);
    // One now and then is no fight.
    for minute in 4..40 {
        manager.files.write(PATH, ORIGINAL);
        assert_eq!(manager.look(now + Duration::from_secs(60 * minute)), Look::Again, "{minute}");
        manager.set(&ours()).expect("sets");
    }
}

/// A day with somebody who acts every `period` s, whether we answer or not: how often we write, and the last look.
fn a_day_against(period: u64, act: impl Fn(&Fake)) -> (u32, Look) {
    let mut manager = manager(&Fake::with(Some(ORIGINAL)));
    manager.set(&ours()).expect("sets");
    let (mut now, mut acted, mut written, mut last) = (Duration::ZERO, 0, 0, Look::Fine);
    while now.as_secs() < 24 * 3600 {
        // Timers are late.
        now += manager.pause() + Duration::from_millis(7);
        if now.as_secs() / period > acted {
            acted = now.as_secs() / period;
            act(&manager.files);
        }
        last = manager.look(now);
        if last == Look::Again {
            written += 1;
            assert_eq!(manager.set(&ours()), Ok(true));
        }
    }
    (written, last)
}

#[test]
fn who_goes_on_without_an_answer_has_won() {
    for period in [1, 2, 3, 5, 7, 10, 13, 15, 18] {
        let writes = |files: &Fake| files.write(PATH, ORIGINAL);
        assert_eq!(a_day_against(period, writes), (9, Look::GivenIn), "every {period} s");
    }
    // Nobody is left without the file for good: one try a minute.
    let (written, _) = a_day_against(5, |files| drop(files.remove(PATH)));
    assert!((1000..1500).contains(&written), "{written}");
}

#[test]
fn peace_earns_one_more_answer() {
    let mut manager = manager(&Fake::with(Some(ORIGINAL)));
    manager.set(&ours()).expect("sets");
    let mut now = Duration::ZERO;
    let mut trampled = |manager: &mut ResolvConf<Fake>, after: Duration| {
        now += after;
        manager.files.write(PATH, ORIGINAL);
        let look = manager.look(now);
        if look == Look::Again {
            assert_eq!(manager.set(&ours()), Ok(true));
        }
        look
    };
    while trampled(&mut manager, Duration::from_secs(2)) == Look::Again {}
    for _ in 0..20 {
        let pause = manager.pause();
        assert_eq!(trampled(&mut manager, pause), Look::GivenIn);
    }
    assert_eq!(trampled(&mut manager, Duration::from_secs(60)), Look::GivenIn);
    assert_eq!(trampled(&mut manager, Duration::from_secs(61)), Look::Again);
    assert_eq!(trampled(&mut manager, Duration::from_secs(20)), Look::GivenIn);
    assert_eq!(trampled(&mut manager, Duration::from_secs(61)), Look::Again);
    // It was left alone: nine are answered again.
    for _ in 0..9 {
        assert_eq!(trampled(&mut manager, Duration::from_secs(21)), Look::Again);
    }
}

#[test]
fn on_a_disk() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("etc")).expect("a folder");
    let path = root.path().join("etc/resolv.conf");
    std::fs::write(&path, ORIGINAL).expect("writes");
    let mut manager = ResolvConf::new(Disk { root: root.path().into() });
    manager.set(&ours()).expect("sets");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(manager.look(Duration::ZERO), Look::Fine);
    std::fs::write(&path, "nameserver 10.0.0.1\n").expect("writes");
    assert_eq!(manager.look(Duration::from_secs(1)), Look::Again);
    manager.set(&ours()).expect("sets");
    // In place, as on a mount.
    let old = std::fs::read(&path).expect("there");
    manager.overwrite(b"nameserver 10.0.0.3\n", Some(&old)).expect("writes");
    assert_eq!(std::fs::read(&path).expect("there"), b"nameserver 10.0.0.3\n");
    manager.set(&ours()).expect("sets");
    manager.set(&OsConfig::default()).expect("restores");
    assert_eq!(std::fs::read(&path).expect("there"), b"nameserver 10.0.0.3\n");
    let left: Vec<_> = std::fs::read_dir(root.path().join("etc")).expect("there").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

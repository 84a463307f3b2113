//! kill -9 before every system call that concerns the files, on a real disk: the original is in place, or ours is and the
//! original beside it, and who comes next ends well. `strace` does the killing.

use dns::Server;
use dns::config::OsConfig;
use dns::resolvconf::{BACKUP, Disk, PATH, ResolvConf, is_ours};
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

const ORIGINAL: &str = "# by dhcp\nnameserver 192.168.88.1\nsearch lan\n";
const EDITED: &str = "nameserver 192.168.88.2\n";

/// Where the one to be killed works, and what it puts in force.
const ROOT: &str = "RESOLV_ROOT";
const SERVER: &str = "RESOLV_SERVER";

/// Every call that changes a file or opens one, by all its names; a C library uses one of them.
const CALLS: [&str; 7] = [
    "?open,?openat",
    "?link,?linkat",
    "?rename,?renameat,?renameat2",
    "?unlink,?unlinkat",
    "write",
    "fchmod",
    "fsync",
];

/// What was there, and what the one that is killed was about to do.
#[derive(Debug, Clone, Copy)]
enum Story {
    /// Ours takes the original's place.
    Set,
    /// Ours takes the place of ours.
    Change,
    /// Ours takes the place of what somebody has written over ours.
    Again,
    /// The original comes back.
    Restore,
    /// There was nothing, and ours comes.
    SetWithout,
    /// There was nothing, and ours goes.
    RestoreWithout,
}

fn ours(server: &str) -> OsConfig {
    let nameservers = server.parse::<IpAddr>().into_iter().map(Server::from).collect();
    OsConfig { nameservers, search: vec!["tail1.ts.net".into()] }
}

fn manager(root: &Path) -> ResolvConf<Disk> {
    ResolvConf::new(Disk { root: root.into() })
}

fn text(root: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(root.join(name.trim_start_matches('/'))).ok()
}

/// What is killed; by itself it does nothing.
#[test]
fn one_step_after_the_other() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let server = std::env::var(SERVER).expect("a server, or none");
    manager(Path::new(&root)).set(&ours(&server)).expect("sets");
}

impl Story {
    /// Prepares a folder; what the original is.
    fn prepare(self, root: &Path) -> Option<&'static str> {
        let etc = root.join("etc");
        std::fs::create_dir(&etc).expect("a folder");
        let file = etc.join("resolv.conf");
        let original = match self {
            Self::SetWithout | Self::RestoreWithout => None,
            _ => Some(ORIGINAL),
        };
        if let Some(text) = original {
            std::fs::write(&file, text).expect("writes");
        }
        if !matches!(self, Self::Set | Self::SetWithout) {
            manager(root).set(&ours("100.100.100.100")).expect("sets");
        }
        if matches!(self, Self::Again) {
            std::fs::write(&file, EDITED).expect("writes");
            return Some(EDITED);
        }
        original
    }

    fn server(self) -> &'static str {
        match self {
            Self::Restore | Self::RestoreWithout => "",
            Self::Change => "9.9.9.9",
            _ => "100.100.100.100",
        }
    }

    /// Runs it and kills it before the `number`th `call`; whether it was killed.
    fn killed(self, root: &Path, call: &str, number: u32) -> bool {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null"]);
        for name in ["", "/resolv.conf", "/resolv.conf.tailscale.tmp"] {
            command.arg("-P").arg(format!("{}/etc{name}", root.display()));
        }
        for name in ["", ".tmp"] {
            command.arg("-P").arg(format!("{}{BACKUP}{name}", root.display()));
        }
        command.arg("-e").arg(format!("inject={call}:signal=KILL:when={number}"));
        command.arg(std::env::current_exe().expect("this program"));
        command.args(["--exact", "one_step_after_the_other"]);
        command.env(ROOT, root).env(SERVER, self.server()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("apt-get install strace");
        // strace ends as what it looks after did.
        let killed = status.signal() == Some(9) || status.code() == Some(137);
        assert!(killed || status.success(), "{self:?}: {status} at {call} {number}");
        killed
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn killed_before_any_system_call_nothing_is_lost() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        lab::skip("no strace (apt-get install strace)");
        return;
    }
    let mut kills = 0;
    for story in
        [Story::Set, Story::Change, Story::Again, Story::Restore, Story::SetWithout, Story::RestoreWithout]
    {
        let mut of_story = 0;
        for call in CALLS {
            for number in 1.. {
                let folder = tempfile::tempdir().expect("a folder");
                let root = folder.path();
                let original = story.prepare(root);
                if !story.killed(root, call, number) {
                    break;
                }
                of_story += 1;
                let (current, backup) = (text(root, PATH), text(root, BACKUP));
                let about = format!("{story:?} before {call} {number}: {current:?} {backup:?}");
                let is_ours = current.as_deref().is_some_and(|text| is_ours(text.as_bytes()));
                assert!(
                    current.as_deref() == original || (is_ours && backup.as_deref() == original),
                    "{about}"
                );
                // The next one wants DNS, and ends; or only cleans up.
                if number % 2 == 0 {
                    manager(root).set(&ours("100.100.100.100")).expect("sets");
                }
                manager(root).set(&OsConfig::default()).expect("restores");
                assert_eq!(text(root, PATH).as_deref(), original, "{about}");
                assert_eq!(text(root, BACKUP), None, "{about}");
            }
        }
        assert!(of_story >= 2, "{story:?}: killed {of_story} times");
        kills += of_story;
    }
    println!("killed {kills} times");
}

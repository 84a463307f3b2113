//! What a bare image lacks and a router needs: folders, the TUN node, a place for the socket, forwarding.
//!
//! Nothing here is fatal: what cannot be had is one line in the log, and the node goes on without it.
//! Leaves out: addresses and routes (`router`).

use super::settings::{Plan, SOCKET};
use rustix::fs::{Access, CWD, FileType, Mode, access, makedev, mknodat};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The folders of programs, with their modes.
const FOLDERS: [(&str, u32); 3] = [("/run", 0o755), ("/tmp", 0o1777), ("/var/run/tailscale", 0o755)];

/// Where the socket is as well looked for, in this order: where nothing else can be written, the state's folder can.
pub(super) const OTHER_SOCKETS: [&str; 2] =
    ["/run/tailscale/tailscaled.sock", "/var/lib/tailscale/tailscaled.sock"];

/// The TUN device's node and number.
const TUN: (&str, u32, u32) = ("/dev/net/tun", 10, 200);

/// Prepares the machine for `plan`, which learns where the socket has to be. Gives lines for the log.
pub(super) fn prepare(plan: &mut Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let state = plan.state_dir().map(|dir| (dir.to_owned(), 0o700));
    let state_kept = state.as_ref().is_none_or(|(dir, mode)| folder(dir, *mode).is_ok() && writable(dir));
    notes.extend(folders(Path::new("/")));
    if !state_kept && let Some((dir, _)) = state {
        let dir = dir.display();
        notes.push(format!(
            "{dir} cannot be written: mount a folder there; until then the node does nothing rather than be another one \
             at every start"
        ));
    } else if let Some((dir, _)) = state {
        notes.extend(lost_at_update(&dir));
    }
    notes.extend(place_socket(plan));
    if !plan.userspace() {
        notes.extend(tun_node());
        notes.extend(forward(&plan.flags.tun));
    }
    notes
}

/// Makes the folders that are missing below `root`; those that cannot be made are told in one line.
fn folders(root: &Path) -> Option<String> {
    let mut failed: Option<(Vec<&str>, Error)> = None;
    for (path, mode) in FOLDERS {
        let relative = path.strip_prefix('/').unwrap_or(path);
        if let Err(error) = folder(&root.join(relative), mode) {
            failed.get_or_insert((Vec::new(), error)).0.push(path);
        }
    }
    let (paths, error) = failed?;
    Some(format!(
        "cannot make {}: {}; mount a tmpfs there or make them in the image",
        paths.join(", "),
        words(&error)
    ))
}

fn folder(path: &Path, mode: u32) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A word about a state that lies in the container itself, which an update replaces whole.
fn lost_at_update(dir: &Path) -> Option<String> {
    // Outside a container `/` is a disk like any other.
    let contained = rustix::process::getpid().is_init();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok().filter(|_| contained)?;
    let place = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    (!mounted(&mounts, &place)).then(|| {
        format!(
            "{} is in the container itself and is gone with its next update: mount a folder there",
            dir.display()
        )
    })
}

/// Whether something else than the root is mounted at `dir` or above it, by the text of `/proc/self/mountinfo`.
fn mounted(mounts: &str, dir: &Path) -> bool {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    // Blanks and backslashes are octal there.
    let places = places.map(|place| place.replace("\\040", " ").replace("\\134", "\\"));
    places.into_iter().any(|place| place != "/" && dir.starts_with(place))
}

fn writable(dir: &Path) -> bool {
    access(dir, Access::WRITE_OK).is_ok()
}

/// Moves the socket to where one can be made, unless the user said where it is to be; then a link leads there from the
/// usual place.
fn place_socket(plan: &mut Plan) -> Option<String> {
    let socket = plan.flags.socket.clone();
    if plan.socket_given || socket != Path::new(SOCKET) {
        return link(&socket, Path::new(SOCKET));
    }
    let usable =
        |path: &str| Path::new(path).parent().is_some_and(|dir| folder(dir, 0o755).is_ok() && writable(dir));
    if usable(SOCKET) {
        return None;
    }
    let state = plan.state_dir().and_then(|dir| Some(beside(dir).to_str()?.to_owned()));
    let mut others = OTHER_SOCKETS.into_iter().map(str::to_owned).chain(state);
    let Some(other) = others.find(|path| usable(path)) else {
        return Some(format!("there is no room for the socket at {SOCKET}: mount a tmpfs on /run"));
    };
    plan.daemon.push(format!("--socket={other}"));
    plan.flags.socket = PathBuf::from(&other);
    // The command line looks there by itself.
    let usual = OTHER_SOCKETS.contains(&other.as_str());
    let hint = if usual { String::new() } else { format!("; use tailscale --socket={other}") };
    Some(format!("the socket is {other}: there is no room at {SOCKET}{hint}"))
}

/// The socket beside the state in `dir`.
pub(super) fn beside(dir: &Path) -> PathBuf {
    dir.join("tailscaled.sock")
}

fn link(socket: &Path, from: &Path) -> Option<String> {
    if same_place(socket, from) || std::fs::read_link(from).is_ok_and(|to| to == socket) {
        return None;
    }
    let linked = match std::fs::symlink_metadata(from) {
        // A dead daemon's socket or an old link; a folder is not removed by this.
        Ok(_) => std::fs::remove_file(from),
        Err(_) => Ok(()),
    };
    let error = linked.and_then(|()| symlink(socket, from)).err()?;
    let words = words(&error);
    Some(format!("cannot link {} ({words}): use tailscale --socket={}", from.display(), socket.display()))
}

/// Whether both are the same name in the same folder: `/var/run` mostly is a link to `/run`.
fn same_place(a: &Path, b: &Path) -> bool {
    let folder = |path: &Path| path.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
    a == b || (a.file_name() == b.file_name() && folder(a).is_some_and(|dir| folder(b) == Some(dir)))
}

/// Makes the TUN node where the runtime has not.
fn tun_node() -> Option<String> {
    let (path, major, minor) = TUN;
    let path = Path::new(path);
    if path.exists() {
        return None;
    }
    let dir = path.parent().map_or(Ok(()), |dir| folder(dir, 0o755));
    let mode = Mode::from_raw_mode(0o600);
    let made = dir.and_then(|()| {
        mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor)).map_err(Error::from)
    });
    let error = made.err()?;
    Some(format!(
        "cannot make {}: {}; hand the device in, or set TS_USERSPACE=true",
        path.display(),
        words(&error)
    ))
}

/// Switches forwarding on for both families, router advertisements kept.
fn forward(tun: &[String]) -> Option<String> {
    let root = Path::new("/proc/sys");
    let names = std::fs::read_dir(root.join("net/ipv6/conf")).into_iter().flatten().flatten();
    let names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let mut failed: Option<(Vec<String>, Error)> = None;
    for (path, value) in wanted(&read, &names, tun) {
        if let Err(error) = std::fs::write(root.join(&path), value) {
            failed.get_or_insert((Vec::new(), error)).0.push(path.replace('/', "."));
        }
    }
    let (keys, error) = failed?;
    let (keys, words) = (keys.join(", "), words(&error));
    Some(format!(
        "cannot set {keys}: {words}; without them nothing is forwarded: let the container's runtime set them"
    ))
}

/// What has to be written, in this order: a machine that forwards heeds router advertisements only where `accept_ra` is
/// 2, and forgets the routes it has from them when forwarding is switched on first.
fn wanted(
    read: &dyn Fn(&str) -> Option<String>,
    interfaces: &[String],
    tun: &[String],
) -> Vec<(String, &'static str)> {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    let uplinks = interfaces.iter().filter(|name| *name != "all" && *name != "lo" && !tun.contains(name));
    let heeding = uplinks.map(|name| format!("net/ipv6/conf/{name}/accept_ra")).filter(|path| is(path, "1"));
    let mut writes: Vec<_> = heeding.map(|path| (path, "2")).collect();
    writes.sort();
    for path in ["net/ipv6/conf/all/forwarding", "net/ipv4/ip_forward"] {
        if is(path, "0") {
            writes.push((path.to_owned(), "1"));
        }
    }
    writes
}

/// The system's words without the number.
fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => "read-only file system".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(values: &[(&str, &str)], interfaces: &[&str]) -> Vec<String> {
        let read = |path: &str| values.iter().find(|(p, _)| *p == path).map(|(_, v)| format!("{v}\n"));
        let interfaces: Vec<String> = interfaces.iter().map(|name| (*name).to_owned()).collect();
        let writes = wanted(&read, &interfaces, &["tailscale0".to_owned()]);
        writes.into_iter().map(|(path, value)| format!("{path}={value}")).collect()
    }

    #[test]
    fn advertisements_are_kept_before_forwarding_is_switched_on() {
        let values = [
            ("net/ipv6/conf/veth-ts/accept_ra", "1"),
            ("net/ipv6/conf/default/accept_ra", "1"),
            ("net/ipv6/conf/lo/accept_ra", "1"),
            ("net/ipv6/conf/tailscale0/accept_ra", "1"),
            ("net/ipv6/conf/static/accept_ra", "0"),
            ("net/ipv6/conf/all/accept_ra", "1"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv4/ip_forward", "0"),
        ];
        assert_eq!(
            writes(&values, &["veth-ts", "lo", "all", "default", "static", "tailscale0"]),
            [
                "net/ipv6/conf/default/accept_ra=2",
                "net/ipv6/conf/veth-ts/accept_ra=2",
                "net/ipv6/conf/all/forwarding=1",
                "net/ipv4/ip_forward=1",
            ]
        );
    }

    #[test]
    fn what_is_set_already_is_not_written_and_ipv6_may_be_missing() {
        assert!(writes(&[("net/ipv4/ip_forward", "1")], &[]).is_empty());
        assert_eq!(writes(&[("net/ipv4/ip_forward", "0")], &[]), ["net/ipv4/ip_forward=1"]);
    }

    #[test]
    fn folders_are_made_with_their_modes() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folders(root.path()), None);
        for (path, mode) in FOLDERS {
            let meta = std::fs::metadata(root.path().join(&path[1..])).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path}");
        }
        let broken = tempfile::tempdir().unwrap();
        std::fs::write(broken.path().join("run"), "").unwrap();
        assert!(folders(broken.path()).unwrap().starts_with("cannot make /run: "));
    }

    #[test]
    fn a_mount_at_the_state_or_above_keeps_it() {
        let mounts = "22 1 0:21 / / rw - overlay overlay rw\n23 22 0:22 / /run rw - tmpfs tmpfs rw\n\
                      24 22 8:1 /x /my\\040disk rw shared:1 - ext4 /dev/sda1 rw\n";
        for (dir, kept) in [
            ("/var/lib/tailscale", false),
            ("/runs", false),
            ("/run", true),
            ("/run/state", true),
            ("/my disk/state", true),
        ] {
            assert_eq!(mounted(mounts, Path::new(dir)), kept, "{dir}");
        }
    }

    #[test]
    fn the_usual_place_leads_to_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, usual) = (dir.path().join("there"), dir.path().join("usual"));
        std::fs::write(&usual, "left behind").unwrap();
        assert_eq!(link(&socket, &usual), None);
        assert_eq!(link(&socket, &usual), None);
        assert_eq!(std::fs::read_link(&usual).unwrap(), socket);
        // One folder by two names.
        let (run, var) = (dir.path().join("run"), dir.path().join("var"));
        std::fs::create_dir(&run).unwrap();
        symlink("run", &var).unwrap();
        assert_eq!(link(&run.join("sock"), &var.join("sock")), None);
        assert!(std::fs::symlink_metadata(run.join("sock")).is_err(), "a link to itself");
        assert!(link(&socket, Path::new("/nowhere/at/all")).unwrap().contains("use tailscale --socket="));
    }
}

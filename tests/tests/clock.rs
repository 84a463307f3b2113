//! The clock of the machine may be wrong and may jump: by decades, at boot and while the daemon runs.
//!
//! The shipped binary is static and cannot be given another clock, so this is the host's debug build under libfaketime.
//! Monotonic time stays true: the kernel's does as well when somebody sets the clock.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, count, joined, number, scenario, skip};
use lab::{Flavour, Headscale, Node, Ping};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where Debian has the library.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A year, in seconds.
const YEAR: i64 = 31_556_952;

/// What a node's machine takes the time to be; it may be changed while the node runs.
struct Faked {
    file: PathBuf,
}

impl Faked {
    /// Gives `node` a clock that can be set. It shall run the host's build of the daemon from now on.
    fn new(node: &mut Node, library: &Path, build: &Path) -> Result<Self> {
        let dir = node.host.dir.join("faked");
        std::fs::create_dir(&dir)?;
        let (daemon, file) = (dir.join("tailscaled"), dir.join("offset"));
        std::os::unix::fs::symlink(build, &daemon)?;
        let words = [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1".to_owned(),
            daemon.display().to_string(),
        ];
        // In the place of the daemon that would be run otherwise.
        node.prepare = Some(format!("shift && set -- {} \"$@\"", words.join(" ")));
        Ok(Self { file })
    }

    /// Sets the clock to so many years after 1970 (and a minute).
    fn set(&self, years: i64) -> Result<()> {
        #[allow(clippy::disallowed_methods)]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let offset = years * YEAR + 60 - i64::try_from(now.as_secs())?;
        // In one step: the daemon may read it at any moment.
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("{offset:+}"))?;
        Ok(std::fs::rename(fresh, &self.file)?)
    }
}

#[test]
fn a_clock_in_1970_and_jumps_of_fifty_years_change_nothing() {
    let build = lab::debug_build();
    let Some(library) = LIBRARIES.iter().map(Path::new).find(|path| path.exists()) else {
        return skip("libfaketime is missing (package libfaketime)");
    };
    if !build.exists() {
        return skip("the host's build is missing: run `cargo build -p daemon`");
    }
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let mut go = joined(lab, &headscale, "go", Flavour::Go)?;
        let mut one = lab.node("one", Flavour::Ours)?;
        let clock = Faked::new(&mut one, library, &build)?;
        one.host.block_udp()?;
        clock.set(0)?;
        one.start()?;
        one.join(&headscale).context("joining in 1970")?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", one.daemon()?.id()))?;
        ensure!(maps.contains("faketime"), "the daemon's clock is the true one");
        let identity = one.identity()?;
        answer(&one, &go).context("in 1970")?;
        one.stop()?;
        one.start()?;
        one.wait_running()?;
        answer(&one, &go).context("restarted in 1970")?;
        // From 1970 to 2020 and back; at night also to 2070.
        let jumps: &[i64] = if count(0, 1) == 0 { &[50, 0] } else { &[50, 100, 50, 0] };
        for years in jumps {
            let year = 1970 + years;
            clock.set(*years)?;
            answer(&one, &go).with_context(|| format!("after a jump to {year}"))?;
            afresh(&mut one, &mut go, &mut headscale).with_context(|| format!("in {year}"))?;
            ensure!(one.identity()? == identity, "another identity in {year}");
        }
        ensure!(headscale.nodes()?.len() == 2, "headscale has more nodes than there are");
        Ok(())
    });
}

/// Both reach each other.
fn answer(one: &Node, go: &Node) -> Result<()> {
    let within = Duration::from_secs(20);
    one.wait_ping(Ping::Tsmp, &go.ipv4()?, within)?;
    one.wait_ping(Ping::Icmp, &go.ipv6()?, within)?;
    go.wait_ping(Ping::Tsmp, &one.ipv4()?, within)?;
    go.wait_ping(Ping::Icmp, &one.ipv6()?, within)
}

/// They do with everything that looks at a clock made anew: the peer's session, the certificates of control and relay,
/// and our daemon.
fn afresh(one: &mut Node, go: &mut Node, headscale: &mut Headscale) -> Result<()> {
    go.stop()?;
    go.start()?;
    go.wait_running()?;
    answer(one, go).context("a session that the peer began")?;
    headscale.start_again()?;
    answer(one, go).context("other connections to control and relay")?;
    let started = lab::now();
    one.stop()?;
    one.start()?;
    one.wait_running()?;
    answer(one, go).context("after a restart")?;
    number("restart under a wrong clock to answers both ways", format!("{:?}", started.elapsed()));
    Ok(())
}

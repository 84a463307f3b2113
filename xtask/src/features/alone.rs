//! Each feature by itself: it compiles, it brings the crates that it must bring and no other, and a build of it starts.
//!
//! A build of the whole workspace has all features at once and hides a missing edge, so each is looked at alone.

use super::{Closure, Graph, Profile, Request, upstream};
use crate::metadata::cargo;
use crate::tally::Tally;
use anyhow::{Context, Result, bail, ensure};
#[cfg(test)]
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testcontrol::{Options, Server};

/// How long a daemon may take to answer its socket.
const SOCKET: Duration = Duration::from_secs(20);

/// All of it, a result each.
///
/// # Errors
/// When the graph cannot be read.
pub(crate) fn checks(tally: &mut Tally) -> Result<()> {
    let graph = Graph::load()?;
    if upstream::tool().exists() {
        let differences = upstream::differences(&graph, &upstream::Upstream::ask(&graph)?);
        record(tally, "upstream's features", Ok(differences).and_then(none));
    } else {
        tally.skip("upstream's features: featuretags is missing: run `cargo xtask peers`");
    }
    let bare = Closure::default();
    let alone: Vec<_> = graph.written().map(|name| only(&graph, name)).collect::<Result<_>>()?;
    for closure in std::iter::once(&bare).chain(&alone) {
        let name = format!("compiles with features [{}]", closure.built.join(" "));
        record(tally, &name, daemon("check", closure, &[]));
    }
    record(tally, "refusals of a bare build", daemon("test", &bare, &["--lib", "parts::"]));
    let tiny = graph.close(&Profile::Tiny.into())?;
    for closure in [&bare, &tiny, &graph.close(&Profile::Full.into())?] {
        let name = format!("starts with features [{}]", closure.built.join(" "));
        record(tally, &name, built(closure).and_then(|binary| starts(&binary, closure)));
    }
    // The place where scenarios look for a plain build has the last of these now.
    ran(cargo().args(["build", "--quiet", "--package", "daemon"]))
}

fn record(tally: &mut Tally, name: &str, result: Result<()>) {
    match result {
        Ok(()) => tally.pass(1),
        Err(error) => {
            println!("{name}: {error:#}");
            tally.fail(format!("{name}: {error:#}"));
        }
    }
}

fn none(differences: Vec<String>) -> Result<()> {
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// What a build that asks for `name` alone has, although nothing in it may carry packets.
fn only(graph: &Graph, name: &str) -> Result<Closure> {
    graph.close(&Request { names: vec![name.to_owned()], ..Request::default() })
}

fn daemon(verb: &str, closure: &Closure, words: &[&str]) -> Result<()> {
    ran(cargo().args([verb, "--quiet", "--package", "daemon"]).args(closure.cargo_words()).args(words))
}

fn ran(command: &mut Command) -> Result<()> {
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}

/// A quickly built binary with these features.
fn built(closure: &Closure) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "daemon"]).args(closure.cargo_words());
    // Only where something is missing: the variable makes cargo compile anew.
    if !closure.missing.is_empty() {
        command.env(Closure::MISSING_VAR, closure.missing_value());
    }
    ran(&mut command)?;
    Ok(lab::debug_build())
}

/// The build starts, joins, and says what is in it and what is not.
fn starts(binary: &Path, closure: &Closure) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("smalltail-features").tempdir()?;
    crate::build::install(binary, dir.path())?;
    let server = Server::start(Options::default())?;
    let kernel = closure.built.iter().any(|name| name == "osrouter");
    let node = Node::start(dir.path(), kernel)?;
    let login = format!("--login-server={}", server.url());
    let key = format!("--auth-key={}", Options::default().auth_keys[0]);
    // Off and empty are never refused, whatever the build lacks.
    let off = ["--accept-routes=false", "--advertise-routes=", "--exit-node=", "--accept-dns=false"];
    node.tailscale(&[&["up", &login, &key][..], &off].concat())?;
    // Without feature ipnbus `up` does not wait.
    lab::until("the node to run", SOCKET, || {
        Ok(node.tailscale(&["status", "--json"])?.contains("\"Running\"").then_some(()))
    })?;

    let missing = closure.missing.iter().map(|name| format!("{name} (not written yet)"));
    let said: String = closure.built.iter().cloned().chain(missing).map(|name| format!("{name}\n")).collect();
    for words in [&["version", "--features"][..], &["version", "--features", "--daemon"]] {
        let features = node.tailscale(words)?;
        ensure!(features == said, "{} prints\n{features}instead of\n{said}", words.join(" "));
    }
    let nothing = node.log()?.contains("cannot carry packets");
    ensure!(nothing, "the log does not say that nothing carries packets");

    for (feature, wish) in [
        ("useroutes", "--accept-routes"),
        ("advertiseroutes", "--advertise-routes=192.168.88.0/24"),
        ("advertiseexitnode", "--advertise-exit-node"),
        ("useexitnode", "--exit-node=auto:any"),
        ("dns", "--accept-dns"),
    ] {
        let has = closure.built.iter().any(|name| name == feature);
        for cli in node.clis() {
            match node.run(&cli, &["set", wish]) {
                Ok(_) => {
                    ensure!(has, "{}: {wish} is taken without feature {feature}", cli.display());
                    // Nobody is both at once.
                    node.run(&cli, &["set", "--advertise-exit-node=false"])?;
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    ensure!(!has, "{}: {wish} is refused: {text}", cli.display());
                    ensure!(text.contains(&format!("feature {feature}")), "{}: {text}", cli.display());
                }
            }
        }
    }
    Ok(())
}

/// A daemon with a folder of its own.
struct Node {
    dir: PathBuf,
    child: Child,
}

impl Node {
    /// Without `kernel` the daemon is told nothing of userspace networking: it must find out by itself.
    fn start(dir: &Path, kernel: bool) -> Result<Self> {
        let mut command = Command::new(dir.join("tailscaled"));
        if kernel {
            command.arg("--tun=userspace-networking");
        }
        let child = command
            .arg(format!("--statedir={}", dir.display()))
            .arg(format!("--socket={}", dir.join("socket").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log"))?)
            .spawn()
            .context("starting tailscaled")?;
        let mut node = Self { dir: dir.to_owned(), child };
        let began = lab::now();
        while !node.dir.join("socket").exists() {
            let ended = node.child.try_wait()?;
            if ended.is_some() || began.elapsed() > SOCKET {
                bail!("it did not start: {}", node.log()?);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(node)
    }

    fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.dir.join("log")).context("the daemon's log")
    }

    /// Our command line and, where it is installed, Go's: the daemon answers both.
    fn clis(&self) -> Vec<PathBuf> {
        let go = lab::Flavour::Go.cli();
        [self.dir.join("tailscale"), go].into_iter().filter(|path| path.exists()).collect()
    }

    fn tailscale(&self, words: &[&str]) -> Result<String> {
        self.run(&self.dir.join("tailscale"), words)
    }

    fn run(&self, cli: &Path, words: &[&str]) -> Result<String> {
        let mut command = Command::new(cli);
        command.arg(format!("--socket={}", self.dir.join("socket").display())).args(words);
        let output = command.output().with_context(|| format!("starting {}", cli.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "tailscale {}: {}", words.join(" "), text(&output.stderr).trim());
        Ok(text(&output.stdout))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The crates that a build of `closure` runs, as cargo resolves them.
#[cfg(test)]
fn crates(closure: &Closure) -> Result<BTreeSet<String>> {
    let words = ["tree", "--offline", "--package=daemon", "--edges=normal", "--prefix=none", "--format={p}"];
    let output = cargo().args(words).args(closure.cargo_words()).output().context("starting cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Crates that stand and fall with a feature, whether or not the daemon names them itself. Others (`ring`) are
    /// there anyway.
    const BRINGS: [(&str, &[&str]); 4] = [
        ("cachenetmap", &["postcard", "serde"]),
        ("dns", &["dns"]),
        ("netstack", &["netstack", "smoltcp"]),
        ("osrouter", &["router"]),
    ];

    #[test]
    fn each_feature_has_its_crates_and_no_others() {
        let graph = Graph::load().unwrap();
        let ours: BTreeSet<_> = std::fs::read_dir(lab::workspace_root().join("crates"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        let closures = graph.written().map(|name| only(&graph, name).unwrap());
        let mut seen = BTreeSet::new();
        for closure in closures.chain([Closure::default(), graph.close(&Profile::Full.into()).unwrap()]) {
            let tree = crates(&closure).unwrap();
            assert!(tree.contains("engine") && tree.contains("cli"), "{tree:?}");
            let brought: BTreeSet<_> =
                closure.built.iter().flat_map(|feature| &graph.crates[feature]).collect();
            for name in graph.crates.values().flatten() {
                let has = brought.contains(name);
                if has || ours.contains(name) {
                    assert_eq!(tree.contains(name), has, "{name} with {:?}", closure.built);
                    seen.insert(name.clone());
                }
            }
            for (feature, crates) in BRINGS {
                let has = closure.built.iter().any(|name| name == feature);
                assert!(crates.iter().all(|name| tree.contains(*name) == has), "{feature}: {tree:?}");
            }
        }
        assert!(seen.contains("router"), "{seen:?}");
    }
}

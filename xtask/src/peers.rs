//! `cargo xtask peers`: installs the programs that tests talk to, each in the exact version they were written for.
//!
//! A stamp beside each program says how it was built, so a second run does nothing. Go's own module and build caches
//! make a repeated build quick.

mod kernel;

use anyhow::{Context, Result, bail, ensure};
use kernel::Kernel;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the Go node that this product follows.
const TAILSCALE: &str = "1.102.5";

/// Version of headscale.
const HEADSCALE: &str = "0.29.3";

const HEADSCALE_MODULE: &str = "github.com/juanfont/headscale";

/// Version of WireGuard's own userspace program: the one that the Go node's module list names.
const WIREGUARD_GO: &str = "0.0.0-20260522210424-ecfc5a8d5446";

const WIREGUARD_MODULE: &str = "golang.zx2c4.com/wireguard";

/// What the incumbent build keeps; what these need comes with them.
const INCUMBENT_KEEPS: &str = "advertiseexitnode,useexitnode,dns,gro,portmapper,listenrawdisco,health,iptables,osrouter,\
                               unixsocketidentity,ipnbus";

/// Installs whatever is missing; the incumbent build and the kernels only when they are asked for.
pub(crate) fn run(incumbent: bool, kernels: bool) -> Result<()> {
    let dir = lab::peers_dir();
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    println!("peers in {}", dir.display());
    let go_works = || Command::new("go").arg("version").output().is_ok_and(|output| output.status.success());
    let mut wanted = programs();
    wanted.extend(incumbent.then_some(("incumbent", Recipe::Incumbent)));
    if kernels {
        wanted.extend([
            ("linux-arm64", Recipe::Kernel(kernel::ARM64)),
            ("linux-arm", Recipe::Kernel(kernel::ARM)),
        ]);
    }
    for (name, recipe) in wanted {
        let stamp = dir.join(format!(".{name}.stamp"));
        if dir.join(name).exists() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == recipe.stamp())
        {
            println!("  {name}: {} is there", recipe.version());
            continue;
        }
        let missing = match &recipe {
            Recipe::Kernel(kernel) => kernel.missing(),
            _ => (!go_works()).then(|| "needs Go to be built, and there is no `go` in PATH".to_owned()),
        };
        if let Some(missing) = missing {
            let reason = format!("{name}: {missing}");
            if crate::in_ci() {
                bail!("{reason}");
            }
            println!("  skipped: {reason}");
            continue;
        }
        println!("  {name}: building {} (minutes the first time)", recipe.version());
        let started = lab::now();
        recipe.install(name, &dir)?;
        std::fs::write(&stamp, recipe.stamp())?;
        println!("  {name}: done in {:.0} s", started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// How a program is built.
enum Recipe {
    /// `go install` of a command, with linker flags.
    Install { package: &'static str, version: &'static str, flags: String },
    /// A module of our own that only requires the program's: `go install` refuses it, because the proxy does not
    /// give the module's list of versions.
    Scratch { module: &'static str, package: &'static str, version: &'static str },
    /// The Go node as the images for routers have it: a folder with one stripped, packed program under both names.
    Incumbent,
    /// A kernel for qemu.
    Kernel(Kernel),
}

fn programs() -> Vec<(&'static str, Recipe)> {
    let tailscale = |package| Recipe::Install { package, version: TAILSCALE, flags: tailscale_flags() };
    vec![
        ("tailscaled", tailscale("tailscale.com/cmd/tailscaled")),
        ("tailscale", tailscale("tailscale.com/cmd/tailscale")),
        ("derper", tailscale("tailscale.com/cmd/derper")),
        // Not to talk to: it says which features upstream has.
        ("featuretags", tailscale("tailscale.com/cmd/featuretags")),
        (
            "headscale",
            Recipe::Scratch {
                module: HEADSCALE_MODULE,
                package: "github.com/juanfont/headscale/cmd/headscale",
                version: HEADSCALE,
            },
        ),
        (
            "wireguard-go",
            Recipe::Scratch { module: WIREGUARD_MODULE, package: WIREGUARD_MODULE, version: WIREGUARD_GO },
        ),
    ]
}

/// Linker flags of the Go node. Without the stamp `tailscale version` prints an error text instead of a version.
fn tailscale_flags() -> String {
    format!(
        "-s -w -X tailscale.com/version.shortStamp={TAILSCALE} -X tailscale.com/version.longStamp={TAILSCALE}-go"
    )
}

impl Recipe {
    fn version(&self) -> &'static str {
        match self {
            Self::Install { version, .. } | Self::Scratch { version, .. } => version,
            Self::Incumbent => TAILSCALE,
            Self::Kernel(_) => kernel::VERSION,
        }
    }

    /// Changes whenever the program has to be built again.
    fn stamp(&self) -> String {
        match self {
            Self::Install { package, version, flags } => format!("{package} v{version} {flags}\n"),
            Self::Scratch { package, version, .. } => format!("{package} v{version}\n"),
            Self::Incumbent => format!("combined v{TAILSCALE} keeps {INCUMBENT_KEEPS}\n"),
            Self::Kernel(kernel) => kernel.stamp(),
        }
    }

    fn install(&self, name: &str, dir: &Path) -> Result<()> {
        match self {
            Self::Install { package, version, flags } => {
                let mut go = go();
                go.env("GOBIN", dir).args(["install", "-ldflags", flags, &format!("{package}@v{version}")]);
                run_go(go)
            }
            Self::Incumbent => incumbent(dir),
            Self::Kernel(kernel) => kernel.install(name, dir),
            Self::Scratch { module, package, version } => {
                let scratch = scratch(dir, name, module, version, &[package])?;
                let mut go = go();
                // Built beside its place and renamed: a running program cannot be overwritten.
                let fresh = dir.join(format!(".{name}.new"));
                go.current_dir(&scratch).args(["build", "-mod=mod", "-ldflags", "-s -w", "-o"]);
                go.arg(&fresh).arg(package);
                run_go(go)?;
                Ok(std::fs::rename(fresh, dir.join(name))?)
            }
        }
    }
}

/// A module of our own that requires another's version, and has the packages that are built from it.
fn scratch(dir: &Path, name: &str, module: &str, version: &str, packages: &[&str]) -> Result<PathBuf> {
    let scratch = dir.join("build").join(name);
    std::fs::create_dir_all(&scratch)?;
    let mut text = format!("module peers.local/{name}\n\ngo 1.26\n\nrequire {module} v{version}\n");
    for package in packages {
        text.push_str(&format!("\ntool {package}\n"));
    }
    std::fs::write(scratch.join("go.mod"), text)?;
    Ok(scratch)
}

/// Builds the incumbent: the Go project's own tool says which tags leave a feature out.
fn incumbent(dir: &Path) -> Result<()> {
    let packages = ["tailscale.com/cmd/tailscaled", "tailscale.com/cmd/featuretags"];
    let scratch = scratch(dir, "incumbent", "tailscale.com", TAILSCALE, &packages)?;
    let mut tool = go();
    tool.current_dir(&scratch).args(["run", "-mod=mod", "tailscale.com/cmd/featuretags", "--min"]);
    tool.arg(format!("--add={INCUMBENT_KEEPS}"));
    let output = tool.output().context("starting go")?;
    ensure!(output.status.success(), "featuretags: {}", String::from_utf8_lossy(&output.stderr));
    let tags = format!("{},ts_include_cli", String::from_utf8_lossy(&output.stdout).trim());
    let place = dir.join("incumbent");
    std::fs::create_dir_all(&place)?;
    let fresh = place.join(".new");
    std::fs::remove_file(&fresh).ok();
    let mut build = go();
    build.current_dir(&scratch).args(["build", "-mod=mod", "-trimpath", "-gcflags=all=-l", "-tags", &tags]);
    build.args(["-ldflags", &tailscale_flags(), "-o"]).arg(&fresh).arg("tailscale.com/cmd/tailscaled");
    run_go(build)?;
    match crate::build::pack::upx()? {
        Some(upx) => {
            let status = Command::new(upx).args(["--best", "--lzma", "-qqq"]).arg(&fresh).status()?;
            ensure!(status.success(), "upx ended with {status}");
        }
        None => println!("  no upx: the incumbent stays unpacked, which its memory and start will show"),
    }
    std::fs::rename(fresh, place.join("tailscaled"))?;
    let face = place.join("tailscale");
    std::fs::remove_file(&face).ok();
    Ok(std::os::unix::fs::symlink("tailscaled", face)?)
}

/// The installed Go and no other, making static programs.
fn go() -> Command {
    let mut command = Command::new("go");
    command.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0").env_remove("GOFLAGS");
    command
}

fn run_go(mut command: Command) -> Result<()> {
    let status = command.status().context("starting go")?;
    ensure!(status.success(), "go ended with {status}; is its version at least 1.26?");
    Ok(())
}

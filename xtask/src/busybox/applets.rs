//! Which applets busybox has, by what option each is built in, and where it is linked.
//!
//! Busybox says so in remarks of its own sources, one line an applet: `//applet:IF_LS(APPLET_NOEXEC(ls, ls,
//! BB_DIR_BIN, …))`. They are read once for each version and kept as a text of three columns.

use super::config::Config;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Start of such a line.
const MARK: &str = "//applet:";

/// The fewest applets that a complete source has: fewer mean that its remarks are no longer understood.
const FEWEST: usize = 300;

/// One way to have an applet. `sh` has several: it is one shell or another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Applet {
    pub(super) name: String,
    /// The option that builds it in, with `CONFIG_`.
    pub(super) option: String,
    /// The link's absolute path.
    pub(super) link: String,
}

/// All applets of one version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table(BTreeSet<Applet>);

impl Table {
    /// Reads busybox's sources below `dir`.
    pub(super) fn scan(dir: &Path) -> Result<Self> {
        let mut applets = BTreeSet::new();
        let mut open: Vec<PathBuf> = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
                if kind.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|end| end == "c") {
                    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
                    applets.extend(String::from_utf8_lossy(&bytes).lines().filter_map(applet));
                }
            }
        }
        ensure!(
            applets.len() >= FEWEST,
            "busybox's source names {} applets: its `{MARK}` lines have changed",
            applets.len()
        );
        Ok(Self(applets))
    }

    /// Reads what [`Self::text`] wrote.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let applets = text.lines().map(|line| {
            let mut columns = line.split(' ').map(str::to_owned);
            let applet =
                (|| Some(Applet { name: columns.next()?, option: columns.next()?, link: columns.next()? }))();
            applet.with_context(|| format!("`{line}` has not three columns"))
        });
        Ok(Self(applets.collect::<Result<_>>()?))
    }

    /// One line an applet.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Applet { name, option, link } in &self.0 {
            let _ = writeln!(text, "{name} {option} {link}");
        }
        text
    }

    /// Every way to have an applet.
    pub(super) fn all(&self) -> impl Iterator<Item = &Applet> {
        self.0.iter()
    }

    /// The applets that `config` names. Where there are several ways to have one, the option that `config` sets decides,
    /// else the first.
    ///
    /// # Errors
    /// When a name is no applet; the message has those that are near.
    pub(super) fn chosen(&self, config: &Config) -> Result<Vec<&Applet>> {
        let chosen = config.applets.iter().map(|name| {
            let ways: Vec<_> = self.0.iter().filter(|applet| applet.name == *name).collect();
            let set =
                |applet: &&&Applet| config.options.get(&applet.option).is_some_and(|value| value == "y");
            let way = ways.iter().find(set).or_else(|| ways.first()).copied();
            way.with_context(|| format!("busybox has no applet `{name}`{}", self.near(name)))
        });
        chosen.collect()
    }

    /// Names that start or end alike, for a message.
    fn near(&self, name: &str) -> String {
        let alike = |other: &str| {
            let common = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            common >= 3 || (other.len() >= 2 && name.contains(other)) || other.contains(name)
        };
        let names: BTreeSet<_> =
            self.0.iter().map(|applet| applet.name.as_str()).filter(|name| alike(name)).collect();
        if names.is_empty() {
            return String::new();
        }
        format!("; near are {}", names.into_iter().take(8).collect::<Vec<_>>().join(", "))
    }
}

/// Reads one line of a source file.
fn applet(line: &str) -> Option<Applet> {
    let line = line.trim_start().strip_prefix(MARK)?.trim_start();
    let (option, rest) = line.strip_prefix("IF_")?.split_once('(')?;
    let mut words = rest.split_once("APPLET")?.1.split_once('(')?.1.split([',', ')']).map(str::trim);
    let name = words.next().filter(|name| !name.is_empty() && !name.contains(char::is_whitespace))?;
    let dir = match words.find_map(|word| word.strip_prefix("BB_DIR_"))? {
        "ROOT" => "/",
        "BIN" => "/bin/",
        "SBIN" => "/sbin/",
        "USR_BIN" => "/usr/bin/",
        "USR_SBIN" => "/usr/sbin/",
        _ => return None,
    };
    Some(Applet { name: name.to_owned(), option: format!("CONFIG_{option}"), link: format!("{dir}{name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let lines = [
            "//applet:IF_LS(APPLET_NOEXEC(ls, ls, BB_DIR_BIN, BB_SUID_DROP, ls))",
            "//applet:IF_IP(      APPLET_NOEXEC(ip      , ip      , BB_DIR_SBIN, BB_SUID_DROP, ip      ))",
            "//applet:IF_TEST1(APPLET_NOFORK([,   test, BB_DIR_USR_BIN, BB_SUID_DROP, test))",
            "//applet:IF_SH_IS_ASH(  APPLET_ODDNAME(sh,   ash, BB_DIR_BIN, BB_SUID_DROP, ash))",
            "//applet:IF_SH_IS_HUSH( APPLET_ODDNAME(sh,   hush, BB_DIR_BIN, BB_SUID_DROP, hush))",
            "//applet:IF_LINUXRC(APPLET_ODDNAME(linuxrc, init, BB_DIR_ROOT, BB_SUID_DROP, linuxrc))",
            "//applet:#endif",
            "//applet:/* Needs root */",
            "//kbuild:lib-$(CONFIG_LS) += ls.o",
            "//applet:IF_X(APPLET(x, BB_DIR_NOWHERE, BB_SUID_DROP))",
        ];
        Table(lines.into_iter().filter_map(applet).collect())
    }

    #[test]
    fn lines_of_the_sources_are_understood() {
        let text = table().text();
        assert_eq!(
            text,
            "[ CONFIG_TEST1 /usr/bin/[\nip CONFIG_IP /sbin/ip\nlinuxrc CONFIG_LINUXRC /linuxrc\n\
             ls CONFIG_LS /bin/ls\nsh CONFIG_SH_IS_ASH /bin/sh\nsh CONFIG_SH_IS_HUSH /bin/sh\n"
        );
        assert_eq!(Table::parse(&text).unwrap(), table());
        assert!(Table::parse("ls CONFIG_LS").is_err());
    }

    #[test]
    fn the_configuration_chooses_among_shells() {
        let option = |text: &str| {
            let config = Config::parse(text).unwrap();
            table().chosen(&config).unwrap().iter().map(|applet| applet.option.clone()).collect::<Vec<_>>()
        };
        assert_eq!(option("sh ls\nCONFIG_SH_IS_HUSH=y"), ["CONFIG_LS", "CONFIG_SH_IS_HUSH"]);
        assert_eq!(option("sh"), ["CONFIG_SH_IS_ASH"]);
        assert_eq!(option("sh\nCONFIG_SH_IS_HUSH=n"), ["CONFIG_SH_IS_ASH"]);
    }

    #[test]
    fn an_unknown_applet_is_refused_with_what_is_near() {
        let error = |text: &str| table().chosen(&Config::parse(text).unwrap()).unwrap_err().to_string();
        assert_eq!(error("ls lsx"), "busybox has no applet `lsx`; near are ls");
        assert_eq!(error("qqq"), "busybox has no applet `qqq`");
    }

    #[test]
    fn a_source_without_applets_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("coreutils")).unwrap();
        std::fs::write(dir.path().join("coreutils/ls.c"), "//applet:IF_LS(APPLET(ls, BB_DIR_BIN, X))\n")
            .unwrap();
        let error = Table::scan(dir.path()).unwrap_err().to_string();
        assert!(error.contains("names 1 applets"), "{error}");
    }
}

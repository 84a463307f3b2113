//! Busybox's own configuration: what is put into it, and whether it came out so.
//!
//! Busybox begins with what it prefers (`defconfig`). Every applet that is not named is switched off in that, our options
//! are written over it, its `oldconfig` puts the rest in order, and the result is read back: an option that depends on
//! another one which is off vanishes silently.

use super::applets::{Applet, Table};
use super::config::Config;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Options that images rely on, with the reason why nobody may change them.
pub(super) const FIXED: [((&str, &str), &str); 6] = [
    (("CONFIG_STATIC", "y"), "an image has no C library"),
    (("CONFIG_LFS", "y"), "files and disks are larger than 2 GB"),
    (
        ("CONFIG_BUSYBOX_EXEC_PATH", "\"/proc/self/exe\""),
        "the program is found where it runs, whatever it is called",
    ),
    (("CONFIG_FEATURE_PREFER_APPLETS", "y"), "applets work without their links"),
    (("CONFIG_FEATURE_SH_STANDALONE", "y"), "the shell's applets work without their links"),
    (("CONFIG_EXTRA_LDFLAGS", "\"-s -flto\""), "symbols are a third of the bytes"),
];

/// Name of the option with the compiler's flags, which depend on the target.
pub(super) const CFLAGS: &str = "CONFIG_EXTRA_CFLAGS";

/// Everything that is asked of busybox, by name.
///
/// # Errors
/// When `config` names an applet that busybox does not have.
pub(super) fn wanted(config: &Config, table: &Table, cflags: &str) -> Result<BTreeMap<String, String>> {
    let option = |applet: &Applet, value: &str| (applet.option.clone(), value.to_owned());
    let mut wanted: BTreeMap<_, _> = table.all().map(|applet| option(applet, "n")).collect();
    wanted.extend(table.chosen(config)?.into_iter().map(|applet| option(applet, "y")));
    wanted.extend(config.options.clone());
    wanted.extend(FIXED.iter().map(|((name, value), _)| ((*name).to_owned(), (*value).to_owned())));
    wanted.insert(CFLAGS.to_owned(), format!("\"{cflags}\""));
    Ok(wanted)
}

/// Name and value of a line of a configuration; an option that is off counts as `n`.
fn line(line: &str) -> Option<(&str, &str)> {
    match line.strip_prefix("# ") {
        Some(remark) => Some((remark.strip_suffix(" is not set")?, "n")),
        None => line.split_once('='),
    }
}

/// `base` with what is wanted in the place of what it says.
pub(super) fn written(base: &str, wanted: &BTreeMap<String, String>) -> String {
    // The choice of a shell for `sh` is three options of which one is on: the two others must not be said at all.
    let choice = |name: &str| name.starts_with("CONFIG_SH_IS_");
    let stale = |text: &str| line(text).is_some_and(|(name, _)| wanted.contains_key(name) || choice(name));
    let mut text: String = base.lines().filter(|text| !stale(text)).flat_map(|text| [text, "\n"]).collect();
    for (name, value) in wanted {
        let _ = match value.as_str() {
            "n" => writeln!(text, "# {name} is not set"),
            value => writeln!(text, "{name}={value}"),
        };
    }
    text
}

/// Whether busybox's final configuration is what was wanted.
///
/// # Errors
/// Names the options that are not, and what to do.
pub(super) fn check(result: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
    let result: BTreeMap<_, _> = result.lines().filter_map(line).collect();
    let differs = wanted.iter().filter(|(name, value)| result.get(name.as_str()).unwrap_or(&"n") != value);
    let differs: Vec<_> = differs.map(|(name, value)| format!("{name}={value}")).collect();
    ensure!(
        differs.is_empty(),
        "busybox does not take {}: it does not know the option, or what it depends on is not in {}",
        differs.join(", "),
        super::config::FILE
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "#\n# Automatically generated\n#\nCONFIG_HAVE=y\n# CONFIG_LS is not set\n\
                        # CONFIG_SH_IS_ASH is not set\nCONFIG_SH_IS_NONE=y\nCONFIG_EXTRA_CFLAGS=\"\"\n";

    fn wants(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_wanted_replaces_what_was() {
        let wanted = wants(&[
            ("CONFIG_LS", "y"),
            ("CONFIG_SH_IS_ASH", "y"),
            ("CONFIG_EXTRA_CFLAGS", "\"-x\""),
            ("CONFIG_HAVE", "n"),
        ]);
        let text = written(BASE, &wanted);
        assert_eq!(
            text,
            "#\n# Automatically generated\n#\nCONFIG_EXTRA_CFLAGS=\"-x\"\n# CONFIG_HAVE is not set\nCONFIG_LS=y\n\
             CONFIG_SH_IS_ASH=y\n"
        );
        check(&text, &wanted).unwrap();
    }

    #[test]
    fn what_busybox_dropped_is_named() {
        let error = check(BASE, &wants(&[("CONFIG_LS", "y"), ("CONFIG_HAVE", "y")])).unwrap_err().to_string();
        assert!(error.contains("does not take CONFIG_LS=y:"), "{error}");
        assert!(check(BASE, &wants(&[("CONFIG_UNKNOWN", "100")])).is_err());
        check(BASE, &wants(&[("CONFIG_UNKNOWN", "n")])).unwrap();
    }

    #[test]
    fn what_images_rely_on_comes_last() {
        let table = Table::parse("ls CONFIG_LS /bin/ls\ncat CONFIG_CAT /bin/cat").unwrap();
        let config = Config::parse("ls\nCONFIG_FEATURE_IPV6=n").unwrap();
        let wanted = wanted(&config, &table, "-Os").unwrap();
        for (name, value) in [
            ("CONFIG_LS", "y"),
            ("CONFIG_CAT", "n"),
            ("CONFIG_STATIC", "y"),
            ("CONFIG_FEATURE_IPV6", "n"),
            (CFLAGS, "\"-Os\""),
        ] {
            assert_eq!(wanted.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
}

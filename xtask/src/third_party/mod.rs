//! `cargo xtask third-party`: what of other people's work is in an image, under which terms, and those terms.
//!
//! Owns: the text of the file `LICENSES` of an image. It is made from the graph of what is linked, so no list can be forgotten,
//! and says every licence once: crates that leave a choice are taken under the Apache licence, whose text is the same
//! for all; of the others the copyright lines are gathered above one text. Leaves out: putting it into an image
//! (`image`), and which licences are allowed at all (`tidy`, `deny.toml`).

mod choice;
mod crates;
mod notice;
mod parts;

use crate::features::{self, Closure, Profile};
use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use notice::Notices;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is in an image besides our own code.
pub(crate) struct Contents<'a> {
    /// The features of the node.
    pub(crate) features: &'a Closure,
    /// Whether UPX has packed a program in it.
    pub(crate) packed: bool,
    /// Whether busybox is in it.
    pub(crate) shell: bool,
}

/// What a person types.
pub(crate) fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let profile = Arg::new("profile").long("profile").value_name("PROFILE").help("router, tiny or full");
    Command::new("third-party")
        .about("Print the licences of everything that is in an image")
        .arg(profile)
        .arg(flag("shell", "of an image with busybox"))
        .arg(flag("raw", "of an image whose programs are not packed"))
}

/// Runs it.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let profile =
        matches.get_one::<String>("profile").map_or(Ok(Profile::Router), |name| Profile::parse(name))?;
    let features = features::resolve(&profile.into())?;
    let (shell, packed) = (matches.get_flag("shell"), !matches.get_flag("raw"));
    print!("{}", text(&Contents { features: &features, packed, shell })?);
    Ok(())
}

/// Columns of the lists.
const WIDTH: usize = 118;

/// The file `LICENSES`: UTF-8, the same for the same tree.
///
/// # Errors
/// When cargo cannot tell the graph, or a crate has no text of its licence.
pub(crate) fn text(contents: &Contents<'_>) -> Result<String> {
    let crates = crates::linked(contents.features)?;
    let mut notices = Notices::default();
    let mut lists = BTreeMap::<String, Vec<String>>::new();
    let mut passed_on = String::new();
    for one in &crates {
        let chosen = choice::choose(&one.licence).with_context(|| format!("{one}: {}", one.licence))?;
        lists.entry(chosen.join(" and ")).or_default().push(one.to_string());
        if let Some(notice) = one.notice()? {
            let _ = write!(passed_on, "\n{one}: {}\n", notice.trim());
        }
        for licence in chosen {
            let texts = one.texts().with_context(|| one.to_string())?;
            notices.add(&licence, &one.name, &texts)?;
        }
    }
    for part in parts::parts(contents) {
        lists.entry(part.licence.to_owned()).or_default().push(part.name.to_owned());
        if let Some(text) = part.text {
            notices.add(part.licence, part.name, &[text.to_owned()])?;
        }
    }
    let mut text = parts::opening()?;
    for (licence, names) in &lists {
        let _ = write!(text, "\n{licence}:\n{}", wrapped(names));
    }
    text.push_str(&passed_on);
    text.push_str(&parts::remarks(contents));
    text.push_str(&notices.text());
    text.push_str(&parts::whole_texts(contents, lists.keys().any(|list| list.contains("Apache-2.0"))));
    Ok(text)
}

/// Names one after the other in indented lines.
fn wrapped(names: &[String]) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for (at, name) in names.iter().enumerate() {
        let comma = if at + 1 == names.len() { "" } else { "," };
        if line.len() + name.len() + 2 > WIDTH && !line.is_empty() {
            let _ = writeln!(text, " {line}");
            line.clear();
        }
        let _ = write!(line, " {name}{comma}");
    }
    let _ = writeln!(text, " {line}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(profile: Profile, packed: bool, shell: bool) -> String {
        let features = features::resolve(&profile.into()).unwrap();
        text(&Contents { features: &features, packed, shell }).unwrap()
    }

    #[test]
    fn arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_router_s_file_names_what_is_linked_and_says_each_licence_once() {
        let text = of(Profile::Router, true, false);
        for part in ["tokio ", "ring ", "webpki-roots ", "musl", "Rust's standard library", "UPX", "Mozilla"]
        {
            assert!(text.contains(part), "{part}");
        }
        for once in [
            "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION",
            "Community Data License Agreement - Permissive - Version 2.0",
        ] {
            assert_eq!(text.matches(once).count(), 1, "{once}");
        }
        // The common MIT text, and what single crates have made of it.
        assert!((1..=3).contains(&text.matches("\n== MIT\n").count()), "{text}");
        assert!(text.contains("Tokio Contributors") && text.contains("Rich Felker"));
        // Never linked: macros, tests, build scripts.
        for other in ["syn ", "serde_derive ", "proptest ", "clap_derive ", "cc "] {
            assert!(!text.contains(&format!(" {other}")), "{other}");
        }
        assert!(!text.contains("GNU GENERAL PUBLIC LICENSE") && !text.contains("busybox"));
        assert!(text.len() < 40_000, "{} bytes", text.len());
        assert_eq!(text, of(Profile::Router, true, false), "the same tree gives the same file");
    }

    #[test]
    fn a_shell_brings_its_licence_and_the_offer_of_its_source() {
        let text = of(Profile::Router, false, true);
        assert!(!text.contains("UPX"));
        assert_eq!(text.matches("How to Apply These Terms").count(), 1);
        for part in [crate::busybox::VERSION, crate::busybox::CONFIG_FILE, crate::busybox::FILES[0].1] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn lists_are_wrapped() {
        let names: Vec<_> = (0..60).map(|at| format!("crate{at} 1.0")).collect();
        let text = wrapped(&names);
        assert!(text.lines().all(|line| line.len() <= WIDTH + 2 && line.starts_with("  crate")), "{text}");
        assert_eq!(text.split_whitespace().count(), 120);
        assert!(text.ends_with("crate59 1.0\n"));
    }
}

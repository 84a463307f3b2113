//! Whose the bytes of a binary are: its symbols, and the crate each belongs to.
//!
//! Owns: reading the symbol table of an unstripped binary, and Rust's mangled names as far as they name crates. Leaves out:
//! demangling for people (names are printed with their paths only). Nothing here is exact: outlined code and merged
//! functions stand under one name and serve many.

use anyhow::{Context, Result};
use object::{Object as _, ObjectSymbol as _, SymbolKind};
use std::collections::BTreeMap;

/// What generic code of the standard library is instantiated for is more telling than that it is generic.
const STANDARD: [&str; 5] = ["core", "alloc", "std", "compiler_builtins", "hashbrown"];

/// Where bytes count that no crate is named for.
const OUTLINED: &str = "(outlined)";
const FOREIGN: &str = "(C and assembly)";

/// One function or constant that is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) bytes: u64,
    /// Its crate's name.
    pub(super) owner: String,
    /// Path in its crate, as far as the mangled name shows it.
    pub(super) name: String,
}

/// The symbols of `binary` that take up bytes in the file, largest first.
pub(super) fn read(binary: &[u8]) -> Result<Vec<Symbol>> {
    let file = object::File::parse(binary).context("not a binary with symbols")?;
    let mut found: BTreeMap<u64, Symbol> = BTreeMap::new();
    for symbol in file.symbols() {
        let kind = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        let in_file = section.is_some_and(|section| object::ObjectSection::file_range(&section).is_some());
        if !kind || !in_file || symbol.size() == 0 {
            continue;
        }
        let mangled = symbol.name().unwrap_or_default();
        let names = words(mangled);
        let found_here = Symbol { bytes: symbol.size(), owner: owner(mangled), name: names.join("::") };
        // Merged functions have one address and many names: the first is as good as another.
        found.entry(symbol.address()).or_insert(found_here);
    }
    let mut symbols: Vec<_> = found.into_values().collect();
    symbols.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(symbols)
}

/// Bytes by crate, largest first.
pub(super) fn by_crate(symbols: &[Symbol]) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for symbol in symbols {
        *sums.entry(&symbol.owner).or_default() += symbol.bytes;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums
}

/// The crate that a symbol belongs to: the first that its name mentions and that is not the standard library's.
fn owner(mangled: &str) -> String {
    if mangled.starts_with("OUTLINED_FUNCTION") {
        return OUTLINED.to_owned();
    }
    if mangled.starts_with("ring_core") {
        return "ring".to_owned();
    }
    let crates = crates(mangled);
    let own = crates.iter().find(|name| !STANDARD.contains(name)).or_else(|| crates.first());
    own.map_or_else(|| FOREIGN.to_owned(), |name| (*name).to_owned())
}

/// Crates in a name mangled by Rust's v0 scheme: `C`, perhaps `s`, a disambiguator and `_`, then a counted word.
fn crates(mangled: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // The older scheme says the crate first, but for implementations, whose word starts with an underscore.
    if let Some((word, _)) =
        mangled.strip_prefix("_ZN").and_then(counted).filter(|(word, _)| !word.starts_with('_'))
    {
        found.push(word);
    }
    if !mangled.starts_with("_R") {
        return found;
    }
    for (at, _) in mangled.match_indices("Cs") {
        let Some(rest) = mangled.get(at + 2..) else { continue };
        let Some((disambiguator, rest)) = rest.split_once('_') else { continue };
        if !disambiguator.chars().all(|c| c.is_ascii_alphanumeric()) {
            continue;
        }
        if let Some((word, _)) = counted(rest) {
            found.push(word);
        }
    }
    found
}

/// A word with its length in front: `4core…` is `core` and the rest.
fn counted(text: &str) -> Option<(&str, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let length: usize = text.get(..digits)?.parse().ok()?;
    let rest = text.get(digits..)?;
    // An underscore parts the number from a word that starts with a digit or an underscore.
    let rest = rest.strip_prefix('_').unwrap_or(rest);
    (length > 0 && rest.is_char_boundary(length) && length <= rest.len()).then(|| rest.split_at(length))
}

/// All words of a mangled name; the name itself where it is not Rust's.
fn words(mangled: &str) -> Vec<String> {
    let Some(rest) = mangled.strip_prefix("_R") else { return vec![mangled.to_owned()] };
    let plain = without_hashes(rest);
    let mut rest = plain.as_str();
    let mut words: Vec<String> = Vec::new();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = rest.get(at..).unwrap_or_default();
        match counted(rest) {
            Some((word, behind)) if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                if words.last().is_none_or(|last| last != word) {
                    words.push(word.to_owned());
                }
                rest = behind;
            }
            _ => rest = rest.get(1..).unwrap_or_default(),
        }
    }
    words.truncate(WORDS);
    words
}

/// How much of a name is shown.
const WORDS: usize = 8;

/// A mangled name without its disambiguators, which have digits, too: behind the letter of a crate or an implementation `s`,
/// some letters and digits, and `_`.
fn without_hashes(mangled: &str) -> String {
    let mut out = String::with_capacity(mangled.len());
    let mut rest = mangled;
    while let Some(at) = rest.find(['C', 'M', 'X']) {
        let (before, behind) = rest.split_at(at + 1);
        out.push_str(before);
        rest = behind;
        if let Some((hash, behind)) = behind.strip_prefix('s').and_then(|text| text.split_once('_'))
            && hash.chars().all(|c| c.is_ascii_alphanumeric())
        {
            rest = behind;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_first_crate_that_is_not_the_standard_librarys() {
        for (mangled, expected) in [
            ("_RNCNvNtCsbBEHGHaJ96I_3cli7command8dispatch0B5_", "cli"),
            (
                "_RINvNtCsdAZbY89Tmuu_4core3ptr13drop_in_placeNtNtCscmpKEfTMk1C_6engine6engine6EngineE",
                "engine",
            ),
            ("_RNvNtCsdAZbY89Tmuu_4core3fmt5write", "core"),
            ("OUTLINED_FUNCTION_724", "(outlined)"),
            ("ring_core_0_17_14__x25519_sc_muladd", "ring"),
            ("printf_core", "(C and assembly)"),
            ("_ZN5xtask4size3run17h0123456789abcdefE", "xtask"),
        ] {
            assert_eq!(owner(mangled), expected, "{mangled}");
        }
    }

    #[test]
    fn names_show_their_path() {
        let shown = |mangled| words(mangled).join("::");
        assert_eq!(shown("_RNCNvNtCsbBEHGHaJ96I_3cli7command8dispatch0B5_"), "cli::command::dispatch");
        assert_eq!(shown("_RNvMs1O_NtCs84MJVU4pLN4_6rustls9handshake4read"), "rustls::handshake::read");
        assert_eq!(shown("printf_core"), "printf_core");
    }

    #[test]
    fn hostile_names_are_names() {
        for mangled in ["_R", "_RCs", "_RCs_", "_RCs1_9", "_RCs1_99999999999999999999x", "_RCsä_3äöü", "_R3"]
        {
            owner(mangled);
            words(mangled);
        }
    }

    #[test]
    fn sums_are_sorted() {
        let symbol = |bytes, owner: &str| Symbol { bytes, owner: owner.to_owned(), name: String::new() };
        let sums = by_crate(&[symbol(1, "a"), symbol(5, "b"), symbol(2, "a"), symbol(3, "c")]);
        let expected = [("b", 5), ("a", 3), ("c", 3)].map(|(name, bytes)| (name.to_owned(), bytes));
        assert_eq!(sums, expected);
    }

    #[test]
    fn a_program_of_this_machine_has_symbols() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let symbols = read(&bytes).unwrap();
        assert!(by_crate(&symbols).iter().any(|(name, bytes)| name == "xtask" && *bytes > 0));
        assert!(read(b"no binary").is_err());
    }
}

//! What is made before the daemon is compiled: one small function in front of musl's own, which would bring all of stdio
//! along (`native/thread_name.c`), and the table of common authorities (`parts/allroots`).

use std::fmt::Write as _;
use std::path::PathBuf;

fn main() {
    thread_name();
    common_roots();
}

fn thread_name() {
    const SOURCE: &str = "native/thread_name.c";
    println!("cargo::rerun-if-changed={SOURCE}");
    if std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("musl") {
        cc::Build::new().file(SOURCE).define("_GNU_SOURCE", None).compile("thread_name");
    }
}

/// Subject and key of each authority that is named, as slices of bytes.
fn common_roots() {
    const NAMES: &str = "src/parts/allroots/common.txt";
    println!("cargo::rerun-if-changed={NAMES}");
    let names = std::fs::read_to_string(NAMES).unwrap_or_else(|error| panic!("{NAMES}: {error}"));
    let mut table = String::from("static COMMON: &[(&[u8], &[u8])] = &[\n");
    for name in names.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // A name is a string of its own, with its length in front; `GTS Root R1` is not in `GTS Root R11`.
        let mut entry = vec![u8::try_from(name.len()).expect("a short name")];
        entry.extend(name.as_bytes());
        let mut found = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .filter(|root| root.subject.windows(entry.len()).any(|part| part == entry));
        let (Some(root), None) = (found.next(), found.next()) else {
            panic!("{NAMES}: {name:?} is not the name of one authority of Mozilla's");
        };
        assert!(root.name_constraints.is_none(), "{NAMES}: {name:?} may sign for some names only");
        let bytes = |part: &[u8]| part.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let (subject, key) = (bytes(&root.subject), bytes(&root.subject_public_key_info));
        writeln!(table, "    (b\"{subject}\", b\"{key}\"),").expect("a string takes all");
    }
    table.push_str("];\n");
    let place = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("roots.rs");
    std::fs::write(&place, table).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
}

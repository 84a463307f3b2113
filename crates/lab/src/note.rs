//! What a test tells `cargo xtask test` beside passing and failing: lines in the files that the environment names.

/// Records that the calling test cannot run here, and why; the caller returns.
#[allow(clippy::print_stderr)]
pub fn skip(reason: &str) {
    let name = test_name();
    report("SMALLTAIL_SKIPS", &format!("{name}: {reason}"));
    eprintln!("skipped: {name}: {reason}");
}

/// The name of the calling test: libtest names the thread after it.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("scenario").to_owned()
}

/// Appends a line to the file that the variable names, if it names one.
pub fn report(variable: &str, line: &str) {
    if let Some(path) = std::env::var_os(variable)
        && let Ok(mut file) = std::fs::File::options().create(true).append(true).open(path)
    {
        // In one write: the soaks append to the same file.
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).ok();
    }
}

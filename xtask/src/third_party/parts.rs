//! What is in an image and is no crate: the C library, the standard library, the packer's stub, busybox; and remarks
//! that a licence or a reader wants.

use super::Contents;
use crate::busybox;
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// The Apache licence.
const APACHE: &str = include_str!("texts/Apache-2.0.txt");

/// The GNU licence of busybox.
const GPL: &str = include_str!("texts/GPL-2.0.txt");

/// Who owns what of the C library, without its list of contributors.
const MUSL: &str = include_str!("texts/musl.txt");

/// The MIT licence with the line of the compiler's run-time library.
const ZIG: &str = include_str!("texts/zig.txt");

/// A piece that no crate brings.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) licence: &'static str,
    /// Copyright line and text, where it adds one.
    pub(super) text: Option<&'static str>,
}

/// The pieces of an image.
pub(super) fn parts(contents: &Contents<'_>) -> Vec<Part> {
    let mut parts = vec![
        Part { name: "Rust's standard library", licence: "Apache-2.0", text: None },
        Part { name: "musl", licence: "MIT", text: None },
        Part { name: "compiler_rt", licence: "MIT", text: Some(ZIG) },
    ];
    if contents.shell {
        parts.push(Part { name: "busybox", licence: "GPL-2.0-only", text: None });
    }
    parts
}

/// Our own terms.
pub(super) fn opening() -> Result<String> {
    let path = lab::workspace_root().join("LICENSE");
    let ours = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(format!(
        "smalltail is under the BSD licence that follows. Built into it is work of others, under the terms below.\n\n\
         {}\n\n== Work of others\n",
        ours.trim_end()
    ))
}

/// What is to be said besides.
pub(super) fn remarks(contents: &Contents<'_>) -> String {
    let mut text = String::from(
        "\nring: parts are from BoringSSL and fiat-crypto, under the Apache licence as well.\n\
         webpki-roots: the list of certificate authorities is Mozilla's, which publishes it under the MPL 2.0 at\n\
         https://wiki.mozilla.org/CA/Included_Certificates; the crate passes it on as data.\n",
    );
    let _ = write!(text, "\nmusl: {}", MUSL);
    if contents.packed {
        text.push_str(
            "\nUPX: programs are packed by UPX 4.2.4, whose unpacking code precedes them. It is under the GPL 2 or later \
             with an\nexception that allows programs packed by an unmodified UPX under any terms. https://upx.github.io\n",
        );
    }
    if contents.shell {
        text.push_str(&offer());
    }
    text
}

/// Where busybox's source is.
fn offer() -> String {
    let mut text = format!(
        "\nbusybox: version {}, Debian's source package {} with its patches, unchanged. The complete source is these\n\
         files, by their SHA-256:\n",
        busybox::UPSTREAM,
        busybox::VERSION
    );
    for (name, sum) in busybox::FILES {
        let _ = writeln!(text, "  {name} {sum}");
    }
    let places = busybox::MIRRORS.map(|mirror| format!("  {mirror}/pool/main/b/busybox/\n")).concat();
    let _ = write!(
        text,
        "to be had at\n{places}and the configuration and build of smalltail's source of the same commit as this image (its label\n\
         org.opencontainers.image.revision): {}, `cargo xtask busybox`. Who passes this image on can\n\
         collect all of that with `cargo xtask busybox --source DIR` and offer it beside the image, as the licence asks.\n",
        busybox::CONFIG_FILE
    );
    text
}

/// The long texts.
pub(super) fn whole_texts(contents: &Contents<'_>, apache: bool) -> String {
    let mut text = String::new();
    if apache {
        let _ = write!(text, "\n== Apache-2.0\n\n{}", APACHE);
    }
    if contents.shell {
        let _ = write!(text, "\n== GPL-2.0-only (busybox)\n\n{}", GPL);
    }
    text
}

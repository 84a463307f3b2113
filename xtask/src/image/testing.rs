//! Small images for tests: a few bytes stand for the binary.

use super::about::{About, Commit};
use super::config::Platform;
use super::layer::Layer;
use super::make::{Made, make};
use super::rootfs::{Contents, Shell, tree};

/// All four platforms.
pub(crate) const PLATFORMS: [Platform; 4] = [
    Platform { architecture: "amd64", variant: None },
    Platform { architecture: "arm64", variant: None },
    Platform { architecture: "arm", variant: Some("v7") },
    Platform { architecture: "arm", variant: Some("v5") },
];

/// The platform of this slug.
pub(crate) fn platform(slug: &str) -> Platform {
    PLATFORMS.into_iter().find(|platform| platform.slug() == slug).expect("a platform")
}

/// Labels of a made-up commit.
pub(crate) fn about() -> About {
    About {
        version: "1.2.3".to_owned(),
        commit: Commit { revision: "0123abcd".to_owned(), time: 1_767_323_045 },
        source: Some("https://example.com/smalltail".to_owned()),
        profile: "router".to_owned(),
        features: vec!["health".to_owned(), "osrouter".to_owned()],
        missing: vec!["dns".to_owned()],
        packed: true,
        shell: false,
    }
}

/// `size` bytes that do not compress and differ from platform to platform.
pub(crate) fn noise(seed: &str, size: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_u32, |state, byte| state.rotate_left(5) ^ u32::from(byte));
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..size).map(|_| next()).collect()
}

/// Contents of an image for `platform` with a binary of `size` bytes.
pub(crate) fn contents(platform: Platform, size: usize, shell: bool) -> Contents {
    let links = || ["/bin/sh", "/bin/ls", "/usr/bin/wget"].map(str::to_owned).to_vec();
    Contents {
        binary: noise(&platform.slug(), size),
        shell: shell.then(|| Shell { busybox: noise("busybox", size / 4), links: links() }),
        documents: vec![("LICENSE".to_owned(), b"do as you like\n".to_vec())],
    }
}

/// A layer.
pub(crate) fn layer() -> Layer {
    Layer::new(&tree(&contents(platform("amd64"), 100, false)).expect("a tree")).expect("a layer")
}

/// An image for all four platforms, with binaries of `size` bytes.
pub(crate) fn image(about: &About, size: usize) -> Made {
    partial(about, &PLATFORMS, size)
}

/// The same for some platforms only.
pub(crate) fn partial(about: &About, platforms: &[Platform], size: usize) -> Made {
    let parts: Vec<_> =
        platforms.iter().map(|platform| (*platform, contents(*platform, size, about.shell))).collect();
    make(about, &parts).expect("an image")
}

/// Whether `program` is installed; when it is not, the skip is recorded.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !there {
        lab::skip(&format!("{program} is not installed"));
    }
    there
}

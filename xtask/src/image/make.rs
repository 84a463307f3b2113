//! From contents to files: everything of one image is put together in memory first, and only then written.

use super::about::About;
use super::archive;
use super::config::{self, Platform};
use super::layer::Layer;
use super::layout::{self, Image, Layout};
use super::rootfs::{self, Contents};
use super::store;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Folders and files below `dist`.
const LAYOUT: &str = "oci";
const ROOTFS: &str = "rootfs";

/// One image for all its platforms, in memory.
pub(crate) struct Made {
    pub(crate) image: Image,
    /// What is written beside the layout: path below `dist`, and bytes.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// A line for each platform: what it weighs.
    pub(crate) lines: Vec<String>,
}

/// Puts the image of `about` together.
///
/// # Errors
/// When there is no platform, or contents do not go together.
pub(crate) fn make(about: &About, parts: &[(Platform, Contents)]) -> Result<Made> {
    ensure!(!parts.is_empty(), "an image for no platform");
    let (mut built, mut files, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (platform, contents) in parts {
        let slug = platform.slug();
        let tree = rootfs::tree(contents).with_context(|| format!("root filesystem of {slug}"))?;
        let layer = Layer::new(&tree)?;
        let config = config::json(about, *platform, &layer)?;
        let archive = archive::bytes(about, *platform, &layer, &config)?;
        lines.push(format!(
            "{} {slug}: {} bytes of files, layer {} plain and {} compressed, {}",
            about.flavour(),
            tree.content_bytes(),
            layer.plain.len(),
            layer.compressed.len(),
            archive::file_name(about, *platform),
        ));
        files.push((archive::file_name(about, *platform).into(), archive));
        files.push((rootfs_path(about, &slug), layer.plain.clone()));
        built.push((*platform, layer, config));
    }
    let parts: Vec<_> =
        built.iter().map(|(platform, layer, config)| (*platform, layer, config.as_slice())).collect();
    Ok(Made { image: layout::image(about, &parts)?, files, lines })
}

/// Where the `Dockerfile` looks for the layer: by flavour and docker's words for the platform.
fn rootfs_path(about: &About, slug: &str) -> PathBuf {
    Path::new(ROOTFS).join(format!("{}-{slug}.tar", about.flavour()))
}

impl Made {
    /// Writes all of it below `dist`.
    ///
    /// # Errors
    /// Each file is whole or as it was before; the layout names the new image only when all of it is there.
    pub(crate) fn write(&self, dist: &Path) -> Result<()> {
        layout(dist).put(&self.image)?;
        self.files.iter().try_for_each(|(path, bytes)| store::write(&dist.join(path), bytes))
    }
}

#[cfg(test)]
impl Made {
    /// Digest of a file beside the layout.
    pub(crate) fn file_digest(&self, name: &str) -> super::digest::Digest {
        let found = self.files.iter().find(|(path, _)| path == Path::new(name)).expect("a file");
        super::digest::Digest::of(&found.1)
    }
}

/// The layout below `dist`.
pub(crate) fn layout(dist: &Path) -> Layout {
    Layout::new(&dist.join(LAYOUT))
}

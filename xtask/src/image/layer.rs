//! A tree as bytes: the one layer of an image, plain and compressed, the same bytes every time.
//!
//! Everybody is root, every time is `MOMENT`, names are plain (`usr/bin/`, no `./`), and only the oldest format with
//! links is used (ustar): every loader reads that one.

use super::digest::Digest;
use super::tree::{Node, Tree};
use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use std::io::Write;
use tar::{Builder, EntryType, Header};

/// The time of everything in an image, in seconds since 1970: the first moment of 1980. It is no commit's time, so
/// that a commit which changes nothing in an image does not change its layer, and none of the smallest numbers, which
/// some programs take for "no time".
pub(crate) const MOMENT: u64 = 315_532_800;

/// The operating system's byte in a gzip header that says "unknown".
const GZIP_UNKNOWN_SYSTEM: u8 = 255;

/// The one layer.
#[derive(Clone)]
pub(crate) struct Layer {
    /// As docker-archives hold it.
    pub(crate) plain: Vec<u8>,
    /// As registries hold it: gzip, the one compression that every RouterOS takes.
    pub(crate) compressed: Vec<u8>,
}

impl Layer {
    /// Packs `tree`.
    pub(crate) fn new(tree: &Tree) -> Result<Self> {
        let mut builder = Builder::new(Vec::new());
        for (name, node) in tree.nodes() {
            append(&mut builder, name, node).with_context(|| format!("packing {name}"))?;
        }
        let plain = builder.into_inner()?;
        Ok(Self { compressed: compressed(&plain)?, plain })
    }

    /// The name of the contents, whatever their compression.
    pub(crate) fn diff_id(&self) -> Digest {
        Digest::of(&self.plain)
    }
}

/// Gzip without a trace of when and where.
pub(crate) fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let writer = GzBuilder::new().mtime(0).operating_system(GZIP_UNKNOWN_SYSTEM);
    let mut writer = writer.write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

fn append(builder: &mut Builder<Vec<u8>>, name: &str, node: &Node) -> Result<()> {
    let mut header = header();
    match node {
        Node::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_path(format!("{name}/"))?;
        }
        Node::File { mode, content } => {
            header.set_mode(*mode);
            header.set_size(content.len().try_into()?);
            header.set_path(name)?;
        }
        Node::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_path(name)?;
            header.set_link_name(target)?;
        }
    }
    header.set_cksum();
    let content = if let Node::File { content, .. } = node { content.as_slice() } else { &[] };
    Ok(builder.append(&header, content)?)
}

/// Head of a plain file: root's, of `MOMENT`.
pub(crate) fn header() -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MOMENT);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("/usr/bin/a", 0o755, b"abc".to_vec()).unwrap();
        tree.link("/usr/local/bin/a", "/usr/bin/a").unwrap();
        tree.folder("/tmp", 0o1777).unwrap();
        tree
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let (one, other) = (Layer::new(&tree()).unwrap(), Layer::new(&tree()).unwrap());
        assert!(one.plain == other.plain && one.compressed == other.compressed);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(one.compressed.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == one.plain);
        // Time and system of the compressing machine are not in it.
        assert_eq!(one.compressed[4..8], [0; 4]);
        assert_eq!(one.compressed[9], GZIP_UNKNOWN_SYSTEM);
    }

    #[test]
    fn members_are_plain_and_belong_to_root() {
        let layer = Layer::new(&tree()).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(layer.plain.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!(
                (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
                (0, 0, MOMENT)
            );
            let link = header.link_name().unwrap().map(|to| to.display().to_string());
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            found.push((name, header.mode().unwrap(), link, content));
        }
        let folder = |name: &str, mode| (name.to_owned(), mode, None, String::new());
        let wanted = [
            folder("tmp/", 0o1777),
            folder("usr/", 0o755),
            folder("usr/bin/", 0o755),
            ("usr/bin/a".to_owned(), 0o755, None, "abc".to_owned()),
            folder("usr/local/", 0o755),
            folder("usr/local/bin/", 0o755),
            ("usr/local/bin/a".to_owned(), 0o777, Some("../../bin/a".to_owned()), String::new()),
        ];
        assert_eq!(found, wanted);
    }
}

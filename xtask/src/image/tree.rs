//! A root filesystem as a value: names, contents and modes, always in the same order.
//!
//! Owns: what may be in a tree (no name twice, no way out of it, nothing below a link). Leaves out: what an image
//! contains (`rootfs`) and how a tree becomes bytes (`layer`). Owner and time are no part of it: they are the same
//! everywhere.

use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// Mode of folders that nobody asked for by name.
const FOLDER: u32 = 0o755;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
}

/// A root filesystem. Names have no leading slash; a parent sorts before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds a folder; one that is there already as a parent of something gets the mode.
    pub(crate) fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        let name = self.place(path)?;
        match self.nodes.get(&name) {
            None | Some(Node::Folder { .. }) => self.nodes.insert(name, Node::Folder { mode }),
            Some(_) => bail!("{path} is in the image already, and no folder"),
        };
        Ok(())
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<()> {
        self.add(path, Node::File { mode, content })
    }

    /// Adds a symbolic link; `target` is a path from the root, and is written relative, so that the tree can be
    /// looked at under any folder.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let (from, to) = (split(path)?, split(target)?);
        let shared = from.iter().zip(&to).take(from.len() - 1).take_while(|(a, b)| a == b).count();
        let up = std::iter::repeat_n("..", from.len() - 1 - shared);
        let target: Vec<_> = up.chain(to.into_iter().skip(shared)).collect();
        self.add(path, Node::Link { target: target.join("/") })
    }

    fn add(&mut self, path: &str, node: Node) -> Result<()> {
        let name = self.place(path)?;
        ensure!(!self.nodes.contains_key(&name), "{path} is in the image already");
        self.nodes.insert(name, node);
        Ok(())
    }

    /// The name under which `path` is kept; makes its parents.
    fn place(&mut self, path: &str) -> Result<String> {
        let parts = split(path)?;
        for end in 1..parts.len() {
            let parent = parts[..end].join("/");
            let found = self.nodes.entry(parent).or_insert(Node::Folder { mode: FOLDER });
            ensure!(matches!(found, Node::Folder { .. }), "{path}: a parent of it is no folder");
        }
        Ok(parts.join("/"))
    }

    /// Everything, parents first.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// What the contents of the files take, in bytes.
    pub(crate) fn content_bytes(&self) -> usize {
        let size = |node: &Node| if let Node::File { content, .. } = node { content.len() } else { 0 };
        self.nodes.values().map(size).sum()
    }
}

/// Parts of an absolute path without `.` and `..`.
fn split(path: &str) -> Result<Vec<&str>> {
    let Some(rest) = path.strip_prefix('/') else { bail!("{path} is no path from the root") };
    let parts: Vec<_> = rest.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    ensure!(parts.iter().all(plain), "{path} is no plain path");
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, to: &str) -> String {
        let mut tree = Tree::default();
        tree.link(path, to).unwrap();
        let found = tree.nodes().find(|(name, _)| *name == path.trim_start_matches('/')).unwrap();
        let Node::Link { target } = found.1 else { panic!("{found:?}") };
        target.clone()
    }

    #[test]
    fn links_are_relative_and_lead_there() {
        assert_eq!(target("/usr/bin/tailscale", "/usr/bin/tailscale.combined"), "tailscale.combined");
        assert_eq!(target("/usr/local/bin/x", "/usr/bin/y"), "../../bin/y");
        assert_eq!(target("/var/run", "/run"), "../run");
        assert_eq!(target("/sbin/ip", "/bin/busybox"), "../bin/busybox");
        assert_eq!(target("/linuxrc", "/bin/busybox"), "bin/busybox");
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("/usr/bin/a", 0o755, b"abc".to_vec()).unwrap();
        tree.folder("/tmp", 0o1777).unwrap();
        tree.folder("/usr", 0o700).unwrap();
        let names: Vec<_> = tree.nodes().map(|(name, _)| name).collect();
        assert_eq!(names, ["tmp", "usr", "usr/bin", "usr/bin/a"]);
        assert_eq!(tree.nodes().nth(1).unwrap().1, &Node::Folder { mode: 0o700 });
        assert_eq!(tree.content_bytes(), 3);
    }

    #[test]
    fn what_would_leave_the_tree_or_hide_something_is_refused() {
        let mut tree = Tree::default();
        tree.file("/bin/a", 0o755, Vec::new()).unwrap();
        tree.link("/var/run", "/run").unwrap();
        for path in ["bin/b", "/", "/../x", "/bin//b", "/bin/./b", "/bin/", ""] {
            assert!(tree.file(path, 0o644, Vec::new()).is_err(), "{path}");
        }
        assert!(tree.file("/bin/a", 0o755, Vec::new()).is_err(), "twice");
        assert!(tree.folder("/bin/a", 0o755).is_err(), "a file as a folder");
        assert!(tree.folder("/var/run/tailscale", 0o755).is_err(), "below a link");
    }
}

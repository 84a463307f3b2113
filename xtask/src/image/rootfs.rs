//! What is in an image: the binary under all its names, the folders that programs and container engines want to find,
//! licences, and in `-shell` images busybox.
//!
//! `/var/run` is a link to `/run`: with a read-only root and a tmpfs on `/run`, the socket still has its place.

use super::tree::Tree;
use anyhow::{Result, ensure};

/// The binary's place, and the names it is called by there.
pub(crate) const BINARY: &str = "/usr/bin/tailscale.combined";
const FACES: [&str; 3] = ["containerboot", "tailscale", "tailscaled"];

/// Where the official image has the same names: scripts written for it go on working.
const OFFICIAL: &str = "/usr/local/bin";

const BUSYBOX: &str = "/bin/busybox";

/// Where licences lie.
const DOCUMENTS: &str = "/usr/share/doc/smalltail";

/// Folders that must be there: mount points of `/dev`, `/proc` and `/sys` for engines that cannot make them in a
/// read-only root; places for state, socket and temporary files; `/etc`, where RouterOS and others write
/// `resolv.conf`, `hosts` and `hostname`.
const FOLDERS: [(&str, u32); 9] = [
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run/tailscale", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/var/lib/tailscale", 0o700),
    ("/var/tmp", 0o1777),
];

/// So that `user=root` and `ls -l` mean something without anything else in the image.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n";
const GROUP: &str = "root:x:0:\n";

/// What an image is made of. Values, not paths: tests put small ones in.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    /// The binary, packed or not.
    pub(crate) binary: Vec<u8>,
    pub(crate) shell: Option<Shell>,
    /// Name and text of what goes beside the licence.
    pub(crate) documents: Vec<(String, Vec<u8>)>,
}

/// What a `-shell` image has more.
#[derive(Clone)]
pub(crate) struct Shell {
    pub(crate) busybox: Vec<u8>,
    /// Full paths of the links to it.
    pub(crate) links: Vec<String>,
}

/// The tree of an image.
///
/// # Errors
/// When something would stand in two places or the binary is empty.
pub(crate) fn tree(contents: &Contents) -> Result<Tree> {
    ensure!(!contents.binary.is_empty(), "the binary is empty");
    let mut tree = Tree::default();
    for (path, mode) in FOLDERS {
        tree.folder(path, mode)?;
    }
    tree.link("/var/run", "/run")?;
    tree.file("/etc/passwd", 0o644, PASSWD.into())?;
    tree.file("/etc/group", 0o644, GROUP.into())?;
    tree.file(BINARY, 0o755, contents.binary.clone())?;
    for face in FACES {
        tree.link(&format!("/usr/bin/{face}"), BINARY)?;
        tree.link(&format!("{OFFICIAL}/{face}"), BINARY)?;
    }
    if let Some(shell) = &contents.shell {
        ensure!(!shell.busybox.is_empty(), "busybox is empty");
        tree.file(BUSYBOX, 0o755, shell.busybox.clone())?;
        for link in shell.links.iter().filter(|link| *link != BUSYBOX) {
            tree.link(link, BUSYBOX)?;
        }
    }
    for (name, text) in &contents.documents {
        tree.file(&format!("{DOCUMENTS}/{name}"), 0o644, text.clone())?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Node;

    fn names(tree: &Tree) -> Vec<String> {
        tree.nodes()
            .map(|(name, node)| match node {
                Node::Folder { .. } => format!("{name}/"),
                Node::File { .. } => name.to_owned(),
                Node::Link { target } => format!("{name} -> {target}"),
            })
            .collect()
    }

    fn contents() -> Contents {
        Contents {
            binary: b"\x7fELF".to_vec(),
            shell: None,
            documents: vec![("LICENSE".to_owned(), b"free".to_vec())],
        }
    }

    #[test]
    fn an_image_without_shell_has_exactly_this() {
        let wanted = [
            "dev/",
            "etc/",
            "etc/group",
            "etc/passwd",
            "proc/",
            "root/",
            "run/",
            "run/tailscale/",
            "sys/",
            "tmp/",
            "usr/",
            "usr/bin/",
            "usr/bin/containerboot -> tailscale.combined",
            "usr/bin/tailscale -> tailscale.combined",
            "usr/bin/tailscale.combined",
            "usr/bin/tailscaled -> tailscale.combined",
            "usr/local/",
            "usr/local/bin/",
            "usr/local/bin/containerboot -> ../../bin/tailscale.combined",
            "usr/local/bin/tailscale -> ../../bin/tailscale.combined",
            "usr/local/bin/tailscaled -> ../../bin/tailscale.combined",
            "usr/share/",
            "usr/share/doc/",
            "usr/share/doc/smalltail/",
            "usr/share/doc/smalltail/LICENSE",
            "var/",
            "var/lib/",
            "var/lib/tailscale/",
            "var/run -> ../run",
            "var/tmp/",
        ];
        assert_eq!(names(&tree(&contents()).unwrap()), wanted);
    }

    #[test]
    fn a_shell_brings_busybox_and_its_links_and_nothing_else() {
        let links = ["/bin/sh", "/usr/bin/wget", "/bin/busybox"].map(str::to_owned).to_vec();
        let shell = Shell { busybox: b"\x7fELF".to_vec(), links };
        let with = names(&tree(&Contents { shell: Some(shell), ..contents() }).unwrap());
        let without = names(&tree(&contents()).unwrap());
        let more: Vec<_> = with.iter().filter(|name| !without.contains(name)).collect();
        assert_eq!(more, ["bin/", "bin/busybox", "bin/sh -> busybox", "usr/bin/wget -> ../../bin/busybox"]);
        assert!(without.iter().all(|name| with.contains(name)));
    }

    #[test]
    fn an_applet_must_not_take_the_place_of_the_binary() {
        let shell = Shell { busybox: vec![1], links: vec!["/usr/bin/tailscale".to_owned()] };
        let error = tree(&Contents { shell: Some(shell), ..contents() }).unwrap_err();
        assert!(error.to_string().contains("/usr/bin/tailscale"), "{error:#}");
        assert!(tree(&Contents { binary: Vec::new(), ..contents() }).is_err(), "no binary");
    }
}

//! Whole images: the same bytes again, several in one layout, and a disk that runs full.

use super::about::About;
use super::digest::Digest;
use super::layout::platforms;
use super::make::layout;
use super::testing::{about, contents, image, platform};
use std::collections::BTreeMap;
use std::path::Path;

/// Every file below `root` with the digest of its contents.
fn files(root: &Path) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, Digest::of(&std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn two_builds_of_one_commit_are_the_same_files() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        image(&about(), 5000).write(dir.path()).unwrap();
    }
    let [one, other] = dirs.each_ref().map(|dir| files(dir.path()));
    assert_eq!(one, other);
    // Index, four manifests, configurations and layers; two files of the layout; four archives and four layers.
    assert_eq!(one.len(), 13 + 2 + 8, "{:?}", one.keys());
}

#[test]
fn another_commit_has_another_image_and_the_same_layers() {
    let later = About { commit: super::Commit { time: 1_800_000_000, ..about().commit }, ..about() };
    let (one, other) = (image(&about(), 5000).image, image(&later, 5000).image);
    assert_ne!(one.digest, other.digest);
    assert_eq!(one.blobs.keys().filter(|digest| other.blobs.contains_key(digest)).count(), 4);
}

#[test]
fn images_share_a_layout_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let shell = About { shell: true, ..about() };
    image(&about(), 5000).write(dir.path()).unwrap();
    image(&shell, 5000).write(dir.path()).unwrap();
    let alone = super::make::make(&about(), &[(platform("armv5"), contents(platform("armv5"), 77, false))]);
    let alone = alone.unwrap();
    alone.write(dir.path()).unwrap();
    let layout = layout(dir.path());
    assert_eq!(layout.tags().unwrap(), ["1.2.3-router", "1.2.3-router-shell"]);
    let (router, shell) = (layout.get("1.2.3-router").unwrap(), layout.get("1.2.3-router-shell").unwrap());
    assert_eq!(router.digest, alone.image.digest, "the last one stands");
    assert_eq!(platforms(&router).unwrap(), ["arm/v5"]);
    assert_eq!(platforms(&shell).unwrap(), ["amd64", "arm64", "arm/v7", "arm/v5"]);
    let blobs = std::fs::read_dir(dir.path().join("oci/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, router.blobs.len() + shell.blobs.len(), "what the first one had is gone");
    let missing = layout.get("1.2.3-tiny").err().unwrap().to_string();
    assert!(missing.contains("1.2.3-router, 1.2.3-router-shell"), "{missing}");
}

#[test]
fn a_blob_with_other_contents_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let made = image(&about(), 5000);
    made.write(dir.path()).unwrap();
    for digest in made.image.blobs.keys() {
        let path = dir.path().join("oci/blobs/sha256").join(digest.hex());
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[1..]).unwrap();
        let error = layout(dir.path()).get("1.2.3-router").err().unwrap();
        assert!(format!("{error:#}").contains(digest.hex()), "{error:#}");
        std::fs::remove_file(&path).unwrap();
        assert!(layout(dir.path()).get("1.2.3-router").is_err());
        std::fs::write(&path, good).unwrap();
    }
    layout(dir.path()).get("1.2.3-router").unwrap();
}

#[test]
fn a_damaged_image_keeps_nobody_from_making_others() {
    let dir = tempfile::tempdir().unwrap();
    let blob = |digest: &Digest| dir.path().join("oci/blobs/sha256").join(digest.hex());
    let shell = About { shell: true, ..about() };
    let damaged = image(&shell, 5000);
    damaged.write(dir.path()).unwrap();
    let old = image(&about(), 5000);
    old.write(dir.path()).unwrap();
    let parts = super::layout::parts(&damaged.image).unwrap();
    let (lost, cut) = (&parts.manifests[0].1, &parts.manifests[1].1);
    std::fs::remove_file(blob(lost)).unwrap();
    std::fs::write(blob(cut), b"{").unwrap();
    std::fs::remove_file(blob(&parts.blobs.last().unwrap().1)).unwrap();

    let later = About { commit: super::Commit { time: 1_800_000_000, ..about().commit }, ..about() };
    let fresh = image(&later, 5000);
    fresh.write(dir.path()).unwrap();
    assert_eq!(layout(dir.path()).get("1.2.3-router").unwrap().digest, fresh.image.digest);
    assert!(!blob(&old.image.digest).exists(), "what nothing names any more is swept all the same");
    assert!(layout(dir.path()).get("1.2.3-router-shell").is_err());
    let whole = &parts.manifests[2].1;
    assert!(blob(whole).exists() && blob(&damaged.image.digest).exists(), "what can be read of it stays");

    // So it is whole as soon as it is made again; and an image whose very index is gone hinders nobody, either.
    damaged.write(dir.path()).unwrap();
    assert_eq!(layout(dir.path()).get("1.2.3-router-shell").unwrap().digest, damaged.image.digest);
    std::fs::remove_file(blob(&damaged.image.digest)).unwrap();
    old.write(dir.path()).unwrap();
    assert!(layout(dir.path()).get("1.2.3-router").is_ok());
}

/// A folder on a disk of its own, seen through the namespace of the process that holds it.
struct Disk {
    holder: std::process::Child,
    root: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where nobody may mount here.
    fn new(kilobytes: usize) -> Option<Self> {
        use std::io::BufRead;
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none '{}' && echo mounted && exec sleep 600",
            dir.path().display()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut holder = command.spawn().ok()?;
        let mut line = String::new();
        std::io::BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        if line.trim() != "mounted" {
            holder.wait().ok();
            return None;
        }
        let inside = dir.path().strip_prefix("/").ok()?;
        let root = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        Some(Self { holder, root, _dir: dir })
    }

    /// Fills it up to `free` kilobytes.
    fn fill_but(&self, free: usize) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.root.join("filler")).unwrap();
        let page = [0; 4096];
        let mut pages = 0;
        while filler.write_all(&page).is_ok() {
            pages += 1;
        }
        filler.set_len(((pages * 4 - free) * 1024) as u64).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

#[test]
fn a_full_disk_leaves_no_half_image() {
    let Some(disk) = Disk::new(2048) else {
        return lab::skip("mounting a tmpfs needs root and unshare");
    };
    let dist = disk.root.join("dist");
    let old = image(&about(), 10_000);
    let later = About { commit: super::Commit { time: 1_800_000_000, ..about().commit }, ..about() };
    let fresh = image(&later, 60_000);
    let mut outcomes = std::collections::BTreeSet::new();
    // From almost nothing to enough for all: the writing ends at another file each time.
    for free in (4..1300).step_by(40) {
        old.write(&dist).unwrap();
        let before = files(&dist);
        disk.fill_but(free);
        let outcome = fresh.write(&dist);
        std::fs::remove_file(disk.root.join("filler")).unwrap();
        let named = layout(&dist).get("1.2.3-router").unwrap().digest;
        if let Err(error) = &outcome {
            let text = format!("{error:#}");
            assert!(text.contains("nothing half written") && text.contains("No space"), "{text}");
        }
        let after = files(&dist);
        // Each file under its name is whole: the old one or the fresh one; nothing lies beside.
        assert_eq!(after.keys().filter(|name| name.ends_with(".tar")).count(), 8, "{:?}", after.keys());
        assert_eq!(after.keys().filter(|name| name.contains("blobs")).count(), 13, "{:?}", after.keys());
        assert_eq!(after.len(), before.len(), "{:?}", after.keys());
        for (name, digest) in after.iter().filter(|(name, _)| name.ends_with(".tar")) {
            assert!(
                before[name] == *digest || fresh.file_digest(name) == *digest,
                "{name} with {free} KB free"
            );
        }
        outcomes.insert((outcome.is_ok(), named == fresh.image.digest));
        std::fs::remove_dir_all(&dist).unwrap();
    }
    // It went wrong before the index, after it, and not at all.
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [(false, false), (false, true), (true, true)]);
}

#[test]
fn features_are_added_to_and_left_out_of_one_profile() {
    use super::requests;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let all = requests(&words(&["all"]), &[], &[]).unwrap();
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["router", "tiny", "full"]);
    let [(name, request)] = requests(&[], &[], &words(&["portmapper"])).unwrap().try_into().unwrap();
    assert_eq!(name, "custom");
    let built = crate::features::resolve(&request).unwrap().built;
    assert!(
        built.iter().any(|one| one == "dns") && !built.iter().any(|one| one == "portmapper"),
        "{built:?}"
    );
    assert!(requests(&words(&["all"]), &[], &words(&["portmapper"])).is_err());
}

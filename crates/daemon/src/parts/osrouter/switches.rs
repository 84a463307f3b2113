//! Switches below `/proc/sys` that are set while something needs them and given back then. What a killed run has set stays.

use std::path::{Path, PathBuf};

/// Those that are set.
#[derive(Debug)]
pub(super) struct Switches {
    root: PathBuf,
    set: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    switch: String,
    was: String,
    is: &'static str,
}

impl Default for Switches {
    fn default() -> Self {
        Self { root: "/proc/sys".into(), set: Vec::new() }
    }
}

impl Switches {
    /// What a switch says; `None` where there is no such.
    pub(super) fn read(&self, switch: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(switch)).ok().map(|text| text.trim().to_owned())
    }

    /// Whether what comes by an interface is dropped unless answers would leave by it too.
    pub(super) fn is_strict(&self, interface: &str) -> bool {
        let one = |name: &str| self.read(&format!("net/ipv4/conf/{name}/rp_filter"));
        // The larger number counts: 0 lets everything in, 2 what has a way at all.
        one("all").max(one(interface)).as_deref() == Some("1")
    }

    /// Whether we have set it.
    pub(super) fn holds(&self, switch: &str) -> bool {
        self.set.iter().any(|set| set.switch == switch)
    }

    /// Sets `wanted`, and gives back what is not wanted any more. What cannot be set is returned.
    pub(super) fn want(&mut self, wanted: &[(String, &'static str)]) -> Vec<String> {
        let mut refused = Vec::new();
        let keeps = |set: &Set| wanted.iter().any(|(switch, is)| *switch == set.switch && *is == set.is);
        let (kept, gone) = std::mem::take(&mut self.set).into_iter().partition(keeps);
        self.set = kept;
        gone.into_iter().for_each(|set| give_back(&self.root, &set));
        for (switch, is) in wanted {
            let Some(was) = self.read(switch).filter(|was| was != is) else { continue };
            match std::fs::write(self.root.join(switch), is) {
                Ok(()) if self.set.iter().any(|set| set.switch == *switch) => {}
                Ok(()) => self.set.push(Set { switch: switch.clone(), was, is }),
                Err(error) => {
                    refused.push(format!("cannot set {}={is}: {error}", switch.replace('/', ".")));
                }
            }
        }
        refused
    }
}

/// Unless somebody else has set it since.
fn give_back(root: &Path, set: &Set) {
    let path = root.join(&set.switch);
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == set.is) {
        let _ = std::fs::write(path, &set.was);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_while_wanted() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |switch: &str, value: &str| {
            let path = root.path().join(switch);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, value).expect("a file");
        };
        let mut switches = Switches { root: root.path().into(), set: Vec::new() };
        let (a, b) = ("net/a", "net/b");
        put(a, "0\n");
        put(b, "1\n");
        let wanted = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1")).collect::<Vec<_>>();
        assert!(switches.want(&wanted(&[a, b, "net/missing"])).is_empty());
        assert_eq!(switches.read(a).as_deref(), Some("1"));
        // Somebody sets it back, and it is set again; what it was at first is what it becomes.
        put(a, "0\n");
        assert!(switches.want(&wanted(&[a, b])).is_empty());
        assert!(switches.want(&[]).is_empty());
        assert_eq!((switches.read(a).as_deref(), switches.read(b).as_deref()), (Some("0"), Some("1")));
        switches.want(&wanted(&[a]));
        put(a, "2\n");
        switches.want(&[]);
        assert_eq!(switches.read(a).as_deref(), Some("2"), "somebody else's");
    }

    #[test]
    fn the_stricter_of_two_is_not_always_the_larger() {
        let root = tempfile::tempdir().expect("a folder");
        let switches = Switches { root: root.path().into(), set: Vec::new() };
        for (all, one, strict) in [("0", "1", true), ("1", "0", true), ("1", "2", false), ("0", "0", false)] {
            for (name, value) in [("all", all), ("eth0", one)] {
                let path = root.path().join(format!("net/ipv4/conf/{name}/rp_filter"));
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
                std::fs::write(path, value).expect("a file");
            }
            assert_eq!(switches.is_strict("eth0"), strict, "{all} {one}");
        }
    }
}

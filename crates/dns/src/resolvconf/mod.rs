//! `/etc/resolv.conf`: put ours in its place, keep what was there, put it back.
//!
//! At no moment is there no original: a copy exists, whole and under its final name, before ours takes the place, and
//! it goes only after the original is back. A process killed between any two steps leaves either the original in
//! place or ours with the original beside it, and the next run goes on from there.
//! Leaves out: when this is called, and inotify ([`ResolvConf::look`] is cheap enough for a timer).
//! Protocol reference §9.5.

mod files;
mod text;
mod watch;

pub use files::{Disk, Files, Stamp};
pub use text::{format, is_ours, parse};
pub use watch::Look;

use crate::Error;
use crate::config::OsConfig;
use std::io::{self, ErrorKind};
use watch::Watch;

/// The file.
pub const PATH: &str = "/etc/resolv.conf";
/// Where the original is meanwhile.
pub const BACKUP: &str = "/etc/resolv.pre-tailscale-backup.conf";
/// The kernel's table of IPv6 addresses, by which the names of links are known.
const LINKS: &str = "/proc/net/if_inet6";
/// Where a file is prepared.
const DRAFT: &str = "/etc/resolv.conf.tailscale.tmp";
/// Where a copy is prepared.
const COPY_DRAFT: &str = "/etc/resolv.pre-tailscale-backup.conf.tmp";

/// The file and what we know of it.
#[derive(Debug)]
pub struct ResolvConf<F> {
    files: F,
    watch: Watch,
}

impl<F: Files> ResolvConf<F> {
    /// Touches nothing.
    pub fn new(files: F) -> Self {
        Self { files, watch: Watch::default() }
    }

    /// What the machine had before us, without ourselves in it.
    pub fn base(&self) -> Result<OsConfig, Error> {
        Ok(self.read_base()?.0)
    }

    /// And whether it names servers on one link alone, whose numbers may change without it.
    fn read_base(&self) -> Result<(OsConfig, bool), Error> {
        let current = self.read(PATH)?;
        let original = match current {
            Some(text) if !is_ours(&text) => Some(text),
            _ => self.read(BACKUP)?,
        };
        let number = |link: &str| text::link_number(&self.files.read(LINKS).ok()?, link);
        let linked = original.as_deref().is_some_and(text::has_links);
        Ok((original.map(|text| parse(&text, number)).unwrap_or_default(), linked))
    }

    /// The same, and from now on [`Self::look`] tells when it is another one.
    pub fn follow_base(&mut self) -> Result<OsConfig, Error> {
        // The stamp first: what is written between the two is seen by the next look.
        let stamp = self.files.stamp(BACKUP).ok();
        let (base, linked) = self.read_base()?;
        self.watch.follow(stamp, base.clone(), linked);
        Ok(base)
    }

    /// Puts a configuration in force; an empty one brings back the original. Doing it again does nothing. Whether
    /// anything was written.
    pub fn set(&mut self, config: &OsConfig) -> Result<bool, Error> {
        self.watch.forget();
        if config.is_empty() {
            return self.restore();
        }
        let wanted = format(config);
        let current = self.read(PATH)?;
        let changed = current.as_deref() != Some(&*wanted);
        if changed {
            match &current {
                Some(text) if !is_ours(text) => self.back_up(text)?,
                // A link that leads nowhere yet is an original, too.
                None if self.files.exists(PATH) => self.back_up(b"")?,
                // Ours, or nothing: what lies beside it is the original.
                _ => {}
            }
            self.put(&wanted, current.as_deref())?;
        }
        self.watch.expect(wanted, self.files.stamp(PATH).ok());
        Ok(changed)
    }

    /// Whether somebody else has written the file since, or what the original leads to, or a link that it names is another one;
    /// `now` counts from anywhere.
    pub fn look(&mut self, now: std::time::Duration) -> Look {
        let Self { files, watch } = self;
        let look = watch.look(now, files.stamp(PATH).ok(), || files.read(PATH).ok());
        let stamp = files.stamp(BACKUP).ok();
        if look != Look::Fine || watch.is_followed(stamp) {
            return look;
        }
        let base = self.read_base().ok();
        self.watch.look_at_base(stamp, base)
    }

    /// When it is worth looking again.
    pub fn pause(&self) -> std::time::Duration {
        self.watch.pause()
    }

    /// Brings back the original, if ours is in its place.
    fn restore(&mut self) -> Result<bool, Error> {
        let current = self.read(PATH)?;
        let ours = current.as_deref().is_none_or(is_ours);
        let kept = self.files.exists(BACKUP);
        match (ours, kept) {
            // Somebody has put his own there: it is his now.
            (false, true) => self.files.remove(BACKUP).map_err(|error| fault(BACKUP, &error))?,
            (false, false) => return Ok(false),
            (true, true) => match self.files.rename(BACKUP, PATH) {
                // Two names of one file are not renamed into each other.
                Ok(()) => self.remove_if_there(BACKUP)?,
                Err(error) if is_mount(&error) => {
                    let text = self.read(BACKUP)?.unwrap_or_default();
                    self.overwrite(&text, current.as_deref())?;
                    self.files.remove(BACKUP).map_err(|error| fault(BACKUP, &error))?;
                }
                Err(error) => return Err(fault(PATH, &error)),
            },
            // There was none before us.
            (true, false) if current.is_some() => match self.files.remove(PATH) {
                Ok(()) => {}
                Err(error) if is_mount(&error) => self.overwrite(b"", current.as_deref())?,
                Err(error) => return Err(fault(PATH, &error)),
            },
            (true, false) => return Ok(false),
        }
        Ok(ours)
    }

    /// Keeps the original beside the file: the very same file where links are possible, so that a symbolic link stays
    /// one, else a copy.
    fn back_up(&self, text: &[u8]) -> Result<(), Error> {
        self.remove_if_there(COPY_DRAFT)?;
        if self.files.link(PATH, COPY_DRAFT).is_err() {
            self.remove_if_there(COPY_DRAFT)?;
            self.files.create(COPY_DRAFT, text).map_err(|error| fault(BACKUP, &error))?;
        }
        self.files.rename(COPY_DRAFT, BACKUP).map_err(|error| fault(BACKUP, &error))?;
        // Two names of one file are not renamed into each other, and both stay.
        self.remove_if_there(COPY_DRAFT)
    }

    /// Puts ours in place, at once where the file can be replaced, else byte by byte.
    fn put(&self, wanted: &[u8], current: Option<&[u8]>) -> Result<(), Error> {
        self.remove_if_there(DRAFT)?;
        self.files.create(DRAFT, wanted).map_err(|error| fault(PATH, &error))?;
        match self.files.rename(DRAFT, PATH) {
            Ok(()) => Ok(()),
            Err(error) => {
                // It must not lie about, whatever comes next.
                self.remove_if_there(DRAFT)?;
                if is_mount(&error) { self.overwrite(wanted, current) } else { Err(fault(PATH, &error)) }
            }
        }
    }

    /// Writes into the file itself. What is shorter than what is there is filled up with empty lines first and cut
    /// then, so that the file says something whole in between.
    fn overwrite(&self, wanted: &[u8], current: Option<&[u8]>) -> Result<(), Error> {
        let mut padded = wanted.to_vec();
        padded.resize(wanted.len().max(current.map_or(0, <[u8]>::len)), b'\n');
        self.files.overwrite(PATH, &padded, wanted.len()).map_err(|error| fault(PATH, &error))
    }

    fn remove_if_there(&self, name: &str) -> Result<(), Error> {
        match self.files.remove(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(fault(name, &error)),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.files.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Error::Unreadable { path: name.to_owned().into(), reason: error.to_string().into() })
            }
        }
    }
}

/// Whether a file cannot be renamed because something is mounted on it.
fn is_mount(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::CrossesDevices)
}

fn fault(path: &str, error: &io::Error) -> Error {
    Error::Unwritable { path: path.to_owned().into(), reason: error.to_string().into() }
}

#[cfg(test)]
mod tests;

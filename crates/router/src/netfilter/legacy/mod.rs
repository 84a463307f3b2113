//! x_tables: whole tables read, changed and put back through socket options.
//!
//! Owns: the order of reading, replacing and giving counters back, the lock that `iptables` uses, trying again when
//! somebody else was quicker. Leaves out: the bytes ([`blob`], [`encode`], [`abi`]) and the calls ([`socket`]).

mod abi;
mod blob;
mod encode;
mod socket;
#[cfg(test)]
mod tests;

use super::rules::Wanted;
use abi::{COUNTERS, GET_ENTRIES, GET_INFO, HEAD, INFO, NAME, REPLACE};
use blob::Blob;
use encode::{family, put};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The lock that everybody takes who changes tables.
const LOCK: &str = "/run/xtables.lock";
/// How often somebody who has it is asked for it: no longer than the caller's thread may stand still, and at the end, when
/// nobody tries again later, a second.
const LOCK_TRIES: u32 = 4;
const LAST_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// How often a table is read anew because it had changed meanwhile.
const TRIES: u32 = 5;
/// No table of a router is larger; it bounds what is allocated on the kernel's word.
const LARGEST: usize = 16 << 20;

fn open(v6: bool) -> Result<OwnedFd, Errno> {
    let domain = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    // Any socket takes the options; a raw one is what needs the same right as they do.
    let raw =
        rustix::net::Protocol::from_raw(std::num::NonZeroU32::new(255).unwrap_or(std::num::NonZeroU32::MIN));
    socket_with(domain, SocketType::RAW, SocketFlags::CLOEXEC, Some(raw))
}

/// Whether the kernel answers.
pub(super) fn works() -> bool {
    open(false).is_ok_and(|socket| info(&socket, false, "filter").is_ok())
}

/// Whether there are rules, anybody's.
pub(super) fn in_use() -> bool {
    let Ok(names) = std::fs::read_to_string(family(false).names) else { return false };
    let Ok(socket) = open(false) else { return false };
    names.lines().any(|name| {
        // Policies, and the end: one more than hooks.
        info(&socket, false, name).is_ok_and(|(blob, _)| blob.count > blob.valid.count_ones() + 1)
    })
}

fn info(socket: &OwnedFd, v6: bool, table: &str) -> Result<(Blob, usize), Errno> {
    let mut bytes = [0; INFO];
    put(&mut bytes, 0, table.as_bytes());
    socket::get(socket, family(v6).level, GET_INFO, &mut bytes)?;
    let (blob, size) = Blob::from_info(v6, &bytes).ok_or(Errno::BADMSG)?;
    if size > LARGEST { Err(Errno::MSGSIZE) } else { Ok((blob, size)) }
}

fn read(socket: &OwnedFd, v6: bool, table: &str) -> Result<Blob, Errno> {
    let (mut blob, size) = info(socket, v6, table)?;
    let mut bytes = vec![0; HEAD + size];
    put(&mut bytes, 0, table.as_bytes());
    put(&mut bytes, NAME, &(size as u32).to_ne_bytes());
    socket::get(socket, family(v6).level, GET_ENTRIES, &mut bytes)?;
    bytes.drain(..HEAD);
    blob.entries = bytes;
    Ok(blob)
}

/// Brings one table to what is `wanted` of ours in it; whether that took a change. Only a change takes the lock.
pub(super) fn apply(wanted: &Wanted<'_>, lock: &mut Lock) -> Result<bool, Errno> {
    let (v6, table) = (wanted.v6, wanted.table.name);
    if wanted.is_nothing() {
        // Asking for a table makes it; one that is not there has nothing of ours.
        let names = std::fs::read_to_string(family(v6).names).unwrap_or_default();
        if !names.lines().any(|name| name == table) {
            return Ok(false);
        }
    }
    let socket = open(v6)?;
    for _ in 0..TRIES {
        let done = read(&socket, v6, table).and_then(|old| exchange(&socket, wanted, &old, lock));
        match done {
            Err(Errno::AGAIN) => {}
            // A kernel without x_tables has nothing of ours.
            Err(Errno::NOPROTOOPT) if wanted.is_nothing() => return Ok(false),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Replaces the table `old`, if anything is to change. `AGAIN` when it is not, or may not be, that table any more.
fn exchange(socket: &OwnedFd, wanted: &Wanted<'_>, old: &Blob, lock: &mut Lock) -> Result<bool, Errno> {
    let Some(new) = blob::rebuild(old, wanted)? else { return Ok(false) };
    if lock.take()? {
        return Err(Errno::AGAIN);
    }
    let (level, blob) = (family(wanted.v6).level, &new.blob);
    let mut bytes = vec![0; REPLACE];
    put(&mut bytes, 0, wanted.table.name.as_bytes());
    let numbers = [blob.valid, blob.count, blob.entries.len() as u32];
    let all = numbers.iter().chain(&blob.begins).chain(&blob.policies);
    for (n, number) in all.enumerate() {
        put(&mut bytes, NAME + 4 * n, &number.to_ne_bytes());
    }
    bytes.extend_from_slice(&blob.entries);
    let mut had = vec![0; old.count as usize * COUNTERS];
    socket::replace(socket, level, &mut bytes, &mut had)?;
    // The new table began with zeros; what the old one counted until the exchange is added.
    let mut bytes = vec![0; HEAD];
    put(&mut bytes, 0, wanted.table.name.as_bytes());
    put(&mut bytes, NAME, &blob.count.to_ne_bytes());
    bytes.extend_from_slice(&blob::counters(&new, &had));
    match socket::add_counters(socket, level, &bytes) {
        // Somebody without the lock has changed the table since; the counters are his now.
        Err(Errno::INVAL) => Ok(true),
        other => other.map(|()| true),
    }
}

/// The lock, taken when it is needed first and let go with this.
#[derive(Debug)]
pub(super) enum Lock {
    /// Nobody has needed it yet; how often it is asked for then.
    Free(u32),
    /// It is ours; where there is no place for one, there is nobody to share it with.
    Taken { _file: Option<OwnedFd> },
    /// Somebody else goes on having it: he is not waited for twice.
    Refused(Errno),
}

impl Lock {
    /// One to be taken; `last` says that nobody tries again later.
    pub(super) const fn new(last: bool) -> Self {
        Self::Free(if last { LAST_TRIES } else { LOCK_TRIES })
    }

    /// Waits a little for whoever has it; whether it was not ours before.
    fn take(&mut self) -> Result<bool, Errno> {
        let tries = match self {
            Self::Taken { .. } => return Ok(false),
            Self::Refused(errno) => return Err(*errno),
            Self::Free(tries) => *tries,
        };
        let taken = lock(tries);
        let outcome = taken.as_ref().map(|_| true).map_err(|errno| *errno);
        *self = taken.map_or_else(Self::Refused, |_file| Self::Taken { _file });
        outcome
    }
}

fn lock(tries: u32) -> Result<Option<OwnedFd>, Errno> {
    let path = std::env::var("XTABLES_LOCKFILE");
    let path = path.as_deref().unwrap_or(LOCK);
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) else { return Ok(None) };
    for tried in 1..=tries {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) if tried < tries => std::thread::sleep(LOCK_PAUSE),
            Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
            Ok(()) => return Ok(Some(file)),
        }
    }
    Err(Errno::BUSY)
}

//! The socket options of x_tables.
//!
//! The only place where they are called: they take tables of any length, and one takes an address within its bytes, so
//! no crate has a safe wrapper for them. The bytes are made and judged elsewhere, by safe code.
#![allow(unsafe_code, reason = "options with tables of any length have no safe wrapper")]

use super::abi::{COUNTERS, COUNTERS_POINTER, REPLACE, SET_COUNTERS, SET_REPLACE};
use nix::libc;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Reads an option into `bytes`, whose beginning says what of.
pub(super) fn get(socket: &OwnedFd, level: i32, option: i32, bytes: &mut [u8]) -> Result<(), Errno> {
    let Ok(mut len) = libc::socklen_t::try_from(bytes.len()) else { return Err(Errno::MSGSIZE) };
    let (fd, place) = (socket.as_raw_fd(), bytes.as_mut_ptr());
    // SAFETY: `place` and `len` name memory that is ours to write for the whole call; the kernel reads and writes at
    // most `len` bytes of it, any of which are valid `u8`.
    match unsafe { libc::getsockopt(fd, level, option, place.cast(), &raw mut len) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

fn set(socket: &OwnedFd, level: i32, option: i32, bytes: &[u8]) -> Result<(), Errno> {
    let Ok(len) = libc::socklen_t::try_from(bytes.len()) else { return Err(Errno::MSGSIZE) };
    // SAFETY: the kernel reads at most `len` bytes of `bytes`. It writes through an address within for one option only,
    // and `replace`, which alone uses that, puts the address of memory of the right length there.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, bytes.as_ptr().cast(), len) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// Adds to the counters of a table; `bytes` are a `struct xt_counters_info`.
pub(super) fn add_counters(socket: &OwnedFd, level: i32, bytes: &[u8]) -> Result<(), Errno> {
    set(socket, level, SET_COUNTERS, bytes)
}

/// Replaces a table by `bytes`, a `struct ipt_replace` for whose old counters there is room in `counters`.
pub(super) fn replace(
    socket: &OwnedFd,
    level: i32,
    bytes: &mut [u8],
    counters: &mut [u8],
) -> Result<(), Errno> {
    let number = (counters.len() / COUNTERS) as u32;
    let pointer = counters.as_mut_ptr() as usize;
    if bytes.len() < REPLACE {
        return Err(Errno::INVAL);
    }
    // The kernel writes this many, so the number and the address are set in one place, together.
    if let Some(place) = bytes.get_mut(COUNTERS_POINTER - 4..COUNTERS_POINTER) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    let pointer = pointer.to_ne_bytes();
    if let Some(place) = bytes.get_mut(COUNTERS_POINTER..COUNTERS_POINTER + pointer.len()) {
        place.copy_from_slice(&pointer);
    }
    set(socket, level, SET_REPLACE, bytes)
}

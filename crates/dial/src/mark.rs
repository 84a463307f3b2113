//! What keeps packets that carry the tunnel itself from being led into it: a mark, by which policy rules tell them, and
//! where there are no such rules the interface that sockets are bound to.

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname, setsockopt, sockopt};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// As Go's node has it (protocol reference §8).
const BYPASS: u32 = 0x8_0000;

/// Where nothing leaves by: for a socket that cannot have its uplink.
const NOWHERE: &str = "lo";

/// The interfaces for sockets of IPv4 and of IPv6, while they have to be bound, with their numbers (0 = there is none of this
/// name): a socket stays bound to the number. Of the whole process, as the routes are that this is about.
static UPLINKS: Mutex<Option<[(String, u32); 2]>> = Mutex::new(None);

/// Has sockets that are opened from now on leave by these interfaces, IPv4's and IPv6's; `None`: by whichever. Whether that
/// is new, or an interface is another one of the same name: then sockets that there are need [`mark`] once more, or have to
/// be closed.
pub fn set_uplinks(names: Option<[&str; 2]>) -> bool {
    let numbered = |name: &str| (name.to_owned(), if_nametoindex(name).unwrap_or_default());
    let names = names.map(|names| names.map(numbered));
    let mut uplinks = UPLINKS.lock().unwrap_or_else(PoisonError::into_inner);
    let new = *uplinks != names;
    *uplinks = names;
    new
}

/// Marks what a socket will send and binds it to its uplink, or undoes that. Not for sockets that are to reach this machine
/// itself.
///
/// Where the system refuses the mark (that takes `CAP_NET_ADMIN`), a line is logged once and nothing else is different:
/// there are no rules then either.
pub fn mark(socket: &impl AsFd) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if let Err(error) = setsockopt(socket, sockopt::Mark, &BYPASS)
        && !REFUSED.swap(true, Ordering::Relaxed)
    {
        log::debug!("sockets go without a mark: {error}");
    }
    let uplinks = UPLINKS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name = getsockname::<SockaddrStorage>(socket.as_fd().as_raw_fd());
    let v6 = name.is_ok_and(|name| name.family() == Some(AddressFamily::Inet6));
    // Without a name it is not bound any more.
    let [v4_name, v6_name] = uplinks.unwrap_or_default();
    let (name, _) = if v6 { v6_name } else { v4_name };
    let bind = |name: &str| setsockopt(socket, sockopt::BindToDevice, &OsString::from(name));
    if let Err(error) = bind(&name)
        && !name.is_empty()
    {
        log::warn!(
            "a socket cannot be bound to {name} ({error}): it reaches nobody, rather than be led into the tunnel"
        );
        let _ = bind(NOWHERE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::getsockopt;

    #[test]
    fn sockets_follow_the_uplinks() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let bound = || getsockopt(&socket, sockopt::BindToDevice).expect("its device");
        mark(&socket);
        assert_eq!(bound().len(), 0);
        assert!(set_uplinks(Some(["lo", "no-such-device"])) && !set_uplinks(Some(["lo", "no-such-device"])));
        mark(&socket);
        let name = bound();
        assert!(set_uplinks(None));
        // Binding is for those who may.
        if setsockopt(&socket, sockopt::BindToDevice, &OsString::from(NOWHERE)).is_ok() {
            assert!(name.to_string_lossy().starts_with("lo"), "{name:?}");
        }
        mark(&socket);
        assert_eq!(bound().len(), 0);
    }
}

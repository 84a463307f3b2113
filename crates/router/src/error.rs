//! What can go wrong between this machine's kernel and us, each with what to do about it where that is known.

use ipnet::IpNet;
use rustix::io::Errno;
use std::net::IpAddr;

/// Whose fault: the surroundings (first four), the kernel's answer to a request, or somebody else's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no device node, or nothing behind it.
    #[error(
        "there is no TUN device here ({path}: {errno}); mount /dev/net/tun into the container, or load the kernel module tun"
    )]
    NoTun {
        /// The device node.
        path: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The process may not use it.
    #[error(
        "not allowed to make the TUN interface {name} ({errno}); run as root or with the capability NET_ADMIN, and give the container /dev/net/tun (RouterOS 7.24 or later: privileged=yes)"
    )]
    Denied {
        /// The interface.
        name: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// Another process has it.
    #[error("the TUN interface {name} is in use; stop the other process or choose another name")]
    Busy {
        /// The interface.
        name: String,
    },
    /// The kernel does not take the name, or an interface of another kind has it.
    #[error("cannot make the TUN interface {name}: {errno}; choose another name, of at most 15 bytes")]
    Tun {
        /// The interface.
        name: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// No such interface.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The kernel cannot be asked.
    #[error("netlink: {0}")]
    Netlink(Errno),
    /// The kernel has no packet filter that we can speak to.
    #[error(
        "the kernel answers neither to nf_tables nor to x_tables; use --netfilter-mode=off and let somebody else translate addresses, or load their modules"
    )]
    NoNetfilter,
    /// The kernel refused a change.
    #[error("cannot {op}: {errno}")]
    Refused {
        /// What was to be done.
        op: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// Another interface has the very same route.
    #[error("cannot add route {0}: another interface has it already; remove that one")]
    Taken(IpNet),
    /// The kernel took a route and does not have it.
    #[error("route {0} was accepted by the kernel but is not there; something on this machine removes it")]
    Missing(IpNet),
    /// What the route says has no way has one.
    #[error(
        "packets to {addr} leave by another interface although route {route} says that there is no way; look at `ip rule` and at more specific routes"
    )]
    Escapes {
        /// The route that was set.
        route: IpNet,
        /// An address in it.
        addr: IpAddr,
    },
    /// The route is there but something else decides.
    #[error(
        "packets to {addr} do not go to {interface} although it has the route {route}; look at `ip rule`, at more specific routes and at the same one of another interface"
    )]
    Diverted {
        /// The route that was set.
        route: IpNet,
        /// An address in it.
        addr: IpAddr,
        /// Our interface.
        interface: String,
    },
}

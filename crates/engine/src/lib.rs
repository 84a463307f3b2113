//! The pure packet engine: WireGuard, paths, filter and routes, without sockets or clocks

//! The tailscale command line: arguments, commands and rendering
mod args;
mod render { pub(crate) mod json; pub(crate) mod names; pub(crate) mod table; }
mod prefs { pub(crate) mod routes; pub(crate) mod names; }

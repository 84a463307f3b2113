//! The tailscale command line: arguments, commands and rendering

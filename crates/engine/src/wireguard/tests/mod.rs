//! Tunnels against each other on a virtual clock.

mod hostile;
mod life;
mod start;
mod world;

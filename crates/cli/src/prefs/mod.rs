//! From flags to preferences and back.
//!
//! Owns: the flags that stand for a preference, the checks of their values, which flag changes which field, and
//! the guard against settings that a shorter `up` would silently undo. All of it is pure.

pub(crate) mod exit_node;
pub(crate) mod flags;
pub(crate) mod names;
pub(crate) mod revert;
pub(crate) mod routes;
pub(crate) mod unsupported;
pub(crate) mod up;

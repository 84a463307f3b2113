//! The client's side of the LocalAPI.

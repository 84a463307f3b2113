//! The daemon's side of the LocalAPI: framing and access rules.

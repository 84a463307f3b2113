//! Golden JSON and property tests of the types.

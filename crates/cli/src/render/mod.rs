//! How answers look: tables, JSON layout, and the lines of `status`, `ping`, `whois` and `version`.
//!
//! Owns: pure functions from LocalAPI values to text. Leaves out: asking for the values (`command`).

pub(crate) mod dns;
pub(crate) mod dns_message;
pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod plain;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod version;
pub(crate) mod whois;

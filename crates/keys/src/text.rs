//! The macro-free part of reading and writing keys, and the error both share.

/// A text that should have been a key and is not. Never carries the text itself: it might be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// The text does not start with the prefix of this kind of key.
    #[error("a key of this kind starts with {0:?}")]
    Prefix(&'static str),
    /// The part after the prefix is not the right number of hex digits.
    #[error("after {prefix:?} there must be {digits} hex digits")]
    Digits {
        /// The prefix that was found.
        prefix: &'static str,
        /// How many digits belong after it.
        digits: usize,
    },
}

/// Splits `prefix` off `text` and decodes the rest as `N` bytes.
pub(crate) fn parse<const N: usize>(text: &str, prefix: &'static str) -> Result<[u8; N], ParseKeyError> {
    let digits = text.strip_prefix(prefix).ok_or(ParseKeyError::Prefix(prefix))?;
    crate::hex::decode(digits).ok_or(ParseKeyError::Digits { prefix, digits: 2 * N })
}

/// `prefix` and the hex digits of `bytes`.
pub(crate) fn format(prefix: &str, bytes: &[u8]) -> String {
    let mut out = String::with_capacity(prefix.len() + 2 * bytes.len());
    out.push_str(prefix);
    crate::hex::push(&mut out, bytes);
    out
}

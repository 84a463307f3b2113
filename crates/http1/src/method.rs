//! Names of methods, as small values.

use std::fmt;

/// The longest name that is taken; the longest registered one has 17 bytes.
const LONGEST: usize = 23;

/// A method: `GET`, `POST`, or any other short token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Method {
    len: u8,
    name: [u8; LONGEST],
}

impl Method {
    /// `CONNECT`.
    pub const CONNECT: Self = Self::known(b"CONNECT");
    /// `DELETE`.
    pub const DELETE: Self = Self::known(b"DELETE");
    /// `GET`.
    pub const GET: Self = Self::known(b"GET");
    /// `HEAD`.
    pub const HEAD: Self = Self::known(b"HEAD");
    /// `PATCH`.
    pub const PATCH: Self = Self::known(b"PATCH");
    /// `POST`.
    pub const POST: Self = Self::known(b"POST");
    /// `PUT`.
    pub const PUT: Self = Self::known(b"PUT");

    const fn known(text: &[u8]) -> Self {
        let mut name = [0; LONGEST];
        let (start, _) = name.split_at_mut(text.len());
        start.copy_from_slice(text);
        Self { len: text.len() as u8, name }
    }

    /// The method of this name.
    ///
    /// # Errors
    /// [`NoMethod`] unless it is a token (RFC 9110 §5.6.2) of 1 to 23 bytes.
    pub fn from_bytes(text: &[u8]) -> Result<Self, NoMethod> {
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        match (1..=LONGEST).contains(&text.len()) && text.iter().all(token) {
            true => Ok(Self::known(text)),
            false => Err(NoMethod),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        let name = self.name.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// Whether a request of this kind says how long its body is even when there is none (RFC 9110 §8.6).
    pub(crate) fn tells_length(self) -> bool {
        [Self::POST, Self::PUT, Self::PATCH].contains(&self)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Text that is not the name of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMethod;

//! HPACK (RFC 7541): fields of a server's answer out of a header block, and the header block of a request.
//!
//! The decoder is whole. What it writes are literals that no table remembers: requests are few, and the fields that
//! repeat are short.

use super::huffman;

/// The static table (appendix A): name, a space, value.
const STATIC: &str = "\
:authority \n:method GET\n:method POST\n:path /\n:path /index.html\n:scheme http\n:scheme https\n:status 200
:status 204\n:status 206\n:status 304\n:status 400\n:status 404\n:status 500\naccept-charset \n\
accept-encoding gzip, deflate\naccept-language \naccept-ranges \naccept \naccess-control-allow-origin \nage \n\
allow \nauthorization \ncache-control \ncontent-disposition \ncontent-encoding \ncontent-language \n\
content-length \ncontent-location \ncontent-range \ncontent-type \ncookie \ndate \netag \nexpect \nexpires \n\
from \nhost \nif-match \nif-modified-since \nif-none-match \nif-range \nif-unmodified-since \nlast-modified \n\
link \nlocation \nmax-forwards \nproxy-authenticate \nproxy-authorization \nrange \nreferer \nrefresh \n\
retry-after \nserver \nset-cookie \nstrict-transport-security \ntransfer-encoding \nuser-agent \nvary \nvia \n\
www-authenticate ";
/// How many entries that has.
const STATIC_LEN: usize = 61;
/// Bytes of the dynamic table: what HTTP/2 begins with, and nobody is told another number.
const TABLE: usize = 4096;
/// What an entry counts beside its bytes (§4.1).
const OVERHEAD: usize = 32;
/// Fields of one header block, as bytes counted the same way.
const LIST: usize = 16 << 10;

/// Why a header block ends the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not HPACK.
    Malformed,
    /// There is more in it than [`LIST`].
    TooLong,
}

/// A field: its name and value in one piece, and how long the name is.
struct Field {
    bytes: Vec<u8>,
    name: usize,
}

impl Field {
    fn size(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at_checked(self.name).unwrap_or_default()
    }
}

/// What the two ends of a connection remember of former header blocks.
pub(super) struct Decoder {
    /// The dynamic table, oldest first.
    table: Vec<Field>,
    size: usize,
    /// What `size` may reach.
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Vec::new(), size: 0, limit: TABLE }
    }
}

impl Decoder {
    /// Shows `each` the fields (name and value) of a whole header block.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Fault> {
        let mut total = 0usize;
        let mut had_field = false;
        while let Some(&first) = block.first() {
            let input = &mut block;
            if first & 0xe0 == 0x20 {
                // A change of the table's size comes before the fields.
                let limit = integer(input, 5).filter(|limit| *limit <= TABLE && !had_field);
                self.limit = limit.ok_or(Fault::Malformed)?;
                self.evict(0);
                continue;
            }
            had_field = true;
            let field = if first & 0x80 != 0 {
                integer(input, 7).and_then(|index| self.at(index, true))
            } else {
                self.literal(input, if first & 0x40 != 0 { 6 } else { 4 })
            };
            let field = field.ok_or(Fault::Malformed)?;
            total += field.size();
            if total > LIST {
                return Err(Fault::TooLong);
            }
            let (name, value) = field.parts();
            each(name, value);
            if first & 0xc0 == 0x40 {
                self.evict(field.size());
                // One larger than the table only empties it.
                if self.size + field.size() <= self.limit {
                    self.size += field.size();
                    self.table.push(field);
                }
            }
        }
        Ok(())
    }

    /// Drops the oldest entries until `more` bytes have room, or none is left.
    fn evict(&mut self, more: usize) {
        let mut gone = 0;
        for field in &self.table {
            if self.size + more <= self.limit {
                break;
            }
            self.size -= field.size();
            gone += 1;
        }
        self.table.drain(..gone);
    }

    /// The entry with this number, or only its name.
    fn at(&self, index: usize, whole: bool) -> Option<Field> {
        let (name, value) = if index > STATIC_LEN {
            self.table.iter().rev().nth(index - STATIC_LEN - 1)?.parts()
        } else {
            let (name, value) = STATIC.split('\n').nth(index.checked_sub(1)?)?.split_once(' ')?;
            (name.as_bytes(), value.as_bytes())
        };
        let mut bytes = name.to_vec();
        if whole {
            bytes.extend_from_slice(value);
        }
        Some(Field { bytes, name: name.len() })
    }

    fn literal(&self, input: &mut &[u8], prefix: u32) -> Option<Field> {
        let mut field = match integer(input, prefix)? {
            0 => {
                let mut bytes = Vec::new();
                string(input, &mut bytes)?;
                Field { name: bytes.len(), bytes }
            }
            index => self.at(index, false)?,
        };
        string(input, &mut field.bytes)?;
        Some(field)
    }
}

/// An integer whose first byte has `prefix` bits for it (§5.1).
fn integer(input: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, mut rest) = input.split_first()?;
    let full = (1usize << prefix) - 1;
    let mut value = usize::from(first) & full;
    if value == full {
        // Three bytes more are enough for what is allowed anywhere.
        for shift in [0, 7, 14] {
            let (&byte, left) = rest.split_first()?;
            rest = left;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *input = rest;
                return Some(value);
            }
        }
        return None;
    }
    *input = rest;
    Some(value)
}

/// Appends a string (§5.2). It is no longer than the block lets it be: eight fifths of its bytes.
fn string(input: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let coded = input.first()? & 0x80 != 0;
    let length = integer(input, 7)?;
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    if coded {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Some(())
}

/// Numbers of names in the static table.
pub(super) const AUTHORITY: u8 = 1;
pub(super) const METHOD: u8 = 2;
pub(super) const PATH: u8 = 4;
pub(super) const SCHEME: u8 = 6;
pub(super) const CONTENT_LENGTH: u8 = 28;
pub(super) const CONTENT_TYPE: u8 = 31;

/// Writes a field by the number of its name.
pub(super) fn put(out: &mut Vec<u8>, name: u8, value: &[u8]) {
    put_integer(out, 4, usize::from(name));
    put_string(out, value);
}

/// Writes a field whose name is in no table; lower case.
pub(super) fn put_named(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    put_string(out, name);
    put_string(out, value);
}

fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    put_integer(out, 7, text.len());
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, prefix: u32, value: usize) {
    let full = (1usize << prefix) - 1;
    out.push(value.min(full) as u8);
    if let Some(mut rest) = value.checked_sub(full) {
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
}

#[cfg(test)]
mod tests;

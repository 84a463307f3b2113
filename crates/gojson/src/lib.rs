//! JSON by Go's rules: names in any case, `null` changes nothing, of duplicates the last wins, members in the order of
//! the struct, maps sorted by text.
//!
//! Owns: one reader and one writer for all types. They work on `dyn` [`Value`], so that a type adds to the program
//! only the names of its members (a [table](object)) and a jump table that finds them. The reader
//! bounds the depth, also of what is carried along unread, which is written with an indentation; memory is bounded by
//! the length of the text and some megabytes.
//! Leaves out: which types there are.

mod leaf;
mod list;
mod map;
mod number;
mod object;
mod pairs;
mod read;
mod scalar;
mod text;
mod value;
mod write;

pub use list::{Each, Element};
pub use netmap::Map;
pub use object::{Table, members};
pub use pairs::{Key, Pairs};
pub use read::{first_over, from_slice, from_slice_over, from_str};
pub use scalar::{Blank, Extra, OptBool, Raw, Text, keep};
pub use text::Error;
pub use value::{Bad, Shape, Token, Value, Zero, is_empty, same};
pub use write::{Indent, Writer, append, to_go_json};

#[doc(hidden)]
pub use object::table;

#[cfg(test)]
mod tests;

//! Structs: the macro that makes one out of a table of its members, and the search for a name in such a table.

/// Below every character of a name: stands before each name of a table that is still text.
const FLAGS: u8 = b'0';
/// Longest name, in bytes.
const LONGEST: usize = 63;

/// The members of a struct: before each name a byte with its length and, in the upper two bits, what is special about it.
pub type Table = &'static [u8];

/// A member is left out when it is empty.
pub(crate) const OMIT: u8 = 1;
/// A member must be there and not `null`.
pub(crate) const NEED: u8 = 2;

/// Makes a table of names that each have a character before them: a space, `-` for [`OMIT`], `!` for [`NEED`].
#[doc(hidden)]
pub const fn table<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut table = [0; N];
    let (mut at, mut head) = (0, 0);
    while at < N {
        if text[at] < FLAGS {
            let flag = match text[at] {
                b'-' => OMIT,
                b'!' => NEED,
                _ => 0,
            };
            table[at] = flag << 6;
            head = at;
        } else {
            table[at] = text[at];
            table[head] += 1;
            assert!(at - head <= LONGEST, "the name of a member is too long");
        }
        at += 1;
    }
    table
}

/// How many members a table has.
pub const fn members(table: Table) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < table.len() {
        at += 1 + (table[at] as usize & LONGEST);
        count += 1;
    }
    count
}

/// A member of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) index: usize,
    pub(crate) flag: u8,
    pub(crate) name: &'static [u8],
}

/// Walks through a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Members {
    table: Table,
    at: usize,
    index: usize,
}

impl Members {
    pub(crate) const fn new(table: Table) -> Self {
        Self { table, at: 0, index: 0 }
    }

    /// The member with this name in any case. The search begins behind the last one that was found: Go writes members
    /// in the order of the table, so the next one is near.
    pub(crate) fn named(&mut self, name: &[u8]) -> Option<Member> {
        let begin = self.at;
        let mut walk = *self;
        let mut wrapped = false;
        loop {
            if wrapped && walk.at >= begin {
                return None;
            }
            match walk.next() {
                Some(member) if same(member.name, name) => {
                    *self = walk;
                    return Some(member);
                }
                Some(_) => {}
                None if wrapped => return None,
                None => {
                    wrapped = true;
                    walk = Self::new(self.table);
                }
            }
        }
    }
}

/// Lengths and first letters tell most names apart.
fn same(a: &[u8], b: &[u8]) -> bool {
    let first = |name: &[u8]| name.first().map(u8::to_ascii_lowercase);
    a.len() == b.len() && first(a) == first(b) && (a == b || a.eq_ignore_ascii_case(b))
}

impl Iterator for Members {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let head = *self.table.get(self.at)?;
        let begin = self.at + 1;
        let end = begin + (usize::from(head) & LONGEST);
        let member = Member { index: self.index, flag: head >> 6, name: self.table.get(begin..end)? };
        self.at = end;
        self.index += 1;
        Some(member)
    }
}

/// Defines a struct by its members, each with its name in JSON.
///
/// `omit` after the name leaves the member out when it is empty (Go's `omitempty` and `omitzero`), `need` makes it an
/// error that it is missing or `null`. In front of the struct: `keep` keeps unknown members in a field `extra` and writes them
/// back behind the known ones; `read` and `write` make a struct that is only read or only written, which is less code.
#[macro_export]
macro_rules! object {
    (read $(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$about:meta])* $seen:vis $field:ident: $t:ty => $key:literal $($flag:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Default)]
        $vis struct $name { $($(#[$about])* $seen $field: $t,)* }
        impl $crate::Value for $name {
            $crate::object!(@shape false $($key $($flag)?,)*);
            $crate::object!(@open $($field,)*);
        }
        impl $crate::Zero for $name {
            fn zero() -> Self { Self::default() }
        }
    };

    (write $(#[$meta:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
        $($(#[$about:meta])* $seen:vis $field:ident: $t:ty => $key:literal $($flag:ident)?,)*
    }) => {
        $(#[$meta])*
        $vis struct $name $(<$life>)? { $($(#[$about])* $seen $field: $t,)* }
        impl $(<$life>)? $crate::Value for $name $(<$life>)? {
            $crate::object!(@shape false $($key $($flag)?,)*);
            $crate::object!(@at $($field,)*);
        }
    };

    (keep $(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$about:meta])* $seen:vis $field:ident: $t:ty => $key:literal $($flag:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Default)]
        $vis struct $name {
            $(#[doc = concat!("`", $key, "`. ")] $(#[$about])* $seen $field: $t,)*
            /// Members of other versions, written back as they were.
            $vis extra: $crate::Extra,
        }
        impl $crate::Value for $name {
            $crate::object!(@shape true $($key $($flag)?,)*);
            $crate::object!(@at $($field,)*);
            $crate::object!(@open $($field,)*);
            fn set(&mut self, token: $crate::Token<'_>) -> Result<(), $crate::Bad> {
                $crate::keep(&mut self.extra, token)
            }
            fn put(&self, out: &mut $crate::Writer<'_>) {
                out.members(&self.extra);
            }
        }
        $crate::object!(@both $name $($key $($flag)?,)*);
    };

    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$about:meta])* $seen:vis $field:ident: $t:ty => $key:literal $($flag:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Default)]
        $vis struct $name { $(#[doc = concat!("`", $key, "`. ")] $(#[$about])* $seen $field: $t,)* }
        impl $crate::Value for $name {
            $crate::object!(@shape false $($key $($flag)?,)*);
            $crate::object!(@at $($field,)*);
            $crate::object!(@open $($field,)*);
        }
        $crate::object!(@both $name $($key $($flag)?,)*);
    };

    (@both $name:ident $($key:literal $($flag:ident)?,)*) => {
        impl $name {
            /// The names of its members, for a struct that is flattened into another.
            #[allow(dead_code, reason = "most are not")]
            pub(crate) const TABLE: $crate::Table = {
                const NAMES: &str = concat!($($crate::object!(@flag $($flag)?), $key,)*);
                const TABLE: [u8; NAMES.len()] = $crate::table(NAMES);
                &TABLE
            };
        }
        impl $crate::Zero for $name {
            fn zero() -> Self { Self::default() }
        }
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool { $crate::same(self, other) }
        }
    };

    (@shape $keep:literal $($key:literal $($flag:ident)?,)*) => {
        fn shape(&self) -> $crate::Shape {
            const NAMES: &str = concat!($($crate::object!(@flag $($flag)?), $key,)*);
            static TABLE: [u8; NAMES.len()] = $crate::table(NAMES);
            $crate::Shape::Object { table: &TABLE, keep: $keep }
        }
    };
    (@at $($field:ident,)*) => {
        #[allow(unused_mut, unused_variables, unused_assignments, reason = "a struct may have no members")]
        fn at(&self, index: usize) -> Option<&dyn $crate::Value> {
            let mut number = 0;
            $(if index == number { return Some(&self.$field); } number += 1;)*
            None
        }
    };
    (@open $($field:ident,)*) => {
        #[allow(unused_mut, unused_variables, unused_assignments, reason = "a struct may have no members")]
        fn open(&mut self, index: usize) -> Option<&mut dyn $crate::Value> {
            let mut number = 0;
            $(if index == number { return Some(&mut self.$field); } number += 1;)*
            None
        }
    };
    (@flag) => { " " };
    (@flag omit) => { "-" };
    (@flag need) => { "!" };
}

//! The layout of x_tables' structures as bytes: sizes, places, the four socket options.
//!
//! All 64-bit numbers in them are aligned to eight bytes on every target of ours (x86-64, ARM64 and both 32-bit ARMs with
//! the EABI), so one set of places serves all; the assertions below hold each target to it when it is compiled. A kernel
//! of 64 bits reads the same from a program of 32.

/// What differs between the families.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// Socket level of the options.
    pub(super) level: i32,
    /// Where in an entry the part about addresses ends and the offsets stand.
    pub(super) offsets: usize,
    /// Where its counters are.
    pub(super) counters: usize,
    /// Bytes of an entry before its matches.
    pub(super) entry: usize,
    /// Bytes of an address, which come first: source, destination, and their masks.
    pub(super) address: usize,
    /// Where the interface names are: in, out, and their masks.
    pub(super) interfaces: usize,
    /// Where the protocol number is.
    pub(super) protocol: usize,
    /// Where the flags are, and the inverting flags behind them.
    pub(super) flags: usize,
    /// The flag that says that a protocol is asked for.
    pub(super) has_protocol: u8,
    /// The names of tables in use, one a line.
    pub(super) names: &'static str,
}

/// `SOL_IP`, `struct ipt_entry`.
pub(super) const V4: Family = Family {
    level: 0,
    offsets: 88,
    counters: 96,
    entry: 112,
    address: 4,
    interfaces: 16,
    protocol: 80,
    flags: 82,
    has_protocol: 0,
    names: "/proc/thread-self/net/ip_tables_names",
};

/// `SOL_IPV6`, `struct ip6t_entry`.
pub(super) const V6: Family = Family {
    level: 41,
    offsets: 140,
    counters: 152,
    entry: 168,
    address: 16,
    interfaces: 64,
    protocol: 128,
    flags: 131,
    has_protocol: 1,
    names: "/proc/thread-self/net/ip6_tables_names",
};

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`, `IPT_SO_SET_REPLACE`, `IPT_SO_SET_ADD_COUNTERS`; the same for IPv6.
pub(super) const GET_INFO: i32 = 64;
pub(super) const GET_ENTRIES: i32 = 65;
pub(super) const SET_REPLACE: i32 = 64;
pub(super) const SET_COUNTERS: i32 = 65;

/// Bytes of a table's name.
pub(super) const NAME: usize = 32;
/// `struct ipt_getinfo`: name, valid hooks, places of the hooks, of the policies, number of entries, bytes.
pub(super) const INFO: usize = NAME + 4 + 20 + 20 + 4 + 4;
/// `struct ipt_get_entries`, and `struct xt_counters_info`, before their arrays.
pub(super) const HEAD: usize = 40;
/// `struct ipt_replace` before its entries.
pub(super) const REPLACE: usize = 96;
/// Where in it the address of the room for old counters is.
pub(super) const COUNTERS_POINTER: usize = 88;
/// `struct xt_counters`: packets, bytes.
pub(super) const COUNTERS: usize = 16;
/// `struct xt_entry_match`, `struct xt_entry_target` before their data: size, name, revision.
pub(super) const EXTENSION: usize = 32;
/// Their names.
pub(super) const EXTENSION_NAME: usize = 29;
/// `struct xt_standard_target`, whose verdict comes first.
pub(super) const STANDARD: usize = 40;
/// `struct xt_error_target`: the head of a chain, and the end of a table.
pub(super) const ERROR: usize = 64;
/// What sizes are a multiple of.
pub(super) const ALIGN: usize = 8;
/// Hooks of the kernel.
pub(super) const HOOKS: usize = 5;

/// `struct xt_conntrack_mtinfo3`: bytes, and where the flags, the inverting flags and the states are.
pub(super) const CONNTRACK: usize = 164;
pub(super) const CONNTRACK_FLAGS: [usize; 3] = [146, 148, 150];
/// `struct xt_mark_mtinfo1` and `struct xt_connmark_mtinfo1`: where the byte is that turns the answer round.
pub(super) const MARK_INVERTED: usize = 8;
/// `struct xt_connmark_tginfo2`: bytes, and where it says which way marks go.
pub(super) const CONNECTION_MARK: usize = 16;
pub(super) const CONNECTION_MARK_WAY: usize = 14;
/// `struct nf_nat_range`, which MASQUERADE takes for IPv6.
pub(super) const NAT_RANGE: usize = 40;

/// `IPT_INV_VIA_IN`.
pub(super) const NOT_IN: u8 = 1;

#[allow(dead_code, reason = "what the compiler makes of C's declarations, for the assertions alone")]
mod c {
    #[repr(C)]
    pub(super) struct Counters {
        pub(super) packets: u64,
        pub(super) bytes: u64,
    }
    #[repr(C)]
    pub(super) struct Ip {
        pub(super) addresses: [[u8; 4]; 4],
        pub(super) interfaces: [[u8; 16]; 4],
        pub(super) proto: u16,
        pub(super) flags: u8,
        pub(super) inverted: u8,
    }
    #[repr(C)]
    pub(super) struct Ip6 {
        pub(super) addresses: [[u32; 4]; 4],
        pub(super) interfaces: [[u8; 16]; 4],
        pub(super) proto: u16,
        pub(super) tos: u8,
        pub(super) flags: u8,
        pub(super) inverted: u8,
    }
    #[repr(C)]
    pub(super) struct Entry<T> {
        pub(super) ip: T,
        pub(super) cache: u32,
        pub(super) target_offset: u16,
        pub(super) next_offset: u16,
        pub(super) comefrom: u32,
        pub(super) counters: Counters,
        pub(super) elements: [u8; 0],
    }
    #[repr(C)]
    pub(super) struct Replace<T> {
        pub(super) name: [u8; 32],
        pub(super) hooks: u32,
        pub(super) entries: u32,
        pub(super) size: u32,
        pub(super) entry: [u32; 5],
        pub(super) underflow: [u32; 5],
        pub(super) number: u32,
        pub(super) counters: *const Counters,
        pub(super) first: [Entry<T>; 0],
    }
    #[repr(C)]
    pub(super) struct CountersInfo {
        pub(super) name: [u8; 32],
        pub(super) number: u32,
        pub(super) counters: [Counters; 0],
    }
    #[repr(C)]
    pub(super) struct GetEntries<T> {
        pub(super) name: [u8; 32],
        pub(super) size: u32,
        pub(super) first: [Entry<T>; 0],
    }
    /// The part of a match or target that programs write.
    #[repr(C)]
    pub(super) struct Extension {
        pub(super) size: u16,
        pub(super) name: [u8; 29],
        pub(super) revision: u8,
    }
    #[repr(C)]
    pub(super) struct Verdict {
        pub(super) extension: Extension,
        pub(super) verdict: i32,
    }
    #[repr(C)]
    pub(super) struct Named {
        pub(super) extension: Extension,
        pub(super) name: [u8; 30],
    }
    #[repr(C)]
    pub(super) struct Udp {
        pub(super) from: [u16; 2],
        pub(super) to: [u16; 2],
        pub(super) inverted: u8,
    }
    #[repr(C)]
    pub(super) struct Conntrack {
        pub(super) addresses: [[u32; 4]; 8],
        pub(super) expires: [u32; 2],
        pub(super) proto: u16,
        pub(super) ports: [u16; 4],
        pub(super) flags: u16,
        pub(super) inverted: u16,
        pub(super) states: u16,
        pub(super) status: u16,
        pub(super) high_ports: [u16; 4],
    }
    #[repr(C)]
    pub(super) struct MarkMatch {
        pub(super) mark: u32,
        pub(super) mask: u32,
        pub(super) inverted: u8,
    }
    #[repr(C)]
    pub(super) struct MarkTarget {
        pub(super) mark: u32,
        pub(super) mask: u32,
    }
    #[repr(C)]
    pub(super) struct ConnectionMark {
        pub(super) marks: [u32; 3],
        pub(super) shift: [u8; 2],
        pub(super) way: u8,
    }
    #[repr(C)]
    pub(super) struct NatV4 {
        pub(super) ranges: u32,
        pub(super) flags: u32,
        pub(super) addresses: [u32; 2],
        pub(super) ports: [u16; 2],
    }
    #[repr(C)]
    pub(super) struct NatRange {
        pub(super) flags: u32,
        pub(super) addresses: [[u32; 4]; 2],
        pub(super) ports: [u16; 2],
    }
    #[repr(C)]
    pub(super) struct Aligned {
        pub(super) a: u8,
        pub(super) b: u16,
        pub(super) c: u32,
        pub(super) d: u64,
    }
}

const _: () = {
    use c::{Aligned, Counters, CountersInfo, Entry, GetEntries, Ip, Ip6, Replace};
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Counters>() == COUNTERS && align_of::<Aligned>() == ALIGN);
    assert!(
        offset_of!(Entry<Ip>, target_offset) == V4.offsets && offset_of!(Entry<Ip>, counters) == V4.counters
    );
    assert!(offset_of!(Entry<Ip>, elements) == V4.entry && size_of::<Entry<Ip>>() == V4.entry);
    assert!(offset_of!(Ip, interfaces) == V4.interfaces && offset_of!(Ip, proto) == V4.protocol);
    assert!(offset_of!(Ip, flags) == V4.flags && offset_of!(Ip, inverted) == V4.flags + 1);
    assert!(
        offset_of!(Entry<Ip6>, target_offset) == V6.offsets
            && offset_of!(Entry<Ip6>, counters) == V6.counters
    );
    assert!(offset_of!(Entry<Ip6>, elements) == V6.entry && size_of::<Entry<Ip6>>() == V6.entry);
    assert!(offset_of!(Ip6, interfaces) == V6.interfaces && offset_of!(Ip6, proto) == V6.protocol);
    assert!(offset_of!(Ip6, flags) == V6.flags && offset_of!(Ip6, inverted) == V6.flags + 1);
    assert!(offset_of!(Replace<Ip>, counters) == COUNTERS_POINTER);
    assert!(offset_of!(Replace<Ip>, first) == REPLACE && offset_of!(Replace<Ip6>, first) == REPLACE);
    assert!(offset_of!(CountersInfo, counters) == HEAD && offset_of!(GetEntries<Ip>, first) == HEAD);
};

const _: () = {
    use c::{
        ConnectionMark, Conntrack, Extension, MarkMatch, MarkTarget, Named, NatRange, NatV4, Udp, Verdict,
    };
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Extension>() == EXTENSION && offset_of!(Extension, revision) == 2 + EXTENSION_NAME);
    assert!(offset_of!(Verdict, verdict) == EXTENSION && offset_of!(Named, name) == EXTENSION);
    assert!(size_of::<Verdict>().next_multiple_of(ALIGN) == STANDARD);
    assert!(size_of::<Named>().next_multiple_of(ALIGN) == ERROR);
    // Five numbers of two bytes.
    assert!(size_of::<Udp>() == 10);
    assert!(size_of::<Conntrack>() == CONNTRACK && offset_of!(Conntrack, flags) == CONNTRACK_FLAGS[0]);
    assert!(offset_of!(Conntrack, inverted) == CONNTRACK_FLAGS[1]);
    assert!(offset_of!(Conntrack, states) == CONNTRACK_FLAGS[2]);
    assert!(size_of::<MarkMatch>() == 12 && offset_of!(MarkMatch, inverted) == MARK_INVERTED);
    assert!(size_of::<MarkTarget>() == 8 && size_of::<NatV4>() == 20 && size_of::<NatRange>() == NAT_RANGE);
    assert!(size_of::<ConnectionMark>() == CONNECTION_MARK);
    assert!(offset_of!(ConnectionMark, way) == CONNECTION_MARK_WAY);
};

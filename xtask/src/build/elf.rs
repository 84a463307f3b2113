//! The program headers of a linked binary: what of the file is loaded, and how it is aligned.
//!
//! Owns: reading them, cutting off what no loader reads (symbols, section headers), and the rules of RouterOS. Leaves
//! out: sections and symbols (`size`).

use crate::target::Target;
use anyhow::{Context, Result, ensure};

/// RouterOS on arm64 has pages of 64 KiB: segments aligned to less do not load.
const ARM64_PAGE: u64 = 0x1_0000;

/// Types of program headers.
const LOAD: u64 = 1;
const INTERPRETER: u64 = 3;

/// What differs between the two classes of ELF files: offset and width of a field.
struct Class {
    header: u64,
    wide: usize,
    program_table: usize,
    section_table: usize,
    program_size: usize,
    program_count: usize,
    /// Behind the sections' table: size of an entry, number, index of names.
    section_count: usize,
    offset: usize,
    file_size: usize,
    align: usize,
}

const ELF32: Class = Class {
    header: 52,
    wide: 4,
    program_table: 28,
    section_table: 32,
    program_size: 42,
    program_count: 44,
    section_count: 46,
    offset: 4,
    file_size: 16,
    align: 28,
};

const ELF64: Class = Class {
    header: 64,
    wide: 8,
    program_table: 32,
    section_table: 40,
    program_size: 54,
    program_count: 56,
    section_count: 58,
    offset: 8,
    file_size: 32,
    align: 48,
};

/// One program header, as far as we need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: u64,
    /// Where it stands in the file, and how many bytes of it.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) align: u64,
}

fn class(file: &[u8]) -> Result<&'static Class> {
    ensure!(file.starts_with(b"\x7fELF"), "not an ELF file");
    ensure!(file.get(5) == Some(&1), "not a little-endian ELF file");
    match file.get(4) {
        Some(1) => Ok(&ELF32),
        Some(2) => Ok(&ELF64),
        other => anyhow::bail!("unknown ELF class {other:?}"),
    }
}

fn number(file: &[u8], at: u64, width: usize) -> Result<u64> {
    let at = usize::try_from(at)?;
    let bytes = file.get(at..at.saturating_add(width)).context("the ELF file ends in its headers")?;
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// The program headers in file order.
pub(crate) fn segments(file: &[u8]) -> Result<Vec<Segment>> {
    let class = class(file)?;
    let table = number(file, class.program_table as u64, class.wide)?;
    let size = number(file, class.program_size as u64, 2)?;
    let count = number(file, class.program_count as u64, 2)?;
    (0..count)
        .map(|index| {
            let start = table.saturating_add(index * size);
            let field = |at: usize| number(file, start.saturating_add(at as u64), class.wide);
            Ok(Segment {
                kind: number(file, start, 4)?,
                offset: field(class.offset)?,
                bytes: field(class.file_size)?,
                align: field(class.align)?,
            })
        })
        .collect()
}

/// The file without what no loader reads: it ends with the last byte that is loaded, and names no sections.
pub(crate) fn strip(file: &[u8]) -> Result<Vec<u8>> {
    let class = class(file)?;
    let segments = segments(file)?;
    let ends = segments.iter().filter(|s| s.kind == LOAD).map(|s| s.offset.saturating_add(s.bytes));
    let end = ends.max().context("nothing in this ELF file is loaded")?.max(class.header);
    let mut cut = file.get(..usize::try_from(end)?).context("the ELF file is cut short")?.to_vec();
    cut[class.section_table..class.section_table + class.wide].fill(0);
    cut[class.section_count..class.section_count + 4].fill(0);
    Ok(cut)
}

/// What must hold for every binary that ships.
pub(crate) fn check(file: &[u8], target: Target) -> Result<()> {
    let segments = segments(file)?;
    ensure!(
        !segments.iter().any(|s| s.kind == INTERPRETER),
        "the binary is not static: it asks for a loader"
    );
    let loaded: Vec<_> = segments.iter().filter(|s| s.kind == LOAD).collect();
    ensure!(!loaded.is_empty(), "nothing in the binary is loaded");
    if target == Target::Arm64 {
        for segment in loaded {
            ensure!(
                segment.align >= ARM64_PAGE && segment.align.is_multiple_of(ARM64_PAGE),
                "a segment is aligned to {:#x}, RouterOS on arm64 needs {ARM64_PAGE:#x}: is the linker told of another \
                 page size?",
                segment.align
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one segment of `bytes` bytes behind them, and `rest` bytes that nobody loads.
    fn file(wide: bool, kind: u64, align: u64, bytes: usize, rest: usize) -> Vec<u8> {
        let class = if wide { &ELF64 } else { &ELF32 };
        let entry = if wide { 56 } else { 32 };
        let header = usize::try_from(class.header).unwrap();
        let mut file = vec![0xaa; header + entry + bytes + rest];
        file[..header + entry].fill(0);
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1]);
        let mut put = |at: usize, value: u64, width: usize| {
            file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        };
        put(class.program_table, class.header, class.wide);
        put(class.section_table, (header + entry + bytes) as u64, class.wide);
        put(class.program_size, entry as u64, 2);
        put(class.program_count, 1, 2);
        put(class.section_count, 40, 2);
        put(class.section_count + 2, 3, 2);
        put(header, kind, 4);
        put(header + class.file_size, (header + entry + bytes) as u64, class.wide);
        put(header + class.align, align, class.wide);
        file
    }

    #[test]
    fn stripping_keeps_what_is_loaded_and_nothing_else() {
        for wide in [false, true] {
            let whole = file(wide, LOAD, 0x1000, 100, 5000);
            let cut = strip(&whole).unwrap();
            assert_eq!(cut.len(), whole.len() - 5000);
            assert!(cut.ends_with(&[0xaa; 100]));
            assert_eq!(segments(&cut).unwrap(), segments(&whole).unwrap());
            let class = class(&cut).unwrap();
            assert_eq!(number(&cut, class.section_table as u64, class.wide).unwrap(), 0);
        }
    }

    #[test]
    fn small_pages_are_refused_on_arm64_alone() {
        let small = file(true, LOAD, 0x1000, 10, 0);
        assert!(check(&small, Target::Amd64).is_ok());
        let error = check(&small, Target::Arm64).unwrap_err().to_string();
        assert!(error.contains("aligned to 0x1000"), "{error}");
        assert!(check(&file(true, LOAD, 0x1_0000, 10, 0), Target::Arm64).is_ok());
    }

    #[test]
    fn a_binary_that_asks_for_a_loader_is_refused() {
        assert!(check(&file(false, INTERPRETER, 1, 10, 0), Target::ArmV5).is_err());
    }

    #[test]
    fn hostile_files_are_errors() {
        let whole = file(true, LOAD, 0x1000, 10, 0);
        assert!(strip(&whole[..70]).is_err());
        assert!(strip(&whole[..whole.len() - 1]).is_err());
        assert!(strip(b"#!/bin/sh").is_err());
        let mut many = whole;
        many[56..58].fill(0xff);
        assert!(segments(&many).is_err());
    }
}

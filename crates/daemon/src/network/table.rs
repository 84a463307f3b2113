//! The kernel's tables of routes below `/proc/net`, line by line: in that of IPv6 the default routes come last, behind
//! however many others.
//!
//! Leaves out: what a line says (`state`, `uplink`).

use std::io::Read;

/// Words of a line that anybody asks for.
pub(super) const WORDS: usize = 10;

/// No line of these tables is longer; one that is, is passed over.
const ROOM: usize = 4096;

/// Shows the words of each line, empty where there are fewer. A table that cannot be read has no lines.
pub(super) fn each_line(path: &str, show: &mut dyn FnMut(&[&str; WORDS])) {
    if let Ok(mut file) = std::fs::File::open(path) {
        each_line_of(&mut file, show);
    }
}

fn each_line_of(file: &mut dyn Read, show: &mut dyn FnMut(&[&str; WORDS])) {
    let (mut room, mut filled, mut passed_over) = ([0; ROOM], 0, false);
    loop {
        let free = room.get_mut(filled..).unwrap_or_default();
        let more = file.read(free).unwrap_or(0);
        filled += more;
        let mut rest = room.get(..filled).unwrap_or_default();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            if !std::mem::take(&mut passed_over) {
                split(line, show);
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        if more == 0 {
            if !passed_over {
                split(rest, show);
            }
            return;
        }
        let left = rest.len();
        passed_over |= left == ROOM;
        room.copy_within(filled - left..filled, 0);
        filled = if left == ROOM { 0 } else { left };
    }
}

fn split(line: &[u8], show: &mut dyn FnMut(&[&str; WORDS])) {
    let mut words = [""; WORDS];
    let text = std::str::from_utf8(line).unwrap_or_default();
    for (word, found) in words.iter_mut().zip(text.split_ascii_whitespace()) {
        *word = found;
    }
    show(&words);
}

/// The lines of a text, as those of a file.
#[cfg(test)]
pub(super) fn each_line_in(text: &str, show: &mut dyn FnMut(&[&str; WORDS])) {
    each_line_of(&mut text.as_bytes(), show);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives so many bytes at once.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            let len = self.1.min(room.len());
            self.0.read(&mut room[..len])
        }
    }

    fn first_words(bytes: &[u8], at_once: usize) -> Vec<String> {
        let mut all = Vec::new();
        each_line_of(&mut Slow(bytes, at_once), &mut |words| all.push(words[0].to_owned()));
        all.retain(|word| !word.is_empty());
        all
    }

    #[test]
    fn lines_that_are_cut_and_a_line_without_end() {
        let long = "x".repeat(2 * ROOM + 7);
        let text = format!("one two\n{long} no\nthree\n\nfour");
        for at_once in [1, 7, ROOM - 1, ROOM, 3 * ROOM] {
            assert_eq!(first_words(text.as_bytes(), at_once), ["one", "three", "four"], "{at_once} at once");
        }
        assert_eq!(first_words(long.as_bytes(), ROOM), [""; 0], "nothing but a line without end");
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, at_once in 1_usize..200) {
            first_words(&bytes, at_once);
        }
    }
}

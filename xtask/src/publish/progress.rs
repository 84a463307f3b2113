//! How far a push is: bars on a terminal, one line per finished piece elsewhere.

use super::upload::Fate;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// The form of a bar.
const FORM: &str = "{prefix:28} [{bar:30}] {bytes:>10}/{total_bytes:10} {msg}";

/// All of a push.
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
}

/// One piece of it.
pub(crate) struct Piece {
    bar: Option<ProgressBar>,
    name: String,
    size: usize,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { bars: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// Starts a piece of `size` bytes.
    pub(crate) fn piece(&self, name: &str, size: usize) -> Piece {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(FORM).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(u64::try_from(size).unwrap_or(u64::MAX)).with_style(style);
            bars.add(bar.with_prefix(name.to_owned()))
        });
        Piece { bar, name: name.to_owned(), size }
    }
}

impl Piece {
    /// So many bytes are there.
    pub(crate) fn at(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    /// All of it is there.
    pub(crate) fn done(self, fate: Fate) {
        let said = match fate {
            Fate::There => "is there".to_owned(),
            Fate::Sent { failures: 0 } => "sent".to_owned(),
            Fate::Sent { failures } => format!("sent, {failures} failures"),
        };
        match self.bar {
            Some(bar) => bar.finish_with_message(said),
            None => println!("{} ({} bytes): {said}", self.name, self.size),
        }
    }
}

//! Columns that line up the way Go's `text/tabwriter` does it.
//!
//! A cell is text that ends in a tab; what follows the last tab of a line belongs to no column. A column is a run
//! of neighbouring lines that have the cell, so a line with fewer cells starts a new column below it.

/// Widths of a table: Go's `minwidth` and `padding`, both in characters. Padding is always blanks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// A column is at least this wide.
    pub(crate) min_width: usize,
    /// Blanks behind the longest cell of a column.
    pub(crate) padding: usize,
}

/// What `status`, `get` and `switch --list` use.
pub(crate) const TIGHT: Table = Table { min_width: 0, padding: 2 };

impl Table {
    /// Lays out `text`, whose cells end in `\t` and lines in `\n`.
    pub(crate) fn layout(self, text: &str) -> String {
        let lines: Vec<Vec<&str>> = text
            .strip_suffix('\n')
            .unwrap_or(text)
            .split('\n')
            .map(|line| line.split('\t').collect())
            .collect();
        let mut widths: Vec<Vec<usize>> =
            lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
        let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..columns {
            let mut first = 0;
            while first < lines.len() {
                // One run of lines that have this column.
                let run = lines.iter().skip(first).take_while(|cells| cells.len() > column + 1).count();
                let widest = lines
                    .iter()
                    .skip(first)
                    .take(run)
                    .filter_map(|cells| cells.get(column))
                    .map(|cell| cell.chars().count() + self.padding)
                    .fold(self.min_width, usize::max);
                for line in widths.iter_mut().skip(first).take(run) {
                    if let Some(width) = line.get_mut(column) {
                        *width = widest;
                    }
                }
                first += run.max(1);
            }
        }
        let mut out = String::new();
        for (cells, widths) in lines.iter().zip(&widths) {
            for (at, cell) in cells.iter().enumerate() {
                out.push_str(cell);
                if let Some(width) = widths.get(at) {
                    let blanks = width.saturating_sub(cell.chars().count());
                    out.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_tab_pads_the_last_column() {
        assert_eq!(TIGHT.layout("a\tbb\t\nccc\td\t\n"), "a    bb  \nccc  d   \n");
    }

    #[test]
    fn a_line_without_the_cell_splits_the_column() {
        let wide = Table { min_width: 10, padding: 5 };
        assert_eq!(
            wide.layout("Machine:\n  Name:\tx\n  Addresses:\ty\nUser:\n  ID:\t7\n"),
            "Machine:\n  Name:          x\n  Addresses:     y\nUser:\n  ID:     7\n"
        );
    }

    #[test]
    fn an_empty_tail_leaves_the_padding() {
        assert_eq!(TIGHT.layout("NAME\tVALUE\nhost\t\n"), "NAME  VALUE\nhost  \n");
    }
}

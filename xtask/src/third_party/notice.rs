//! Licence texts, each once, and above each the copyright lines of all who use it.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The first words of each licence whose text names its owner.
const BEGINS: [(&str, &str); 7] = [
    ("MIT", "Permission is hereby granted, free of charge"),
    ("ISC", "Permission to use, copy, modify, and"),
    ("0BSD", "Permission to use, copy, modify, and"),
    ("BSD-2-Clause", "Redistribution and use in source and binary forms"),
    ("BSD-3-Clause", "Redistribution and use in source and binary forms"),
    ("Zlib", "This software is provided 'as-is'"),
    ("CDLA-Permissive-2.0", "# Community Data License Agreement - Permissive - Version 2.0"),
];

/// What is under one text.
#[derive(Default)]
struct Users {
    /// As the first of them has it.
    text: String,
    /// Copyright lines, and whose they are.
    lines: BTreeMap<String, BTreeSet<String>>,
}

/// All texts so far.
#[derive(Default)]
pub(super) struct Notices(BTreeMap<(String, String), Users>);

impl Notices {
    /// Takes the text of `licence` and the copyright lines out of the files that `name` brings. The Apache licence's text
    /// is known, so nothing is taken of it.
    ///
    /// # Errors
    /// When no file has the text.
    pub(super) fn add(&mut self, licence: &str, name: &str, texts: &[String]) -> Result<()> {
        if licence.starts_with("Apache-2.0") {
            return Ok(());
        }
        let begin = BEGINS.iter().find(|(known, _)| *known == licence);
        let (_, begin) = begin.with_context(|| format!("how the text of {licence} begins is not known"))?;
        let split = texts.iter().find_map(|text| {
            let (head, _) = text.split_at(found(text, begin)?);
            Some((head, text.get(head.len()..)?))
        });
        let (head, body) = split.with_context(|| format!("no file has the text of {licence}"))?;
        let body = body.trim_end();
        let users = self.0.entry((licence.to_owned(), same(body))).or_default();
        if users.text.is_empty() {
            users.text = body.to_owned();
        }
        let lines: Vec<_> = head.lines().map(str::trim).filter(|line| is_copyright(line)).collect();
        let lines = if lines.is_empty() { vec!["(no copyright line)"] } else { lines };
        for line in lines {
            users.lines.entry(line.to_owned()).or_default().insert(name.to_owned());
        }
        Ok(())
    }

    /// Everything, in order.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for ((licence, _), users) in &self.0 {
            let _ = writeln!(text, "\n== {licence}\n");
            for (line, names) in &users.lines {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let _ = writeln!(text, "{line} ({})", names.join(", "));
            }
            let _ = writeln!(text, "\n{}", users.text);
        }
        text
    }
}

/// Where `words` begin in `text`, whatever white space is between them.
fn found(text: &str, words: &str) -> Option<usize> {
    let first = words.split_whitespace().next()?;
    let wanted = same(words);
    let mut starts = text.match_indices(first).map(|(at, _)| at);
    starts.find(|at| {
        let rest = text.get(*at..).unwrap_or_default();
        let end = rest.char_indices().nth(wanted.len() * 2).map_or(rest.len(), |(end, _)| end);
        same(rest.get(..end).unwrap_or_default()).starts_with(&wanted)
    })
}

/// The words alone: texts that are broken into lines differently are the same.
fn same(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_copyright(line: &str) -> bool {
    line.to_lowercase().starts_with("copyright")
        || line.starts_with('©')
        || line.to_lowercase().starts_with("(c) ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIT: &str = "Permission is hereby granted, free of charge, to any person.\nNO WARRANTY.\n";

    #[test]
    fn one_text_has_many_owners() {
        let mut notices = Notices::default();
        let file = |line: &str| vec!["no licence".to_owned(), format!("MIT License\n\n{line}\n\n{MIT}")];
        notices.add("MIT", "tokio", &file("Copyright (c) Tokio Contributors")).unwrap();
        notices.add("MIT", "mio", &file("Copyright (c) 2014 Carl Lerche")).unwrap();
        notices.add("MIT", "tokio-util", &file("Copyright (c) Tokio Contributors")).unwrap();
        notices.add("MIT", "nobody", &[MIT.replace(", to", ",\n   to")]).unwrap();
        notices.add("Apache-2.0", "log", &[]).unwrap();
        assert_eq!(
            notices.text(),
            "\n== MIT\n\n(no copyright line) (nobody)\nCopyright (c) 2014 Carl Lerche (mio)\n\
             Copyright (c) Tokio Contributors (tokio, tokio-util)\n\n\
             Permission is hereby granted, free of charge, to any person.\nNO WARRANTY.\n"
        );
    }

    #[test]
    fn texts_that_differ_stay_apart() {
        let mut notices = Notices::default();
        notices.add("MIT", "one", &[MIT.to_owned()]).unwrap();
        notices.add("MIT", "two", &[format!("{MIT}And one more thing.")]).unwrap();
        assert_eq!(notices.text().matches("== MIT").count(), 2);
    }

    #[test]
    fn a_licence_without_its_text_is_refused() {
        let mut notices = Notices::default();
        let error = notices.add("ISC", "x", &[MIT.to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "no file has the text of ISC");
        assert!(notices.add("WTFPL", "x", &[MIT.to_owned()]).is_err());
        assert!(found("Permission", "Permission is hereby").is_none());
    }
}

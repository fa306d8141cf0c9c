//! The long form of each finding: what happens, why, and where it can be read. One text a code, below `explain/`.

use include_dir::{Dir, include_dir};

static TEXTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/explain");

/// Codes of what makes a file no description at all, before any rule is asked.
pub const READING: [(&str, &str); 7] = [
    ("bad-value", "a value that cannot be"),
    ("duplicate-key", "a key is given twice"),
    ("missing-key", "a table lacks a key"),
    ("syntax", "the file is not TOML"),
    ("unknown-key", "a key that means nothing"),
    ("unknown-value", "a word that is none of the possible ones"),
    ("wrong-type", "a value of another kind than expected"),
];

/// The long form of a code's finding, with its sources; `None` for a code that does not exist.
pub fn explain(code: &str) -> Option<&'static str> {
    TEXTS.get_file(format!("{code}.md"))?.contents_utf8()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::check::RULES;

    fn codes() -> BTreeSet<&'static str> {
        RULES
            .iter()
            .map(|r| r.code)
            .chain(READING.map(|(code, _)| code))
            .collect()
    }

    #[test]
    fn each_code_is_explained_with_sources() {
        for code in codes() {
            let text = explain(code).unwrap_or_else(|| panic!("no explain/{code}.md"));
            let (long, sources) = text
                .split_once("\n\nSources:\n")
                .unwrap_or_else(|| panic!("{code}: no sources"));
            assert!(
                long.split_whitespace().count() >= 25,
                "{code}: too short to teach anything"
            );
            assert!(
                sources
                    .lines()
                    .all(|line| line.starts_with("- ") || line.starts_with("  ")),
                "{code}"
            );
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{code}");
        }
    }

    #[test]
    fn nothing_is_explained_that_does_not_exist() {
        for file in TEXTS.files() {
            let code = file.path().file_stem().unwrap().to_str().unwrap();
            assert!(codes().contains(code), "explain/{code}.md");
        }
    }
}

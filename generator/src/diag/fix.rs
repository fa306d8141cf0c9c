//! Corrections: what to write instead, as edits of the file.

use std::ops::Range;

use super::Spans;

/// One edit of a file: these bytes, replaced by that text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// Bytes of the source; empty for an insertion.
    pub span: Range<usize>,
    /// What stands there afterwards; empty for a removal.
    pub replacement: String,
}

impl Fix {
    /// Another value for a key. `value` is TOML. Nothing if the key is not written in the file.
    pub fn replace(spans: &Spans, path: &str, value: impl Into<String>) -> Option<Fix> {
        spans.value(path).map(|span| Fix {
            span,
            replacement: value.into(),
        })
    }

    /// A line more in a table that has a header: `key = value`. Nothing if the table has none.
    pub fn add(spans: &Spans, source: &str, table: &str, line: &str) -> Option<Fix> {
        let header = spans.value(table)?;
        let rest = source.get(header.end..)?;
        let next = rest.find('\n').map(|at| header.end + at + 1);
        // A table can be there without a header of its own: by that of a table in it, or by dotted keys.
        (source.get(header)? == format!("[{table}]")).then(|| match next {
            Some(at) => Fix {
                span: at..at,
                replacement: format!("{line}\n"),
            },
            None => Fix {
                span: source.len()..source.len(),
                replacement: format!("\n{line}\n"),
            },
        })
    }

    /// The line of a key taken out. Nothing if the key shares its line with something else.
    pub fn remove(spans: &Spans, source: &str, path: &str) -> Option<Fix> {
        let place = spans.place(path)?;
        let start = source.get(..place.key.start)?.rfind('\n').map_or(0, |at| at + 1);
        let rest = source.get(place.value.end..)?;
        let end = rest.find('\n').map_or(source.len(), |at| place.value.end + at + 1);
        let before = source.get(start..place.key.start)?.trim();
        let after = source.get(place.value.end..end)?.trim();
        (before.is_empty() && (after.is_empty() || after.starts_with('#'))).then(|| Fix {
            span: start..end,
            replacement: String::new(),
        })
    }
}

/// The source with the edits made. Edits that overlap or lie outside the source are left out.
pub fn apply(source: &str, fixes: &[Fix]) -> String {
    let (mut text, mut done) = (String::new(), 0);
    for fix in possible(source, fixes) {
        text.push_str(source.get(done..fix.span.start).unwrap_or_default());
        text.push_str(&fix.replacement);
        done = fix.span.end;
    }
    text.push_str(source.get(done..).unwrap_or_default());
    text
}

/// The edits that can be made together, in the order of the source.
pub(super) fn possible<'a>(source: &str, fixes: &'a [Fix]) -> Vec<&'a Fix> {
    let mut sorted: Vec<&Fix> = fixes.iter().collect();
    sorted.sort_by_key(|fix| fix.span.start);
    let mut done = 0;
    sorted.retain(|fix| {
        let fits = fix.span.start >= done && source.get(fix.span.clone()).is_some();
        done = if fits { fix.span.end } else { done };
        fits
    });
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "[mail]\nqueue_days = 1 # a day\noptions = { a = \"b\" }\n";

    fn fixed(fix: Option<Fix>) -> String {
        apply(SOURCE, &fix.into_iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_value_is_replaced_and_the_rest_of_its_line_stays() {
        let fix = Fix::replace(&Spans::of(SOURCE), "mail.queue_days", "5");
        assert_eq!(fixed(fix), SOURCE.replace("= 1", "= 5"));
    }

    #[test]
    fn a_line_is_added_below_the_header() {
        let fix = Fix::add(&Spans::of(SOURCE), SOURCE, "mail", "message_size_mib = 10");
        assert_eq!(
            fixed(fix),
            SOURCE.replace("[mail]\n", "[mail]\nmessage_size_mib = 10\n")
        );
    }

    #[test]
    fn no_line_is_added_to_a_table_without_a_header() {
        for source in ["[mail.options]\na = \"b\"\n", "mail.queue_days = 1\n"] {
            assert_eq!(Fix::add(&Spans::of(source), source, "mail", "x = 1"), None, "{source}");
        }
    }

    #[test]
    fn a_line_is_removed_with_its_comment_but_never_its_neighbours() {
        let spans = Spans::of(SOURCE);
        let fix = Fix::remove(&spans, SOURCE, "mail.queue_days");
        assert_eq!(fixed(fix), SOURCE.replace("queue_days = 1 # a day\n", ""));
        assert_eq!(Fix::remove(&spans, SOURCE, "mail.options.a"), None);
    }

    #[test]
    fn edits_outside_the_source_or_over_one_another_are_left_out() {
        let fix = |span: Range<usize>| Fix {
            span,
            replacement: "x".to_owned(),
        };
        assert_eq!(apply("abc", &[fix(0..2), fix(1..3), fix(7..9)]), "xc");
    }
}

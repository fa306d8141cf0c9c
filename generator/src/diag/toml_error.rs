//! The TOML reader's and serde's errors in the words of somebody who writes such a file.

use std::ops::Range;

use serde::de::DeserializeOwned;

use super::{Diagnostic, Spans, did_you_mean};

/// Reads a TOML document into a type, and gives the places of its keys beside it.
///
/// # Errors
/// What is wrong, with code `syntax`, `unknown-key`, `missing-key`, `unknown-value`, `wrong-type` or `bad-value`.
pub fn parse<T: DeserializeOwned>(source: &str) -> Result<(T, Spans), Vec<Diagnostic>> {
    match toml::from_str(source) {
        Ok(value) => Ok((value, Spans::of(source))),
        Err(error) => Err(vec![from_toml_error(&error, source)]),
    }
}

/// One error of the `toml` crate as a diagnostic. The names that would be right are taken from serde's message.
pub fn from_toml_error(error: &toml::de::Error, source: &str) -> Diagnostic {
    let message = error.message();
    let span = error.span();
    let spans = Spans::of(source);
    let path = span.as_ref().and_then(|s| spans.path_at(s));
    Unwrapped::of(message).map_or_else(
        || other(message, span.clone(), path, source),
        |unwrapped| unwrapped.diagnostic(span.clone(), path),
    )
}

/// What serde says, taken apart. Its sentences are stable: derived code everywhere is built on them.
enum Unwrapped<'a> {
    UnknownKey { name: &'a str, expected: Vec<&'a str> },
    UnknownValue { name: &'a str, expected: Vec<&'a str> },
    Missing { name: &'a str },
    Duplicate { name: &'a str },
    WrongType { found: &'a str, expected: &'a str },
    WrongValue { found: &'a str, expected: &'a str },
}

impl<'a> Unwrapped<'a> {
    fn of(message: &'a str) -> Option<Unwrapped<'a>> {
        let quoted = |rest: &'a str| -> Option<(&'a str, &'a str)> {
            // A name may hold a backquote itself, so the sentence after it decides where it ends.
            let rest = rest.strip_prefix('`')?;
            let end = ["`, expected ", "`, there are no "]
                .iter()
                .find_map(|t| rest.find(t))
                .or_else(|| rest.rfind('`'))?;
            Some((&rest[..end], &rest[end + 1..]))
        };
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let (name, rest) = quoted(rest)?;
            return Some(Unwrapped::UnknownKey {
                name,
                expected: names(rest),
            });
        }
        if let Some(rest) = message.strip_prefix("unknown variant ") {
            let (name, rest) = quoted(rest)?;
            return Some(Unwrapped::UnknownValue {
                name,
                expected: names(rest),
            });
        }
        if let Some(rest) = message.strip_prefix("missing field ") {
            return Some(Unwrapped::Missing { name: quoted(rest)?.0 });
        }
        if let Some(rest) = message.strip_prefix("duplicate field ") {
            return Some(Unwrapped::Duplicate { name: quoted(rest)?.0 });
        }
        if let Some((found, expected)) = message
            .strip_prefix("invalid type: ")
            .and_then(|m| m.rsplit_once(", expected "))
        {
            return Some(Unwrapped::WrongType { found, expected });
        }
        if let Some((found, expected)) = message
            .strip_prefix("invalid value: ")
            .and_then(|m| m.rsplit_once(", expected "))
        {
            return Some(Unwrapped::WrongValue { found, expected });
        }
        None
    }

    fn diagnostic(self, span: Option<Range<usize>>, path: Option<&str>) -> Diagnostic {
        match self {
            Unwrapped::UnknownKey { name, expected } => {
                let table = path.map(parent).filter(|t| !t.is_empty());
                let place = table.map_or_else(|| " at the top of the file".to_owned(), |t| format!(" in `{t}`"));
                let found = Diagnostic::error("unknown-key", format!("unknown key `{name}`{place}"));
                with_help(found.at(span, "not a key of this table"), did_you_mean(name, &expected))
            }
            Unwrapped::UnknownValue { name, expected } => {
                let found = Diagnostic::error("unknown-value", format!("{} cannot be `{name}`", subject(path)));
                let all: Vec<String> = expected.iter().map(|e| format!("`{e}`")).collect();
                let label = if all.is_empty() {
                    String::new()
                } else {
                    format!("possible: {}", all.join(", "))
                };
                let near = super::nearest(name, expected.iter().copied());
                with_help(found.at(span, label), near.map(|n| format!("did you mean `{n}`?")))
            }
            Unwrapped::Missing { name } => {
                let table = path.map_or_else(|| "the file".to_owned(), |p| format!("`{p}`"));
                Diagnostic::error("missing-key", format!("{table} lacks the key `{name}`"))
                    .at(span, format!("`{name}` is missing here"))
                    .help(format!("add `{name}`"))
            }
            Unwrapped::Duplicate { name } => {
                Diagnostic::error("duplicate-key", format!("the key `{name}` is given twice"))
                    .at(span, "again here")
                    .help("keep one of the two")
            }
            Unwrapped::WrongType { found, expected } => {
                let said = Diagnostic::error("wrong-type", format!("{} has the wrong type", subject(path)));
                let label = format!("expected {}, found {}", kind(expected), kind(found));
                with_help(said.at(span, label), type_help(found, expected, path))
            }
            Unwrapped::WrongValue { found, expected } => {
                Diagnostic::error("bad-value", format!("{} has an impossible value", subject(path)))
                    .at(span, format!("expected {}, found {}", kind(expected), kind(found)))
            }
        }
    }
}

fn with_help(diagnostic: Diagnostic, help: Option<String>) -> Diagnostic {
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// Everything that is not one of serde's own sentences: a type's own message, or the TOML reader's.
fn other(message: &str, span: Option<Range<usize>>, path: Option<&str>, source: &str) -> Diagnostic {
    match message {
        "invalid IPv4 address syntax" => {
            Diagnostic::error("bad-value", format!("{} is not an IPv4 address", subject(path)))
                .at(span, "not an IPv4 address")
                .help("write four numbers from 0 to 255 with dots between: \"192.168.1.10\"")
        }
        "invalid IP address syntax" => Diagnostic::error("bad-value", format!("{} is not a network", subject(path)))
            .at(span, "not a network")
            .help("write an address, a slash and the prefix length: \"192.168.1.0/24\""),
        message if toml::de::DeTable::parse(source).is_err() => {
            Diagnostic::error("syntax", "this is not TOML").at(span, message.replace('\n', ", "))
        }
        message => {
            Diagnostic::error("bad-value", format!("{} has an impossible value", subject(path))).at(span, message)
        }
    }
}

fn subject(path: Option<&str>) -> String {
    path.map_or_else(|| "a value".to_owned(), |p| format!("`{p}`"))
}

fn parent(path: &str) -> &str {
    path.rfind('.').map_or("", |dot| &path[..dot])
}

/// The names in "expected one of `a`, `b`" and "expected `a` or `b`".
fn names(rest: &str) -> Vec<&str> {
    rest.split('`').skip(1).step_by(2).collect()
}

/// serde's word for a kind of value in words of TOML.
fn kind(word: &str) -> String {
    let (word, value) = word.split_once(' ').map_or((word, ""), |(w, v)| (w, v));
    match (word, value) {
        ("string", v) if !v.is_empty() => format!("the string {v}"),
        ("a" | "an" | "borrowed", _) if !value.is_empty() => match value {
            "sequence" => "an array".into(),
            "map" => "a table".into(),
            "string" => "a string".into(),
            "boolean" => "`true` or `false`".into(),
            _ => format!("{word} {value}"),
        },
        ("integer" | "boolean", v) if v.starts_with('`') => format!("the {word} {v}"),
        ("floating", v) => format!("the number {}", v.trim_start_matches("point ")),
        ("u8" | "u16" | "u32" | "u64" | "usize", "") => "a whole number, not negative".into(),
        ("i8" | "i16" | "i32" | "i64" | "isize", "") => "a whole number".into(),
        ("f32" | "f64", "") => "a number".into(),
        ("map", "") | ("struct", _) => "a table".into(),
        ("sequence", "") => "an array".into(),
        (word, "") => word.to_owned(),
        (word, value) => format!("{word} {value}"),
    }
}

fn type_help(found: &str, expected: &str, path: Option<&str>) -> Option<String> {
    let name = path.map_or("name", |p| p.rsplit('.').next().unwrap_or(p));
    match (found, expected) {
        ("map", "a sequence") => Some(format!(
            "each entry begins with its own header in double brackets: `[[{name}]]`"
        )),
        ("sequence", e) if e.starts_with("struct") => Some(format!("there is one such table: `[{name}]`")),
        (f, "a sequence") if f.starts_with("string") => Some(format!("put it into brackets: `{name} = [...]`")),
        (f, "a string") if !f.starts_with("map") && !f.starts_with("seq") => {
            Some("put the value into double quotes".into())
        }
        (f, e) if f.starts_with("string") && matches!(e, "u8" | "u16" | "u32" | "u64" | "usize" | "a boolean") => {
            Some("write it without quotes".into())
        }
        _ => None,
    }
}

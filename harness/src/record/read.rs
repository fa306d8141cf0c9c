//! Reads a record back from its file; an error names the line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Event;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the record {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no event.
    #[error("{}:{line}: {reason}\n{line:>6} | {text}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// Its beginning.
        text: String,
    },
}

/// Reads a record (`events.jsonl`). Every line must be a whole event, and moments must not go back.
///
/// # Errors
/// The file cannot be read, or a line is not what it should be.
pub fn read(path: &Path) -> Result<Vec<Event>, ReadError> {
    let text = fs::read_to_string(path).map_err(|source| ReadError::File {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|Flaw { line, reason }| ReadError::Line {
        path: path.to_owned(),
        line,
        reason,
        text: text
            .lines()
            .nth(line - 1)
            .unwrap_or_default()
            .chars()
            .take(100)
            .collect(),
    })
}

/// What is wrong with which line.
struct Flaw {
    line: usize,
    reason: String,
}

fn parse(text: &str) -> Result<Vec<Event>, Flaw> {
    let mut events: Vec<Event> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let flaw = |reason: String| Flaw {
            line: index + 1,
            reason,
        };
        let Some(line) = line.strip_suffix('\n') else {
            return Err(flaw(
                "the line is cut off: the harness was killed, or the disk was full, while it was written".into(),
            ));
        };
        let event: Event = serde_json::from_str(line).map_err(|error| flaw(format!("no event: {error}")))?;
        if let Some(before) = events.last()
            && before.at > event.at
        {
            return Err(flaw(format!(
                "the clock goes back, from {} to {} microseconds",
                before.at, event.at
            )));
        }
        events.push(event);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(contents: &str) -> String {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("events.jsonl");
        fs::write(&path, contents).expect("written");
        let error = read(&path).expect_err("not a record").to_string();
        error.replace(&dir.path().display().to_string(), "DIR")
    }

    const END: &str = "{\"at\":5,\"event\":\"end\"}\n";

    #[test]
    fn an_unknown_event_is_named_with_its_line() {
        let error = error_of(&format!("{END}{{\"at\":6,\"event\":\"party\"}}\n"));
        assert!(error.starts_with("DIR/events.jsonl:2: no event: unknown variant `party`, expected one of `begin`"));
        assert!(error.ends_with("\n     2 | {\"at\":6,\"event\":\"party\"}"), "{error}");
    }

    #[test]
    fn a_line_that_was_cut_off_is_an_error() {
        insta::assert_snapshot!(error_of(&format!("{END}{{\"at\":6,\"ev")), @r#"
        DIR/events.jsonl:2: the line is cut off: the harness was killed, or the disk was full, while it was written
             2 | {"at":6,"ev
        "#);
    }

    #[test]
    fn a_clock_that_goes_back_is_an_error() {
        insta::assert_snapshot!(error_of(&format!("{END}{{\"at\":4,\"event\":\"end\"}}\n")), @r#"
        DIR/events.jsonl:2: the clock goes back, from 5 to 4 microseconds
             2 | {"at":4,"event":"end"}
        "#);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/events.jsonl"))
            .expect_err("missing")
            .to_string();
        assert!(
            error.starts_with("cannot read the record /nowhere/events.jsonl"),
            "{error}"
        );
    }
}

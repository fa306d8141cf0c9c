//! A description as it was read: the types, the text, and where each key lies in it.

use std::path::Path;

use super::Cluster;
use crate::diag::{self, Diagnostic, Spans};

/// A description that could be read. Whether it is a good one, [`crate::check`] says.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The description.
    pub cluster: Cluster,
    /// Name of the file, for messages.
    pub name: String,
    /// Text of the file, for messages.
    pub source: String,
    /// The places of the keys.
    pub spans: Spans,
}

/// Why a description could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The text is no description. The error's own text is the whole message: file, line, caret, help.
    #[error("{}", diag::render(.diagnostics, .name, .source_text, false))]
    Malformed {
        /// The file.
        name: String,
        /// Its text.
        source_text: String,
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
    },
}

impl Cluster {
    /// Reads a description from a file.
    ///
    /// # Errors
    /// [`LoadError::Io`] if the file cannot be read or is not UTF-8, else as [`Cluster::parse`].
    pub fn load(path: &Path) -> Result<Loaded, LoadError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Cluster::parse(&name, &text),
            Err(source) => Err(LoadError::Io { name, source }),
        }
    }

    /// Reads a description from a text; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`LoadError::Malformed`] for wrong syntax, an unknown or missing key, a value of the wrong type.
    pub fn parse(name: &str, text: &str) -> Result<Loaded, LoadError> {
        let (name, source) = (name.to_owned(), text.to_owned());
        match diag::parse(text) {
            Ok((cluster, spans)) => Ok(Loaded {
                cluster,
                name,
                source,
                spans,
            }),
            Err(diagnostics) => Err(LoadError::Malformed {
                name,
                source_text: source,
                diagnostics,
            }),
        }
    }
}

impl LoadError {
    /// The message for people, in colour if asked.
    pub fn render(&self, color: bool) -> String {
        match self {
            LoadError::Io { .. } => format!("error: {self}\n"),
            LoadError::Malformed {
                name,
                source_text,
                diagnostics,
            } => diag::render(diagnostics, name, source_text, color),
        }
    }
}

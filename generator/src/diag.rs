//! Messages that point at a place in a TOML file: file, line, caret, help.
//!
//! [`parse`] reads any TOML document into a type and says what is wrong with it in a [`Diagnostic`]; the rules of a
//! checker make further ones, with the places from [`Spans`]. [`render`] shows them to people, [`to_json`] and [`sarif`] to programs.
//! Nothing here knows about clusters, so every TOML file of the workspace speaks with one voice.
//!
//! ```
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Greeting {
//!     greeting: String,
//! }
//!
//! let source = "greting = \"hello\"\n";
//! let diagnostics = generator::diag::parse::<Greeting>(source).unwrap_err();
//! let shown = generator::diag::render(&diagnostics, "hello.toml", source, false);
//! assert!(shown.contains("hello.toml:1:1"));
//! assert!(shown.contains("did you mean `greeting`?"));
//! ```

use std::borrow::Cow;
use std::ops::Range;

mod fix;
mod json;
mod nearest;
pub mod sarif;
mod show;
mod spans;
mod toml_error;

pub use fix::{Fix, apply};
pub use json::{line_column, to_json};
pub use nearest::{did_you_mean, nearest};
pub use show::render;
pub use spans::{Place, Spans};
pub use toml_error::{from_toml_error, parse};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The input is not used.
    Error,
    /// The input is used; the operator should know.
    Warning,
}

/// One thing to say about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable kebab-case name of the rule, e.g. `duplicate-address`.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where: bytes of the source. `None` if the fault has no place in the file.
    pub span: Option<Range<usize>>,
    /// Words beside the caret; may be empty.
    pub label: String,
    /// Other places that belong to the fault (the first of two equal names), each with its words.
    pub related: Vec<(Range<usize>, String)>,
    /// Why it matters.
    pub why: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// The mend as edits of the file, made together; empty if it takes a decision that only people can make.
    pub fixes: Vec<Fix>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code: code.into(),
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            related: Vec::new(),
            why: None,
            help: None,
            fixes: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(code, message)
        }
    }

    /// The place, and the words beside the caret.
    #[must_use]
    pub fn at(mut self, span: Option<Range<usize>>, label: impl Into<String>) -> Diagnostic {
        self.span = span;
        self.label = label.into();
        self
    }

    /// A further place.
    #[must_use]
    pub fn related(mut self, span: Option<Range<usize>>, label: impl Into<String>) -> Diagnostic {
        self.related.extend(span.map(|s| (s, label.into())));
        self
    }

    /// Why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Diagnostic {
        self.why = Some(why.into());
        self
    }

    /// How to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// The mend as edits of the file. They belong to the help, which has to be given too.
    #[must_use]
    pub fn fix(mut self, fixes: impl IntoIterator<Item = Fix>) -> Diagnostic {
        self.fixes.extend(fixes);
        self
    }

    /// True for an error, false for a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

#[cfg(test)]
mod tests;

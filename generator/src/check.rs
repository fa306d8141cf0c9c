//! The rules: each finding has a code, a place, what is wrong, why it matters and how to mend it.
//!
//! A rule is a function over a [`Loaded`] description; [`RULES`] lists what the rules can say. Errors stop a rendering,
//! warnings do not. Nothing here reads files or panics, whatever the description holds.

use crate::diag::Severity;
use crate::secrets::Secrets;
use crate::spec::Loaded;

mod addresses;
mod database;
mod dns;
mod mail;
mod mailboxes;
mod names;
mod options;
mod rules;
mod secrets;
mod topology;

pub use crate::diag::Diagnostic as Finding;
pub use rules::{RULES, Rule};

/// Everything that an expert would object to, in the order of the file.
pub fn check(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Findings {
        loaded,
        found: Vec::new(),
    };
    addresses::check(&mut findings);
    names::check(&mut findings);
    topology::check(&mut findings);
    mailboxes::check(&mut findings);
    database::check(&mut findings);
    mail::check(&mut findings);
    options::check(&mut findings);
    dns::check(&mut findings);
    let mut found = findings.found;
    found.sort_by_key(|f| f.span.as_ref().map_or(usize::MAX, |s| s.start));
    found
}

/// What is wrong with the secrets. The findings name keys of the secrets file, never a value, and have no place: a
/// message that shows the line would show the secret.
pub fn check_secrets(secrets: &Secrets) -> Vec<Finding> {
    secrets::check(secrets)
}

/// True if one of the findings is an error.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}

/// What the rules work on, and where they leave what they find.
struct Findings<'a> {
    loaded: &'a Loaded,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn cluster(&self) -> &'a crate::spec::Cluster {
        &self.loaded.cluster
    }

    /// The place of a value, or of the table in which it would stand.
    fn span(&self, path: &str) -> Option<std::ops::Range<usize>> {
        self.loaded.spans.value_or_enclosing(path)
    }

    /// A finding of a rule of [`RULES`], at a value.
    fn at(&self, code: &'static str, path: &str, label: impl Into<String>, message: impl Into<String>) -> Finding {
        let severity = rules::severity(code);
        Finding {
            severity,
            ..Finding::error(code, message)
        }
        .at(self.span(path), label)
    }

    fn push(&mut self, finding: Finding) {
        self.found.push(finding);
    }
}

#[cfg(test)]
mod tests;

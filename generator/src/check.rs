//! The rules: each finding has a code, a place, what is wrong, why it matters and how to mend it.
//!
//! A rule is a function over a [`Loaded`] description; [`RULES`] lists what the rules can say. Errors stop a rendering,
//! warnings do not. Nothing here reads files or panics, whatever the description holds.

use time::OffsetDateTime;

use crate::diag::{Fix, Severity, Spans};
use crate::secrets::Secrets;
use crate::spec::{Cluster, Loaded};

mod access;
mod addresses;
mod authenticity;
mod authorities;
mod balancing;
mod certificates;
mod clocks;
mod database;
mod dns;
mod election;
mod explain;
mod filter;
mod groupware;
mod holdings;
mod iredmail;
mod mail;
mod mailboxes;
mod mariadb;
mod names;
mod options;
mod pmg;
mod pool;
mod programs;
mod queue;
mod rules;
mod secrets;
mod silence;
mod storage;
mod store;
mod target;
mod topology;
mod zone;

pub use crate::diag::Diagnostic as Finding;
pub use explain::{READING, explain};
pub use rules::{RULES, Rule};

/// What a description gives rise to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// What is told, in the order of the file.
    pub findings: Vec<Finding>,
    /// What the description silences.
    pub silenced: Vec<Silenced>,
}

/// A finding that the operator accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silenced {
    /// The finding.
    pub finding: Finding,
    /// Why it is accepted.
    pub reason: String,
}

/// Everything that an expert would object to and that the description does not silence, in the order of the file.
pub fn check(loaded: &Loaded) -> Vec<Finding> {
    examine(loaded).findings
}

/// As [`check`], with what was silenced.
pub fn examine(loaded: &Loaded) -> Examined {
    let mut findings = Findings {
        loaded,
        found: Vec::new(),
    };
    for rules in [
        addresses::check,
        access::check,
        clocks::check,
        names::check,
        topology::check,
        mailboxes::check,
        balancing::check,
        programs::check,
        storage::check,
        pool::check,
        store::check,
        election::check,
        database::check,
        mariadb::check,
        queue::check,
        mail::check,
        filter::check,
        groupware::check,
        target::check,
        iredmail::check,
        pmg::check,
        options::check,
        dns::check,
        zone::check,
        authenticity::check,
    ] {
        rules(&mut findings);
    }
    let mut examined = silence::apply(findings);
    let start = |finding: &Finding| finding.span.as_ref().map_or(usize::MAX, |span| span.start);
    examined.findings.sort_by_key(start);
    examined.silenced.sort_by_key(|silenced| start(&silenced.finding));
    examined
}

/// What is wrong with the secrets. The findings name keys of the secrets file, never a value, and have no place: a
/// message that shows the line would show the secret.
pub fn check_secrets(secrets: &Secrets) -> Vec<Finding> {
    secrets::check(secrets)
}

/// What is wrong with the certificates among the secrets at that time. Without a place, as [`check_secrets`].
pub fn check_certificates(secrets: &Secrets, cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    let mut found = certificates::check(secrets, cluster, now);
    found.extend(authorities::check(secrets, cluster));
    found
}

/// What is wrong with one certificate among the secrets at that time: `certificates.NODE`, or that for mail programs
/// ([`crate::secrets::PROGRAMS`]).
pub fn check_certificate(secrets: &Secrets, cluster: &Cluster, name: &str, now: OffsetDateTime) -> Vec<Finding> {
    certificates::check_one(secrets, cluster, name, now)
}

/// Everything about a file of secrets at that time: weak ones, what it lacks and what nothing needs, certificates.
pub fn examine_secrets(secrets: &Secrets, cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    let mut found = secrets::check(secrets);
    found.extend(holdings::check(secrets, cluster));
    found.extend(check_certificates(secrets, cluster, now));
    found
}

/// The names of passwords that the check refuses, as [`Secrets::rotate`] takes them.
pub(crate) fn refused_secrets(secrets: &Secrets) -> Vec<String> {
    secrets::refused(secrets)
}

/// True if one of the findings is an error.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}

/// A text as a TOML string.
fn toml(text: &str) -> String {
    ::toml::Value::from(text).to_string()
}

/// A secret that stands in the description. The place is the table: a message that shows the line would show the secret.
fn in_the_open(findings: &Findings<'_>, table: &str, key: &str, value: &str) -> Finding {
    let source = &findings.loaded.source;
    let shows = |span: &std::ops::Range<usize>| source.get(span.clone()).is_some_and(|text| text.contains(value));
    let parent = table.split('.').next().unwrap_or(table);
    let span = [table, parent]
        .iter()
        .filter_map(|path| findings.span(path))
        .find(|span| !shows(span));
    let mut finding = findings.at(
        "secret-in-description",
        table,
        "",
        format!("`{table}` holds a secret: `{key}`"),
    );
    finding.span = span;
    finding.label = format!("`{key}` stands here");
    finding
        .why("a description is reviewed, copied and kept in version control, where everybody can read the secret for ever")
        .help("remove the option and give the secret another value: secrets are made by the generator and kept in a file of mode 0600")
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
        rules::finding(code, message).at(self.span(path), label)
    }

    /// The correction that gives a key another value, written as TOML; none if the key is not in the file.
    fn instead(&self, path: &str, value: impl Into<String>) -> Option<Fix> {
        Fix::replace(&self.loaded.spans, path, value)
    }

    /// The correction that takes a key out.
    fn without(&self, path: &str) -> Option<Fix> {
        Fix::remove(&self.loaded.spans, &self.loaded.source, path)
    }

    /// The correction that sets a key of a table, whether it is there or not.
    fn with(&self, table: &str, key: &str, value: &str) -> Option<Fix> {
        let spans = &self.loaded.spans;
        let written = spans
            .value(&Spans::join(table, key))
            .and_then(|span| self.loaded.source.get(span));
        if written == Some(value) {
            return None;
        }
        Fix::replace(spans, &Spans::join(table, key), value)
            .or_else(|| Fix::add(spans, &self.loaded.source, table, &format!("{key} = {value}")))
    }

    fn push(&mut self, finding: Finding) {
        self.found.push(finding);
    }
}

#[cfg(test)]
mod tests;

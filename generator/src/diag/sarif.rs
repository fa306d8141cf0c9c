//! Diagnostics for code-review tools: SARIF 2.1.0 (OASIS standard, 2020), as much of it as a finding needs.
//!
//! The types are few and written here: the crates for it are generated from the whole schema at build time.

use std::ops::Range;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Diagnostic, Severity, line_column};

/// A rule, as a review tool lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText<'a> {
    /// Its code.
    pub code: &'a str,
    /// How bad its findings are.
    pub severity: Severity,
    /// One line.
    pub summary: &'a str,
    /// The long form, Markdown.
    pub long: &'a str,
}

/// The findings of one file.
#[derive(Debug, Clone, Copy)]
pub struct Examined<'a> {
    /// The file as it was named.
    pub name: &'a str,
    /// Its text.
    pub source: &'a str,
    /// What is told.
    pub findings: &'a [Diagnostic],
    /// What is silenced in the file, and why.
    pub silenced: &'a [(Diagnostic, String)],
}

/// A SARIF log of one run of `tool` over some files.
pub fn to_sarif(tool: &str, version: &str, rules: &[RuleText<'_>], files: &[Examined<'_>]) -> serde_json::Value {
    let results = files.iter().flat_map(|file| {
        let told = file.findings.iter().map(|finding| result(rules, file, finding, None));
        let silenced = file.silenced.iter();
        told.chain(silenced.map(|(finding, reason)| result(rules, file, finding, Some(reason))))
    });
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: tool.to_owned(),
                    semantic_version: version.to_owned(),
                    rules: rules.iter().map(ReportingDescriptor::of).collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            results: results.collect(),
        }],
    };
    // The types hold strings and numbers only, which JSON can always say.
    serde_json::to_value(log).unwrap_or_default()
}

fn result(rules: &[RuleText<'_>], file: &Examined<'_>, finding: &Diagnostic, reason: Option<&String>) -> Outcome {
    let words = [Some(finding.message.clone()), finding.why.clone(), finding.help.clone()];
    let sentence = |words: String| {
        let mut letters = words.chars();
        let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        let end = if words.ends_with(['.', '?', '!']) { "" } else { "." };
        format!("{first}{}{end}", letters.as_str())
    };
    let text: Vec<String> = words.into_iter().flatten().map(sentence).collect();
    let related = finding.related.iter().map(|(span, label)| Location {
        message: Some(Message::of(label)),
        ..Location::of(file, Some(span))
    });
    Outcome {
        rule_id: finding.code.to_string(),
        rule_index: rules.iter().position(|rule| rule.code == finding.code),
        level: level(finding.severity),
        message: Message::of(&text.join(" ")),
        locations: [Location::of(file, finding.span.as_ref())],
        related_locations: related.collect(),
        fixes: fixes(file, finding),
        suppressions: reason.map(|reason| {
            [Suppression {
                kind: "inSource",
                justification: reason.clone(),
            }]
        }),
    }
}

fn fixes(file: &Examined<'_>, finding: &Diagnostic) -> Vec<SarifFix> {
    if finding.fixes.is_empty() {
        return Vec::new();
    }
    let replacements = finding.fixes.iter().map(|fix| Replacement {
        deleted_region: Region::of(file.source, &fix.span),
        inserted_content: Message::of(&fix.replacement),
    });
    vec![SarifFix {
        description: Message::of(finding.help.as_deref().unwrap_or_default()),
        artifact_changes: [Change {
            artifact_location: Artifact::of(file.name),
            replacements: replacements.collect(),
        }],
    }]
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// What a path keeps as it is in a URI (RFC 3986 section 3.3).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: String,
    semantic_version: String,
    rules: Vec<ReportingDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportingDescriptor {
    id: String,
    short_description: Message,
    help: Help,
    default_configuration: Configuration,
}

impl ReportingDescriptor {
    fn of(rule: &RuleText<'_>) -> ReportingDescriptor {
        ReportingDescriptor {
            id: rule.code.to_owned(),
            short_description: Message::of(rule.summary),
            help: Help {
                text: rule.long.to_owned(),
                markdown: rule.long.to_owned(),
            },
            default_configuration: Configuration {
                level: level(rule.severity),
            },
        }
    }
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixes: Vec<SarifFix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressions: Option<[Suppression; 1]>,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

impl Message {
    fn of(text: &str) -> Message {
        Message { text: text.to_owned() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

impl Location {
    fn of(file: &Examined<'_>, span: Option<&Range<usize>>) -> Location {
        Location {
            physical_location: PhysicalLocation {
                artifact_location: Artifact::of(file.name),
                region: span.map(|span| Region::of(file.source, span)),
            },
            message: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: Artifact,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

impl Artifact {
    /// Relative as it was named, so that a tool finds it in its own copy; absolute as a `file` URI (RFC 8089).
    fn of(name: &str) -> Artifact {
        let path = utf8_percent_encode(name, PATH);
        let scheme = if name.starts_with('/') { "file://" } else { "" };
        Artifact {
            uri: format!("{scheme}{path}"),
        }
    }
}

/// Lines and columns from 1; the end is the column after the last character.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

impl Region {
    fn of(source: &str, span: &Range<usize>) -> Region {
        let (start_line, start_column) = line_column(source, span.start);
        let (end_line, end_column) = line_column(source, span.end.max(span.start));
        Region {
            start_line,
            start_column,
            end_line,
            end_column,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifFix {
    description: Message,
    artifact_changes: [Change; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    artifact_location: Artifact,
    replacements: Vec<Replacement>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replacement {
    deleted_region: Region,
    inserted_content: Message,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    justification: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Fix;

    #[test]
    fn a_finding_has_region_fix_and_suppression() {
        let source = "a = 1\nä = 2\n";
        let at = source.find('2').unwrap();
        let finding = Diagnostic::error("odd", "the value is odd")
            .at(Some(at..at + 1), "here")
            .related(Some(0..1), "first")
            .why("it matters")
            .help("write 3")
            .fix([Fix {
                span: at..at + 1,
                replacement: "3".into(),
            }]);
        let rule = RuleText {
            code: "odd",
            severity: Severity::Error,
            summary: "an odd value",
            long: "Long.",
        };
        let file = Examined {
            name: "a folder/f.toml",
            source,
            findings: std::slice::from_ref(&finding),
            silenced: &[(finding.clone(), "it is meant so".into())],
        };
        let log = to_sarif("tool", "0.1.0", &[rule], &[file]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&log).unwrap());
    }
}

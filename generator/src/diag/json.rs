//! Diagnostics for programs.

use serde_json::{Value, json};

use super::Diagnostic;

/// Line and column of a byte offset, both from 1; the column counts characters. Beyond the end: the end.
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(source.len());
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    let before = &source[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// `{"file", "errors", "warnings", "findings": [{"code", "severity", "message", "line", "column", "label", "related",
/// "why", "help", "fixes"}]}`; what a finding does not have is `null` or an empty list. A fix has `start` and `end`, bytes
/// of the file from 0, and the `replacement`.
pub fn to_json(diagnostics: &[Diagnostic], file_name: &str, source: &str) -> Value {
    let findings: Vec<Value> = diagnostics
        .iter()
        .map(|d| {
            let place = d.span.as_ref().map(|span| line_column(source, span.start));
            let related: Vec<Value> = d
                .related
                .iter()
                .map(|(span, label)| {
                    let (line, column) = line_column(source, span.start);
                    json!({ "line": line, "column": column, "label": label })
                })
                .collect();
            let fixes: Vec<Value> = d
                .fixes
                .iter()
                .map(|fix| json!({ "start": fix.span.start, "end": fix.span.end, "replacement": fix.replacement }))
                .collect();
            json!({
                "code": d.code,
                "severity": d.severity,
                "message": d.message,
                "line": place.map(|p| p.0),
                "column": place.map(|p| p.1),
                "label": (!d.label.is_empty()).then_some(&d.label),
                "related": related,
                "why": d.why,
                "help": d.help,
                "fixes": fixes,
            })
        })
        .collect();
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    json!({ "file": file_name, "errors": errors, "warnings": diagnostics.len() - errors, "findings": findings })
}

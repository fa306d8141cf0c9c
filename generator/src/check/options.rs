//! Raw options of any program: names and values that would break the file which they are written into.

use super::Findings;
use crate::diag::Spans;

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let tables = [
        ("database.options", &cluster.database.options),
        ("mail.options", &cluster.mail.options),
    ];
    for (table, options) in tables {
        for (key, value) in options {
            let Some(fault) = fault(key, value) else { continue };
            let finding = findings
                .at(
                    "bad-option",
                    &Spans::join(table, key),
                    fault,
                    format!("{key:?} cannot be written as an option"),
                )
                .why("it would end its line and begin another one, or be no option at all")
                .help("a name has letters, digits, `_`, `-` and `.`; a value is one line");
            findings.push(finding);
        }
    }
}

fn fault(key: &str, value: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if key.is_empty() || !key.bytes().all(plain) {
        Some("not the name of an option")
    } else if value.chars().any(|c| c.is_control() && c != '\t') {
        Some("a value of more than one line")
    } else {
        None
    }
}

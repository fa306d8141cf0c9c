//! What the check can find: the list, and the long form of each.

use super::{Outcome, Status};
use crate::check::{READING, RULES, explain as long_form};
use crate::diag::{Severity, did_you_mean, nearest, sarif::RuleText};

/// All codes, one a line.
pub(super) fn list() -> String {
    let width = RULES.iter().map(|r| r.code.len()).max().unwrap_or(0);
    let line = |r: &crate::check::Rule| format!("{:7}  {:width$}  {}\n", word(r.severity), r.code, r.summary);
    RULES.iter().map(line).collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Everything that can be said, rules and what makes a file no description.
pub(super) fn texts() -> Vec<RuleText<'static>> {
    let text = |code, severity, summary| RuleText {
        code,
        severity,
        summary,
        long: long_form(code).unwrap_or_default(),
    };
    let rules = RULES.iter().map(|r| text(r.code, r.severity, r.summary));
    let reading = READING
        .iter()
        .map(|(code, summary)| text(code, Severity::Error, summary));
    rules.chain(reading).collect()
}

/// The long form of a code.
pub(super) fn explain(code: &str) -> Result<Outcome, Outcome> {
    let texts = texts();
    let Some(rule) = texts.iter().find(|text| text.code == code) else {
        let codes: Vec<&str> = texts.iter().map(|text| text.code).collect();
        let help = match nearest(code, codes.iter().copied()) {
            Some(_) => did_you_mean(code, &codes).unwrap_or_default(),
            None => "`generator check --rules` lists the codes".to_owned(),
        };
        return Err(Outcome::fault(
            Status::BadInput,
            format!("there is no rule {code:?}; {help}"),
        ));
    };
    let silence = match RULES.iter().find(|r| r.code == code) {
        Some(rule) if rule.silenceable => "It can be silenced with a reason: [[silence]] code, reason, at.",
        Some(_) => "It cannot be silenced.",
        None => "The file is not read as a description; no rule is asked.",
    };
    Ok(Outcome::holds(format!(
        "{}[{code}]: {}\n\n{}\n{silence}\n",
        word(rule.severity),
        rule.summary,
        rule.long
    )))
}

//! The steps of the scenario: each was begun, ended, and came to what was expected.

use std::collections::BTreeMap;

use super::history::History;
use super::verdict::{Code, Reason};
use crate::record::{Event, StepResult, What};

/// A step that was begun.
struct Begun<'a> {
    kind: &'a str,
    title: &'a str,
    ended: bool,
}

/// Judges the steps. Steps after one that did not hold may be missing: that is the consequence, not the reason.
pub(super) fn judge(history: &History) -> Vec<Reason> {
    let mut begun: BTreeMap<usize, Begun> = BTreeMap::new();
    let mut reasons = Vec::new();
    let mut doubt = |code: Code, detail: String| reasons.push(Reason::new(code, detail));
    for Event { what, .. } in history.events {
        match what {
            What::StepBegin { step, .. } if begun.contains_key(step) => {
                doubt(Code::RecordMalformed, format!("step {} begins twice", step + 1));
            }
            What::StepBegin { step, kind, title } => {
                begun.insert(
                    *step,
                    Begun {
                        kind,
                        title,
                        ended: false,
                    },
                );
            }
            What::StepEnd { step, result } => match begun.get_mut(step) {
                Some(open) if !open.ended => {
                    open.ended = true;
                    let told = |detail: &str| format!("step {}, {}: {detail}", step + 1, open.title);
                    match result {
                        StepResult::Held { .. } => {}
                        StepResult::Broken { detail } => doubt(Code::StepBroken(open.kind.into()), told(detail)),
                        StepResult::Inconclusive { detail } => {
                            doubt(Code::StepInconclusive(open.kind.into()), told(detail));
                        }
                    }
                }
                _ => doubt(
                    Code::RecordMalformed,
                    format!("step {} ends, but was not under way", step + 1),
                ),
            },
            _ => {}
        }
    }
    let all_held = reasons.is_empty();
    for (step, open) in begun.iter().filter(|(_, open)| !open.ended) {
        reasons.push(Reason::new(
            Code::StepUnfinished,
            format!("step {}, {}: it has no end", step + 1, open.title),
        ));
    }
    if all_held {
        let missing: Vec<String> = (0..history.steps)
            .filter(|step| !begun.contains_key(step))
            .map(|step| (step + 1).to_string())
            .collect();
        if !missing.is_empty() {
            let detail = format!(
                "planned steps that were never begun: {}",
                super::verdict::some_of(&missing)
            );
            reasons.push(Reason::new(Code::StepUnfinished, detail));
        }
    }
    reasons
}

//! `harness list`: the scenarios, what they show, and what they promise.

use super::exit::Exit;
use super::library::{self, Entry, Shelf, Unusable};
use crate::scenario::Stage;
use crate::scenario::plan::budget_lines;

/// Prints all scenarios.
pub fn run() -> Result<Exit, Unusable> {
    let color = super::color_on_stderr();
    let plain = library::all(Shelf::Plain, color)?;
    let must_fail = library::all(Shelf::MustFail, color)?;
    super::say(text(&plain, &must_fail));
    Ok(Exit::Holds)
}

fn text(plain: &[Entry], must_fail: &[Entry]) -> String {
    let mut text = String::new();
    for entry in plain {
        let head = &entry.scenario().head;
        let machines = match entry.scenario().stage() {
            Stage::Machines => " (machines only)",
            Stage::Fake => " (simulation only)",
            Stage::Real => "",
        };
        text += &format!("{:<18} on {}{machines}: {}\n", head.name, head.cluster, head.summary);
        let with_store = head.budget_with_store.as_ref().map(budget_lines).unwrap_or_default();
        for (name, budgets) in [
            ("budgets", budget_lines(&head.budget)),
            ("with a mail store", with_store),
        ] {
            if !budgets.is_empty() {
                text += &format!("{:<18} {name}: {}\n", "", budgets.join(", "));
            }
        }
    }
    if !must_fail.is_empty() {
        text +=
            "\nThese must come out as failed; where no machine is named, the defect is planted on the simulation:\n";
    }
    for entry in must_fail {
        let head = &entry.scenario().head;
        let reason = head
            .must_fail
            .as_ref()
            .map(|must_fail| must_fail.reason.as_str())
            .unwrap_or_default();
        text += &format!("{:<26} {:<24} {}\n", head.name, reason, head.summary);
    }
    text
}

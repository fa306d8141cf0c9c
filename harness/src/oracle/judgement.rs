//! Calls every judge and sums up; a judge that panics leaves a doubt, never a pass.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::client::{self, Clients};
use super::history::History;
use super::lag::{self, Lag};
use super::ledger::{self, Tally};
use super::outage::{self, Outage};
use super::replication::{self, Replicated};
use super::takeover::{self, TakeOver};
use super::terms::Terms;
use super::uid::{self, Uids};
use super::verdict::{Code, Reason, Verdict, some_of};
use super::{receipts, roles, steps, witness};
use crate::record::Event;

/// What the judges say of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The worst of all reasons; pass only if there are none.
    pub verdict: Verdict,
    /// What speaks against a pass, failures first.
    pub reasons: Vec<Reason>,
    /// The mail ledger, if it applies.
    pub ledger: Option<Tally>,
    /// Outages of every service that was used or has a budget.
    pub outages: Vec<Outage>,
    /// Replication, if it applies.
    pub replication: Option<Replicated>,
    /// The mail store and its users, as far as there are some.
    #[serde(flatten)]
    pub store: MailStore,
}

/// What was measured of a mail store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailStore {
    /// How far the copy is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// What mail programs saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uids: Option<Uids>,
    /// What mail programs did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Take-overs and how long they took.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub take_overs: Vec<TakeOver>,
}

/// Judges a record.
pub fn judge(events: &[Event], terms: &Terms) -> Judgement {
    let history = History::of(events);
    let mut reasons = history.doubts.clone();
    let ledger = hear("ledger", &mut reasons, || ledger::judge(&history, terms)).flatten();
    let replication = hear("replication", &mut reasons, || replication::judge(&history, terms)).flatten();
    let outages = hear("outage", &mut reasons, || outage::judge(&history, terms)).unwrap_or_default();
    let store = MailStore {
        lag: hear("lag", &mut reasons, || lag::judge(&history, terms)).flatten(),
        uids: hear("uid", &mut reasons, || uid::judge(&history, terms)).flatten(),
        clients: hear("action", &mut reasons, || client::judge(&history, terms)).flatten(),
        take_overs: takeover::measure(&history),
    };
    hear("roles", &mut reasons, || ((), roles::judge(&history)));
    hear("receipts", &mut reasons, || ((), receipts::judge(&history)));
    hear("steps", &mut reasons, || ((), steps::judge(&history)));
    hear("witness", &mut reasons, || ((), witness::judge(&history, terms)));
    let limited = |outage: &Outage| outage.limit.is_some() || terms.budget.failures.of(outage.service).is_some();
    let budgets = outages.iter().any(limited);
    if history.steps == 0 && ledger.is_none() && replication.is_none() && store == MailStore::default() && !budgets {
        let detail = "the scenario has no step, no budget, and nothing an oracle could judge";
        reasons.push(Reason::new(Code::NothingJudged, detail));
    }
    Judgement::new(reasons, ledger, outages, replication).with_store(store)
}

/// Runs a judge and keeps its reasons; a panic becomes a doubt, and what the judge measured is lost.
fn hear<T>(name: &str, reasons: &mut Vec<Reason>, judge: impl FnOnce() -> (T, Vec<Reason>)) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(judge)) {
        Ok((measured, more)) => {
            reasons.extend(more);
            Some(measured)
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("it did not say why");
            reasons.push(Reason::new(
                Code::JudgeCrashed,
                format!("the {name} judge crashed: {said}"),
            ));
            None
        }
    }
}

impl Judgement {
    fn new(
        mut reasons: Vec<Reason>,
        ledger: Option<Tally>,
        outages: Vec<Outage>,
        replication: Option<Replicated>,
    ) -> Judgement {
        // Stable: within one weight the order of the judges stays.
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict));
        let verdict = reasons
            .iter()
            .map(|reason| reason.verdict)
            .max()
            .unwrap_or(Verdict::Pass);
        Judgement {
            verdict,
            reasons,
            ledger,
            outages,
            replication,
            store: MailStore::default(),
        }
    }

    fn with_store(self, store: MailStore) -> Judgement {
        Judgement { store, ..self }
    }

    /// True if a reason has this code.
    pub fn has(&self, code: &str) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }

    /// The judgement of a scenario that must fail, turned round: passed if the expected reason came out and nothing else
    /// but what may follow from it (`also`). The expected reason may be a doubt: a missing receipt has to be noticed too.
    pub fn turned_round(&self, expected: &str, also: &[String]) -> Judgement {
        let other = |reason: &&Reason| reason.code != expected && !also.contains(&reason.code);
        let others: Vec<&Reason> = self.reasons.iter().filter(other).collect();
        let mut reasons = Vec::new();
        if !self.has(expected) {
            let instead = match self.reasons.as_slice() {
                [] => "it passed".to_owned(),
                reasons => format!("instead: {}", some_of(reasons)),
            };
            reasons.push(Reason::new(
                Code::MustFail,
                format!("it had to end with {expected}; {instead}"),
            ));
        } else if !others.is_empty() {
            let detail = format!(
                "it ended with {expected} as it had to, but also with {}",
                some_of(&others)
            );
            reasons.push(Reason::new(Code::MustFail, detail));
        }
        Judgement::new(
            reasons,
            self.ledger.clone(),
            self.outages.clone(),
            self.replication.clone(),
        )
        .with_store(self.store.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_panics_leaves_a_doubt_and_no_pass() {
        let mut reasons = Vec::new();
        let measured = hear::<()>("ledger", &mut reasons, || panic!("index {} out of range", 7));
        assert_eq!(measured, None);
        let judgement = Judgement::new(reasons, None, Vec::new(), None);
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
        assert_eq!(
            judgement.reasons[0].to_string(),
            "judge.crashed: the ledger judge crashed: index 7 out of range"
        );
    }

    fn with(codes: &[Code]) -> Judgement {
        let reasons = codes.iter().map(|code| Reason::new(code.clone(), "planted")).collect();
        Judgement::new(reasons, None, Vec::new(), None)
    }

    #[test]
    fn a_failure_outweighs_a_doubt_and_a_doubt_outweighs_a_pass() {
        assert_eq!(with(&[]).verdict.exit_status(), 0);
        assert_eq!(with(&[Code::WitnessMissing]).verdict.exit_status(), 2);
        let both = with(&[Code::WitnessMissing, Code::LedgerLost]);
        assert_eq!(both.verdict.exit_status(), 1);
        assert_eq!(both.reasons[0].code, "ledger.lost");
    }

    #[test]
    fn a_scenario_that_must_fail_passes_only_for_the_planted_reason() {
        let also = ["step.broken:closing".to_owned()];
        let closing = Code::StepBroken("closing".into());
        let turned = |codes: &[Code]| with(codes).turned_round("ledger.lost", &also).verdict;
        assert_eq!(turned(&[Code::LedgerLost]), Verdict::Pass);
        assert_eq!(turned(&[Code::LedgerLost, closing.clone()]), Verdict::Pass);
        assert_eq!(turned(&[]), Verdict::Fail);
        assert_eq!(turned(&[closing]), Verdict::Fail);
        assert_eq!(turned(&[Code::LedgerDoubled]), Verdict::Fail);
        assert_eq!(turned(&[Code::LedgerLost, Code::LedgerDoubled]), Verdict::Fail);
    }

    #[test]
    fn a_missing_receipt_can_be_the_planted_reason() {
        let turned = with(&[Code::InjectReceiptMissing]).turned_round("receipt.inject-missing", &[]);
        assert_eq!(turned.verdict, Verdict::Pass);
    }
}

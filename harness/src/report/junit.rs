//! `junit.xml`: a suite a scenario, a case a step and an oracle. A broken promise is a failure, a doubt is an error.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::model::{Report, StepReport};
use crate::oracle::{Reason, Verdict};
use crate::record::StepResult;

/// The reports as JUnit XML.
///
/// # Errors
/// What the XML writer says.
pub fn junit(reports: &[Report]) -> Result<String, String> {
    let mut junit = Junit::new("harness");
    for report in reports {
        junit.add_test_suite(suite(report));
    }
    junit.to_string().map_err(|error| error.to_string())
}

fn suite(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new(report.scenario.as_str());
    suite.set_time(Duration::from_micros(report.wall));
    suite.add_property(("cluster", report.cluster.as_str()));
    suite.add_property(("seed", report.seed.to_string().as_str()));
    suite.set_system_out(report.words.as_str());
    if let Some(must_fail) = &report.must_fail {
        // Its steps and oracles are meant to be red; what is tested is that they are.
        let name = format!("ends with {}", must_fail.reason);
        suite.add_test_case(case(name, &report.reasons.iter().collect::<Vec<_>>()));
        return suite;
    }
    for step in &report.steps {
        suite.add_test_case(step_case(step, report));
    }
    for (name, reasons) in oracles(report) {
        suite.add_test_case(case(name, &reasons));
    }
    suite
}

/// The oracles that judged, each with its reasons. A reason that is of none of them gets a case of its own, so that
/// nothing which spoils a verdict can be missing here.
fn oracles(report: &Report) -> Vec<(String, Vec<&Reason>)> {
    let mut names: Vec<&str> = vec!["record", "receipt", "witness"];
    names.extend(report.ledger.as_ref().map(|_| "ledger"));
    names.extend((!report.outages.is_empty()).then_some("outage"));
    names.extend(report.replication.as_ref().map(|_| "replication"));
    for reason in report.reasons.iter().filter(|reason| !is_of_a_step(reason, report)) {
        if !names.contains(&family(&reason.code)) {
            names.push(family(&reason.code));
        }
    }
    let of = |name: &str| {
        let own = report
            .reasons
            .iter()
            .filter(|reason| family(&reason.code) == name && !is_of_a_step(reason, report));
        own.collect()
    };
    names.iter().map(|name| (format!("oracle: {name}"), of(name))).collect()
}

/// `ledger` of `ledger.lost`.
fn family(code: &str) -> &str {
    code.split(['.', ':']).next().unwrap_or(code)
}

/// True if the case of a step shows the reason already.
fn is_of_a_step(reason: &Reason, report: &Report) -> bool {
    reason.code.starts_with("step.")
        && report
            .steps
            .iter()
            .any(|step| !matches!(step.result, Some(StepResult::Held { .. })))
}

fn step_case(step: &StepReport, report: &Report) -> TestCase {
    let status = match &step.result {
        Some(StepResult::Held { .. }) => TestCaseStatus::success(),
        Some(StepResult::Broken { detail }) => bad(NonSuccessKind::Failure, "step.broken", detail),
        Some(StepResult::Inconclusive { detail }) => bad(NonSuccessKind::Error, "step.inconclusive", detail),
        None => bad(NonSuccessKind::Error, "step.unfinished", "the step has no end"),
    };
    let mut case = TestCase::new(format!("{}. {}", step.step + 1, step.title), status);
    case.set_classname(report.scenario.as_str());
    case.set_time(Duration::from_micros(step.took));
    case
}

fn case(name: String, reasons: &[&Reason]) -> TestCase {
    let status = match reasons.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let worst = reasons.iter().map(|reason| reason.verdict).max();
            let kind = if worst == Some(Verdict::Fail) {
                NonSuccessKind::Failure
            } else {
                NonSuccessKind::Error
            };
            let all: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            let mut status = bad(kind, &first.code, &first.detail);
            status.set_description(all.join("\n"));
            status
        }
    };
    TestCase::new(name, status)
}

fn bad(kind: NonSuccessKind, code: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(code).set_message(message);
    status
}

//! The reports of a run that went well, of one that failed, of one that proves nothing, and of one that had to fail.

use std::collections::BTreeMap;

use super::{Accelerator, Facts, Pace, Report, Timing, in_words, junit, overall, table, write_junit};
use crate::oracle::tests::story::{SECOND, Script, mailbox, terms, told, without};
use crate::oracle::{Verdict, judge};
use crate::record::{Event, StepResult, What};

fn facts() -> Facts {
    let timing = |stage: &str, seconds: u64| Timing {
        stage: stage.into(),
        took: seconds * SECOND,
    };
    Facts {
        cluster: "pair".into(),
        fleet: "qemu".into(),
        accelerator: Some(Accelerator {
            name: "tcg".into(),
            reason: "a guest did not run under /dev/kvm".into(),
        }),
        versions: BTreeMap::from([("harness".into(), "0.1.0".into()), ("qemu".into(), "10.0.3".into())]),
        pace: Some(Pace { log_in: 1_350_000 }),
        memory: BTreeMap::from([("mail1".into(), 880_000_000)]),
        timings: vec![
            timing("tools", 7),
            timing("image", 0),
            timing("boot", 154),
            timing("ready", 21),
        ],
        must_fail: None,
    }
}

fn report(spoil: impl FnOnce(&mut Vec<Event>)) -> Report {
    must_fail(None, spoil)
}

fn must_fail(code: Option<&str>, spoil: impl FnOnce(&mut Vec<Event>)) -> Report {
    let mut events = told(&Script::default());
    spoil(&mut events);
    let must_fail = code.map(|code| (code.to_owned(), Vec::new()));
    Report::new(Facts { must_fail, ..facts() }, &events, &judge(&events, &terms()))
}

fn named(scenario: &str, mut report: Report) -> Report {
    report.scenario = scenario.into();
    report.words = in_words(&report);
    report
}

fn good() -> Report {
    report(|_| {})
}

fn lossy() -> Report {
    let report = report(|events| {
        mailbox(events, "mail1", "alice@example.org").retain(|id| id != "r1-m3" && id != "r1-m6");
        mailbox(events, "mail2", "bob@example.org").push("r1-m1".into());
        let step = events.iter_mut().find_map(|event| match &mut event.what {
            What::StepEnd { step: 1, result } => Some(result),
            _ => None,
        });
        *step.expect("the end of a step") = StepResult::Broken {
            detail: "served by <mail1> & nobody else".into(),
        };
    });
    named("mail-fallback", report)
}

fn doubtful() -> Report {
    let report = report(|events| without(events, |what| matches!(what, What::Healed { .. })));
    named("partition", report)
}

fn planted() -> Report {
    let lose = |events: &mut Vec<Event>| mailbox(events, "mail1", "alice@example.org").retain(|id| id != "r1-m3");
    let report = must_fail(Some("ledger.lost"), lose);
    named("lose-mail", report)
}

#[test]
fn the_json_report_of_a_run_that_went_well() {
    insta::assert_json_snapshot!(good());
}

#[test]
fn the_json_report_of_a_planted_defect_keeps_what_was_found() {
    let report = planted();
    assert_eq!(report.verdict, Verdict::Pass);
    insta::assert_json_snapshot!(report.must_fail);
}

#[test]
fn junit_has_a_case_for_every_step_and_oracle() {
    insta::assert_snapshot!(junit(&[good(), lossy(), doubtful(), planted()]).expect("XML"));
}

#[test]
fn the_table_is_readable_without_colours() {
    let reports = [good(), lossy(), doubtful(), planted()];
    let text = table(&reports, false);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
}

#[test]
fn the_way_of_a_message_stands_below_the_reason_that_names_it() {
    let mut report = lossy();
    let journal = "2026-01-01T00:00:01 postfix/cleanup[7]: 4jdA: message-id=<r1-m3@sender.example>\n";
    report.trails = super::trails(&report, &[("gateway".into(), journal.into())]);
    let text = table(&[report], false);
    let way = format!(
        "the way of r1-m3, from the journals:\n    gateway {}",
        journal.trim_end()
    );
    assert!(text.contains(&way), "{text}");
}

#[test]
fn colours_do_not_shift_the_columns() {
    let reports = [good(), lossy()];
    let painted = table(&reports, true);
    assert!(painted.contains('\u{1b}'));
    assert_eq!(console::strip_ansi_codes(&painted), table(&reports, false));
}

#[test]
fn the_verdict_in_words() {
    let words: Vec<String> = [good(), lossy(), doubtful(), planted()].iter().map(in_words).collect();
    insta::assert_snapshot!(words.join("\n\n"));
}

#[test]
fn a_planted_defect_that_is_not_found_fails_in_words() {
    insta::assert_snapshot!(must_fail(Some("ledger.lost"), |_| {}).words);
}

#[test]
fn a_run_without_oracles_tells_how_many_steps_held() {
    let mut report = good();
    (report.outages, report.ledger, report.replication) = (Vec::new(), None, None);
    assert_eq!(in_words(&report), "failover: passed: 2 of 2 steps held");
}

#[test]
fn several_runs_are_as_bad_as_the_worst_and_none_proves_nothing() {
    assert_eq!(overall(&[]), Verdict::Inconclusive);
    assert_eq!(overall(&[good(), planted()]), Verdict::Pass);
    assert_eq!(overall(&[good(), doubtful()]), Verdict::Inconclusive);
    assert_eq!(overall(&[doubtful(), lossy()]), Verdict::Fail);
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let report = lossy();
    report.write(dir.path()).expect("written");
    assert_eq!(Report::read(&dir.path().join("report.json")).expect("readable"), report);
    assert!(dir.path().join("junit.xml").is_file());
}

#[test]
fn a_report_of_another_schema_is_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("report.json");
    let mut report = good();
    report.schema = 99;
    std::fs::write(&path, serde_json::to_string(&report).expect("JSON")).expect("written");
    let error = Report::read(&path).expect_err("another schema").to_string();
    assert!(error.ends_with("its schema is 99, this program reads 1"), "{error}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_with_its_path() {
    let error = write_junit(&[good()], std::path::Path::new("/nowhere"))
        .expect_err("no such folder")
        .to_string();
    assert!(error.starts_with("cannot write /nowhere/junit.xml"), "{error}");
}

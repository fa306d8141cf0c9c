//! One defect at a time in a run that went well: it must come out, for that reason and no other.

use super::story::{
    Comes, NODES, SECOND, Script, USERS, change, comes_out, mailbox, power_cut, receipt, rows, terms, told, without,
};
use crate::oracle::{Code, Judgement, Terms, Verdict, Witness, judge};
use crate::record::{Event, Operation, Outcome, Service, StepResult, What};

const ALICE: &str = USERS[0];
const BOB: &str = USERS[1];

/// A run that went well and its terms, to be spoilt.
struct Case {
    events: Vec<Event>,
    terms: Terms,
}

fn spoilt(code: &str, spoil: impl FnOnce(&mut Case)) -> Judgement {
    let mut case = Case {
        events: told(&Script::default()),
        terms: terms(),
    };
    spoil(&mut case);
    let judgement = judge(&case.events, &case.terms);
    let codes: Vec<&str> = judgement.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, [code], "{:#?}", judgement.reasons);
    assert_ne!(judgement.verdict, Verdict::Pass);
    judgement
}

macro_rules! planted {
    ($($test:ident: $code:literal, $spoil:expr;)*) => {
        $(#[test]
        fn $test() {
            spoilt($code, $spoil);
        })*

        /// Every code for which a defect is planted in this file.
        const PLANTED: &[&str] = &[$($code),*];
    };
}

fn of_mail(id: &str) -> impl Fn(&Operation) -> bool {
    move |operation| matches!(operation, Operation::SendMail { mail, .. } if mail == id)
}

fn of_row(id: &str) -> impl Fn(&Operation) -> bool {
    move |operation| matches!(operation, Operation::SqlInsert { row, .. } if row == id)
}

fn checksum<'a>(case: &'a mut Case, node: &str, table: &str) -> &'a mut String {
    let found = case.events.iter_mut().find_map(|event| match &mut event.what {
        What::Checksum {
            node: at,
            table: of,
            checksum,
            ..
        } if at == node && of == table => Some(checksum),
        _ => None,
    });
    found.expect("a checksum")
}

#[test]
fn a_run_that_went_well_passes_and_is_measured() {
    let judgement = judge(&told(&Script::default()), &terms());
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    let tally = judgement.ledger.expect("a ledger");
    assert_eq!((tally.accepted, tally.found_once, tally.foreign), (28, 28, 6));
    let replicated = judgement.replication.expect("replication");
    assert_eq!((replicated.acknowledged, replicated.on_all_nodes), (28, 28));
    assert_eq!((replicated.tables, replicated.equal_tables), (4, 4));
    assert_eq!(replicated.converged_after, Some(6 * SECOND));
}

planted! {
    mail_that_is_nowhere_is_lost: "ledger.lost", |case| {
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3");
    };
    mail_found_twice_in_a_mailbox_is_doubled: "ledger.doubled", |case| {
        mailbox(&mut case.events, "mail1", ALICE).push("r1-m3".into());
    };
    mail_found_on_both_nodes_is_doubled: "ledger.doubled", |case| {
        mailbox(&mut case.events, "mail2", ALICE).push("r1-m3".into());
    };
    mail_of_unknown_outcome_found_twice_is_doubled: "ledger.doubled", |case| {
        comes_out(&mut case.events, of_mail("r1-m3"), Comes::UnknownAndDone);
        mailbox(&mut case.events, "mail2", ALICE).push("r1-m3".into());
    };
    mail_in_a_mailbox_of_somebody_else_is_misdelivered: "ledger.misdelivered", |case| {
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3");
        mailbox(&mut case.events, "mail1", BOB).push("r1-m3".into());
    };
    a_copy_for_somebody_else_is_misdelivered: "ledger.misdelivered", |case| {
        mailbox(&mut case.events, "mail2", BOB).push("r1-m3".into());
    };
    mail_that_nobody_sent_is_a_phantom: "ledger.phantom", |case| {
        mailbox(&mut case.events, "mail1", ALICE).push("r1-m999".into());
    };
    refused_mail_that_appears_contradicts_the_refusal: "ledger.contradicted", |case| {
        comes_out(&mut case.events, of_mail("r1-m3"), Comes::Refused);
    };
    refused_mail_in_a_mailbox_of_somebody_else_contradicts_too: "ledger.contradicted", |case| {
        comes_out(&mut case.events, of_mail("r1-m3"), Comes::Refused);
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3");
        mailbox(&mut case.events, "mail1", BOB).push("r1-m3".into());
    };
    a_ledger_without_mail_nodes_shows_nothing: "ledger.not-seen", |case| {
        case.terms.mail_nodes.clear();
        case.terms.oracle.replication = Some(false);
    };
    mail_in_a_queue_at_the_end_waits: "ledger.waiting", |case| {
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3");
        change(&mut case.events, |what| match what {
            What::Queue { waiting, .. } => { waiting.push(ALICE.to_uppercase()); true }
            _ => false,
        });
    };
    a_queue_excuses_no_more_mail_than_it_holds: "ledger.lost", |case| {
        case.terms.oracle.mail_may_wait = true;
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3" && id != "r1-m6");
        change(&mut case.events, |what| match what {
            What::Queue { waiting, .. } => { waiting.push(ALICE.into()); true }
            _ => false,
        });
    };
    a_look_at_a_queue_during_traffic_excuses_nothing: "ledger.lost", |case| {
        case.terms.oracle.mail_may_wait = true;
        mailbox(&mut case.events, "mail1", ALICE).retain(|id| id != "r1-m3");
        without(&mut case.events, |what| matches!(what, What::Queue { .. }));
        let look = What::Queue { node: "mail1".into(), waiting: vec![ALICE.into()] };
        case.events.insert(40, Event { at: case.events[39].at, what: look });
    };
    a_ledger_without_accepted_mail_shows_nothing: "ledger.nothing-accepted", |case| {
        let script = Script { mails: vec![Comes::UnknownAndLost], ..Script::default() };
        case.events = told(&script);
    };
    a_mailbox_that_was_not_looked_into_leaves_a_doubt: "ledger.not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Mailbox { node, user, .. } if node == "mail2" && user == BOB));
    };
    mail_may_lie_in_the_mailbox_that_was_not_looked_into: "ledger.not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Mailbox { node, user, .. } if node == "mail1" && user == ALICE));
    };
    a_look_into_a_mailbox_during_traffic_is_no_look: "ledger.not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Mailbox { node, user, .. } if node == "mail2" && user == BOB));
        let look = What::Mailbox { node: "mail2".into(), user: BOB.into(), mails: Vec::new() };
        case.events.insert(40, Event { at: case.events[39].at, what: look });
    };

    an_acknowledged_row_missing_on_one_node: "replication.row-missing", |case| {
        rows(&mut case.events, "mail1", "vmail").retain(|row| row != "r1-w3");
    };
    an_acknowledged_row_missing_on_both_nodes: "replication.row-missing", |case| {
        for node in NODES {
            rows(&mut case.events, node, "vmail").retain(|row| row != "r1-w3");
        }
    };
    a_row_of_unknown_outcome_on_one_node_only: "replication.row-disagrees", |case| {
        comes_out(&mut case.events, of_row("r1-w3"), Comes::UnknownAndDone);
        rows(&mut case.events, "mail2", "vmail").retain(|row| row != "r1-w3");
    };
    a_row_that_nobody_wrote: "replication.phantom", |case| {
        for node in NODES {
            rows(&mut case.events, node, "vmail").push("r1-w999".into());
        }
    };
    a_row_in_another_database_than_it_was_written_to: "replication.phantom", |case| {
        rows(&mut case.events, "mail2", "roundcubemail").push("r1-w3".into());
    };
    a_row_found_twice_on_a_node: "replication.doubled", |case| {
        rows(&mut case.events, "mail2", "vmail").push("r1-w3".into());
    };
    a_refused_row_that_appears_contradicts_the_refusal: "replication.contradicted", |case| {
        comes_out(&mut case.events, of_row("r1-w3"), Comes::Refused);
    };
    a_table_that_differs: "replication.checksum", |case| {
        *checksum(case, "mail2", "users") = "4711".into();
    };
    a_table_missing_on_one_node: "replication.table-missing", |case| {
        without(&mut case.events, |what| matches!(what, What::Checksum { node, database, table, .. }
            if node == "mail2" && database == "vmail" && table == "users"));
    };
    an_io_thread_that_stopped: "replication.io-stopped", |case| {
        change(&mut case.events, |what| match what {
            What::Replication { io_running, .. } => { *io_running = false; true }
            _ => false,
        });
    };
    an_sql_thread_that_stopped: "replication.sql-stopped", |case| {
        change(&mut case.events, |what| match what {
            What::Replication { sql_running, error, .. } => {
                *sql_running = false;
                *error = "1062 Duplicate entry".into();
                true
            }
            _ => false,
        });
    };
    convergence_beyond_its_limit: "replication.late", |case| {
        change(&mut case.events, |what| match what {
            What::Converged { after } => { *after = 10 * SECOND + 1; true }
            _ => false,
        });
    };
    convergence_that_never_came: "replication.not-converged", |case| {
        change(&mut case.events, |what| match what {
            What::Converged { after } => {
                *what = What::NotConverged { after: *after, differs: "vmail.mailbox".into() };
                true
            }
            _ => false,
        });
    };
    convergence_that_was_not_measured: "replication.convergence-not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Converged { .. }));
    };
    replication_without_an_acknowledged_row_shows_nothing: "replication.nothing-acknowledged", |case| {
        case.events = told(&Script { rows: vec![Comes::Refused], ..Script::default() });
    };
    a_database_without_an_acknowledged_row_shows_nothing: "replication.nothing-acknowledged", |case| {
        case.terms.oracle.rows_in.push("sogo".into());
    };
    rows_that_were_not_looked_at: "replication.rows-not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Rows { node, database, .. } if node == "mail2" && database == "vmail"));
    };
    one_node_alone_replicates_nothing: "replication.rows-not-seen", |case| {
        case.terms.mail_nodes.truncate(1);
        without(&mut case.events, |what| matches!(what, What::Mailbox { node, .. } if node == "mail2"));
        for user in USERS {
            let moved: Vec<String> = (0..28).filter(|tick| USERS[tick % 3] == user).map(|tick| format!("r1-m{tick}")).collect();
            *mailbox(&mut case.events, "mail1", user) = moved;
        }
    };
    a_checksum_of_a_whole_node_is_unknown: "replication.checksum-not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Checksum { node, database, .. } if node == "mail2" && database == "vmail"));
    };
    a_checksum_of_null_on_both_nodes_is_no_equality: "replication.checksum-not-seen", |case| {
        for node in NODES {
            *checksum(case, node, "users") = "NULL".into();
        }
    };
    a_replicated_database_without_checksums: "replication.checksum-not-seen", |case| {
        case.terms.databases.push("sogo".into());
    };
    checksums_from_before_the_last_write_show_nothing: "replication.checksum-not-seen", |case| {
        let place = case.events.len() - 1;
        let at = case.events[place].at;
        let login = Operation::WebmailLogin { user: ALICE.into() };
        case.events.insert(place, Event { at, what: What::Invoke { id: 999, operation: login } });
        let outcome = Outcome::Ok { served_by: Some("mail2".into()) };
        case.events.insert(place + 1, Event { at, what: What::Done { id: 999, outcome } });
    };
    threads_that_were_not_looked_at: "replication.threads-not-seen", |case| {
        without(&mut case.events, |what| matches!(what, What::Replication { node, .. } if node == "mail2"));
    };

    a_fault_without_evidence: "receipt.inject-missing", |case| {
        case.terms.oracle.witness.clear();
        without(&mut case.events, |what| matches!(what, What::Injected { .. }));
    };
    a_receipt_that_shows_nothing_is_none: "receipt.inject-missing", |case| {
        change(&mut case.events, |what| match what {
            What::Injected { receipt, .. } => { receipt.observed = " ".into(); true }
            _ => false,
        });
    };
    a_fault_whose_evidence_could_not_be_had: "receipt.inject-missing", |case| {
        case.terms.oracle.witness.clear();
        change(&mut case.events, |what| match what {
            What::Injected { fault, .. } => {
                *what = What::NoReceipt { fault: fault.clone(), reason: "QMP did not answer".into() };
                true
            }
            _ => false,
        });
    };
    a_healing_without_evidence: "receipt.heal-missing", |case| {
        without(&mut case.events, |what| matches!(what, What::Healed { .. }));
    };
    a_failover_that_did_not_happen: "witness.missing", |case| {
        for event in &mut case.events {
            if let What::Done { outcome: Outcome::Ok { served_by }, .. } = &mut event.what
                && served_by.is_some()
            {
                *served_by = Some("mail1".into());
            }
        }
    };
    a_node_that_never_served: "witness.missing", |case| {
        case.terms.oracle.witness = vec![Witness::ServedBy { service: Service::Webmail, node: "mail3".into() }];
    };
    a_fault_that_nobody_noticed: "witness.missing", |case| {
        case.terms.oracle.witness = vec![Witness::Outage { service: Service::Imap }];
    };
    a_queue_that_never_held_mail: "witness.missing", |case| {
        case.terms.oracle.witness = vec![Witness::Queued { node: "mail1".into() }];
    };

    a_broken_step: "step.broken:webmail", |case| {
        change(&mut case.events, |what| match what {
            What::StepEnd { step: 1, result } => {
                *result = StepResult::Broken { detail: "served by mail1".into() };
                true
            }
            _ => false,
        });
    };
    a_step_that_could_not_be_judged: "step.inconclusive:webmail", |case| {
        change(&mut case.events, |what| match what {
            What::StepEnd { step: 1, result } => {
                *result = StepResult::Inconclusive { detail: "the agent did not answer".into() };
                true
            }
            _ => false,
        });
    };
    a_step_without_an_end: "step.unfinished", |case| {
        without(&mut case.events, |what| matches!(what, What::StepEnd { step: 1, .. }));
    };
    a_planned_step_that_was_never_begun: "step.unfinished", |case| {
        without(&mut case.events, |what| matches!(what, What::StepBegin { step: 1, .. } | What::StepEnd { step: 1, .. }));
    };

    steps_after_a_broken_one_are_its_consequence: "step.broken:fault", |case| {
        without(&mut case.events, |what| matches!(what, What::StepBegin { step: 1, .. } | What::StepEnd { step: 1, .. }));
        change(&mut case.events, |what| match what {
            What::StepEnd { step: 0, result } => {
                *result = StepResult::Broken { detail: "it runs on".into() };
                true
            }
            _ => false,
        });
    };

    a_record_without_an_end: "record.unfinished", |case| {
        case.events.pop();
    };
    an_end_without_a_beginning: "record.malformed", |case| {
        without(&mut case.events, |what| matches!(what, What::StepBegin { step: 1, .. }));
        let begin = What::StepBegin { step: 1, kind: "webmail".into(), title: "webmail by mail2".into() };
        let last = case.events.len() - 1;
        let at = case.events[last].at;
        case.events.insert(last, Event { at, what: What::StepEnd { step: 7, result: StepResult::Held { detail: String::new() } } });
        case.events.insert(2, Event { at: case.events[1].at, what: begin });
    };
    an_operation_that_ends_twice: "record.malformed", |case| {
        let last = case.events.len() - 1;
        let at = case.events[last].at;
        let done = What::Done { id: 0, outcome: Outcome::Ok { served_by: None } };
        case.events.insert(last, Event { at, what: done });
    };
    a_receipt_that_nobody_asked_for: "record.malformed", |case| {
        let last = case.events.len() - 1;
        let at = case.events[last].at;
        let healed = What::Healed { fault: power_cut(), receipt: receipt("it answers") };
        case.events.insert(last, Event { at, what: healed });
    };
    a_run_without_a_mark: "record.malformed", |case| {
        change(&mut case.events, |what| match what {
            What::Begin { run, .. } => { run.clear(); true }
            _ => false,
        });
    };
    a_clock_that_goes_back: "record.malformed", |case| {
        let last = case.events.len() - 1;
        case.events[last].at = 0;
    };
    nothing_to_judge: "judge.nothing-judged", |case| {
        let begin = What::Begin { scenario: "idle".into(), seed: 7, run: "r1".into(), steps: 0 };
        case.events = vec![Event { at: 0, what: begin }, Event { at: 1, what: What::End }];
        case.terms = Terms::default();
    };
}

#[test]
fn a_reason_tells_what_was_seen_and_where() {
    let judgement = spoilt("ledger.doubled", |case| {
        mailbox(&mut case.events, "mail2", ALICE).push("r1-m3".into())
    });
    insta::assert_snapshot!(judgement.reasons[0], @"ledger.doubled: 1 message found more often than sent: r1-m3 to alice@example.org (found: alice@example.org on mail1, alice@example.org on mail2)");
    let judgement = spoilt("replication.row-missing", |case| {
        rows(&mut case.events, "mail1", "vmail").retain(|row| row != "r1-w3" && row != "r1-w6");
    });
    insta::assert_snapshot!(judgement.reasons[0], @"replication.row-missing: acknowledged rows are missing (2): vmail: r1-w3 not on mail1, vmail: r1-w6 not on mail1");
}

#[test]
fn mail_may_wait_where_the_scenario_says_so() {
    let mut events = told(&Script::default());
    mailbox(&mut events, "mail1", ALICE).retain(|id| id != "r1-m3");
    change(&mut events, |what| match what {
        What::Queue { waiting, .. } => {
            waiting.push(ALICE.into());
            true
        }
        _ => false,
    });
    let mut terms = terms();
    terms.oracle.mail_may_wait = true;
    let judgement = judge(&events, &terms);
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    assert_eq!(judgement.ledger.expect("a ledger").waiting, 1);
}

#[test]
fn mail_that_was_refused_first_and_accepted_later_is_one_message() {
    let mut events = told(&Script::default());
    // The same message was tried before, and refused for now.
    let earlier = Operation::SendMail {
        mail: "r1-m3".into(),
        to: ALICE.into(),
    };
    events.insert(
        1,
        Event {
            at: 0,
            what: What::Invoke {
                id: 999,
                operation: earlier,
            },
        },
    );
    events.insert(
        2,
        Event {
            at: 0,
            what: What::Done {
                id: 999,
                outcome: Outcome::Fail { reason: "451".into() },
            },
        },
    );
    let judgement = judge(&events, &terms());
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    assert_eq!(judgement.ledger.expect("a ledger").accepted, 28);
}

#[test]
fn one_message_to_two_recipients_is_two_messages() {
    let mut events = told(&Script::default());
    let also = Operation::SendMail {
        mail: "r1-m3".into(),
        to: BOB.into(),
    };
    events.insert(
        1,
        Event {
            at: 0,
            what: What::Invoke {
                id: 999,
                operation: also,
            },
        },
    );
    events.insert(
        2,
        Event {
            at: 0,
            what: What::Done {
                id: 999,
                outcome: Outcome::Ok { served_by: None },
            },
        },
    );
    assert!(
        judge(&events, &terms()).has("ledger.lost"),
        "the copy for the second recipient is missing"
    );
    mailbox(&mut events, "mail2", BOB).push("r1-m3".into());
    let judgement = judge(&events, &terms());
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
}

#[test]
fn mail_and_rows_of_another_run_are_none_of_this_one() {
    let mut events = told(&Script::default());
    for other in ["r10-m3", "r1", "r2-m3"] {
        mailbox(&mut events, "mail1", ALICE).push(other.into());
    }
    rows(&mut events, "mail1", "vmail").push("r10-w3".into());
    let judgement = judge(&events, &terms());
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    assert_eq!(judgement.ledger.expect("a ledger").foreign, 9);
}

/// The code after this one. A new code does not compile until it has its place here, and then has to be planted.
fn after(code: Option<&Code>) -> Option<Code> {
    use Code::*;
    Some(match code {
        None => LedgerLost,
        Some(LedgerLost) => LedgerDoubled,
        Some(LedgerDoubled) => LedgerMisdelivered,
        Some(LedgerMisdelivered) => LedgerPhantom,
        Some(LedgerPhantom) => LedgerContradicted,
        Some(LedgerContradicted) => LedgerWaiting,
        Some(LedgerWaiting) => LedgerNothingAccepted,
        Some(LedgerNothingAccepted) => LedgerNotSeen,
        Some(LedgerNotSeen) => LedgerNotCopied,
        // Planted in the module of stores.
        Some(LedgerNotCopied) => LedgerCopyNotSeen,
        Some(LedgerCopyNotSeen) => UidReused,
        Some(UidReused) => UidValidityChanged,
        Some(UidValidityChanged) => UidNextBack,
        Some(UidNextBack) => UidNotSeen,
        Some(UidNotSeen) => ActionAppendLost,
        Some(ActionAppendLost) => ActionFlagLost,
        Some(ActionFlagLost) => ActionMoveLost,
        Some(ActionMoveLost) => ActionExpungeUndone,
        Some(ActionExpungeUndone) => ActionNothingAcknowledged,
        Some(ActionNothingAcknowledged) => ActionNotSeen,
        Some(ActionNotSeen) => LagOver,
        Some(LagOver) => LagNever,
        Some(LagNever) => LagUnseen,
        Some(LagUnseen) => StoreTwoWriters,
        Some(StoreTwoWriters) => RowMissing,
        Some(RowMissing) => RowDisagrees,
        Some(RowDisagrees) => RowPhantom,
        Some(RowPhantom) => RowDoubled,
        Some(RowDoubled) => RowContradicted,
        Some(RowContradicted) => ChecksumDiffers,
        Some(ChecksumDiffers) => TableMissing,
        Some(TableMissing) => IoStopped,
        Some(IoStopped) => SqlStopped,
        Some(SqlStopped) => ConvergedLate,
        Some(ConvergedLate) => NotConverged,
        Some(NotConverged) => NothingAcknowledged,
        Some(NothingAcknowledged) => RowsNotSeen,
        Some(RowsNotSeen) => ChecksumNotSeen,
        Some(ChecksumNotSeen) => ThreadsNotSeen,
        Some(ThreadsNotSeen) => ConvergenceNotSeen,
        Some(ConvergenceNotSeen) => InjectReceiptMissing,
        Some(InjectReceiptMissing) => HealReceiptMissing,
        Some(HealReceiptMissing) => WitnessMissing,
        Some(WitnessMissing) => StepBroken("webmail".into()),
        Some(StepBroken(_)) => StepInconclusive("webmail".into()),
        Some(StepInconclusive(_)) => StepUnfinished,
        Some(StepUnfinished) => RecordUnfinished,
        Some(RecordUnfinished) => RecordMalformed,
        Some(RecordMalformed) => NothingJudged,
        // Planted in the module of outages, for every service.
        Some(NothingJudged) => Outage(Service::Webmail),
        Some(Outage(_)) => OutageFailed(Service::Webmail),
        Some(OutageFailed(_)) => OutageUnseen(Service::Webmail),
        Some(OutageUnseen(_)) => OutageBlind(Service::Webmail),
        Some(OutageBlind(_)) => OutageNotBack(Service::Webmail),
        // Planted in the module of judgements: no record can bring them about.
        Some(OutageNotBack(_)) => JudgeCrashed,
        Some(JudgeCrashed) => MustFail,
        Some(MustFail) => return None,
    })
}

#[test]
fn a_defect_is_planted_for_every_code() {
    let elsewhere = ["judge.crashed", "must-fail"];
    let mut code = after(None);
    while let Some(this) = code {
        let word = this.to_string();
        let here = PLANTED.contains(&word.as_str())
            || super::stores::PLANTED.contains(&word.as_str())
            || word.starts_with("outage.")
            || elsewhere.contains(&word.as_str());
        assert!(here, "no defect is planted for {word}");
        code = after(Some(&this));
    }
}

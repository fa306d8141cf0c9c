//! Random correct runs pass; the same runs with one random defect do not, and the defect is named.

use proptest::prelude::*;
use proptest::sample::Index;

use super::story::{Comes, SECOND, Script, USERS, places, terms, told};
use crate::oracle::{Verdict, judge};
use crate::record::{Event, Outcome, What};

fn comes() -> impl Strategy<Value = Comes> {
    prop_oneof![
        4 => Just(Comes::Accepted),
        1 => Just(Comes::Refused),
        1 => Just(Comes::UnknownAndLost),
        1 => Just(Comes::UnknownAndDone),
    ]
}

/// Something of everything is accepted: the first four rows reach both nodes and databases.
fn outcomes() -> impl Strategy<Value = Vec<Comes>> {
    prop::collection::vec(comes(), 0..40).prop_map(|more| {
        let mut all = vec![Comes::Accepted; 4];
        all.extend(more);
        all
    })
}

fn script() -> impl Strategy<Value = Script> {
    let answers = prop::collection::vec(1..3 * SECOND, 1..9);
    (outcomes(), outcomes(), 1..=10_u64, answers).prop_map(|(mails, rows, outage, answers)| Script {
        mails,
        rows,
        outage: outage * SECOND,
        answers,
    })
}

/// A defect; the number chooses where.
#[derive(Debug, Clone, Copy)]
enum Mutation {
    DropFoundMail,
    DoubleFoundMail,
    MoveMailToAnother,
    DropRow,
    DoubleRow,
    FlipChecksum,
    DropTable,
    StopIo,
    StopSql,
    StretchOutage,
    DropReceipt,
    DropHealReceipt,
    ConvergeLate,
    ForgetMailbox,
    ForgetRows,
    ForgetStepEnd,
    CutShort,
}

const MUTATIONS: [Mutation; 17] = [
    Mutation::DropFoundMail,
    Mutation::DoubleFoundMail,
    Mutation::MoveMailToAnother,
    Mutation::DropRow,
    Mutation::DoubleRow,
    Mutation::FlipChecksum,
    Mutation::DropTable,
    Mutation::StopIo,
    Mutation::StopSql,
    Mutation::StretchOutage,
    Mutation::DropReceipt,
    Mutation::DropHealReceipt,
    Mutation::ConvergeLate,
    Mutation::ForgetMailbox,
    Mutation::ForgetRows,
    Mutation::ForgetStepEnd,
    Mutation::CutShort,
];

/// Applies a defect somewhere and gives the reasons of which one must come out.
fn spoil(events: &mut Vec<Event>, mutation: Mutation, index: &Index) -> &'static [&'static str] {
    let pick = |events: &[Event], fits: fn(&What) -> bool| {
        let places = places(events, fits);
        places[index.index(places.len())]
    };
    match mutation {
        Mutation::DropFoundMail => {
            // Of a message of unknown outcome it is fine to be missing, so an accepted one is taken.
            let accepted = accepted_mails(events);
            let id = &accepted[index.index(accepted.len())];
            for event in events.iter_mut() {
                if let What::Mailbox { mails, .. } = &mut event.what {
                    mails.retain(|found| found != id);
                }
            }
            &["ledger.lost"]
        }
        Mutation::DoubleFoundMail => {
            let place = pick(
                events,
                |what| matches!(what, What::Mailbox { mails, .. } if mails.len() > 1),
            );
            if let What::Mailbox { mails, .. } = &mut events[place].what {
                mails.push(mails[1 + index.index(mails.len() - 1)].clone());
            }
            &["ledger.doubled"]
        }
        Mutation::MoveMailToAnother => {
            let place = pick(
                events,
                |what| matches!(what, What::Mailbox { mails, .. } if mails.len() > 1),
            );
            let What::Mailbox { mails, user, node } = &mut events[place].what else {
                return &[];
            };
            let moved = mails.remove(1 + index.index(mails.len() - 1));
            let (from, node) = (user.clone(), node.clone());
            let other = USERS.iter().find(|user| **user != from).copied().unwrap_or_default();
            super::story::mailbox(events, &node, other).push(moved);
            &["ledger.misdelivered"]
        }
        Mutation::DropRow => {
            let place = pick(
                events,
                |what| matches!(what, What::Rows { rows, .. } if !rows.is_empty()),
            );
            if let What::Rows { rows, .. } = &mut events[place].what {
                rows.remove(index.index(rows.len()));
            }
            &["replication.row-missing", "replication.row-disagrees"]
        }
        Mutation::DoubleRow => {
            let place = pick(
                events,
                |what| matches!(what, What::Rows { rows, .. } if !rows.is_empty()),
            );
            if let What::Rows { rows, .. } = &mut events[place].what {
                rows.push(rows[index.index(rows.len())].clone());
            }
            &["replication.doubled"]
        }
        Mutation::FlipChecksum => {
            let place = pick(events, |what| matches!(what, What::Checksum { .. }));
            if let What::Checksum { checksum, .. } = &mut events[place].what {
                checksum.push('1');
            }
            &["replication.checksum"]
        }
        Mutation::DropTable => {
            events.remove(pick(events, |what| matches!(what, What::Checksum { .. })));
            &["replication.table-missing"]
        }
        Mutation::StopIo | Mutation::StopSql => {
            let place = pick(events, |what| matches!(what, What::Replication { .. }));
            let What::Replication {
                io_running,
                sql_running,
                ..
            } = &mut events[place].what
            else {
                return &[];
            };
            if matches!(mutation, Mutation::StopIo) {
                *io_running = false;
                &["replication.io-stopped"]
            } else {
                *sql_running = false;
                &["replication.sql-stopped"]
            }
        }
        Mutation::StretchOutage => {
            stretch(events);
            &["outage.webmail"]
        }
        Mutation::DropReceipt => {
            events.remove(pick(events, |what| matches!(what, What::Injected { .. })));
            &["receipt.inject-missing"]
        }
        Mutation::DropHealReceipt => {
            events.remove(pick(events, |what| matches!(what, What::Healed { .. })));
            &["receipt.heal-missing"]
        }
        Mutation::ConvergeLate => {
            let place = pick(events, |what| matches!(what, What::Converged { .. }));
            events[place].what = What::Converged { after: 11 * SECOND };
            &["replication.late"]
        }
        Mutation::ForgetMailbox => {
            events.remove(pick(events, |what| matches!(what, What::Mailbox { .. })));
            &["ledger.not-seen"]
        }
        Mutation::ForgetRows => {
            events.remove(pick(events, |what| matches!(what, What::Rows { .. })));
            &["replication.rows-not-seen"]
        }
        Mutation::ForgetStepEnd => {
            events.remove(pick(events, |what| matches!(what, What::StepEnd { .. })));
            &["step.unfinished"]
        }
        Mutation::CutShort => {
            events.truncate(index.index(events.len()));
            &["record.unfinished"]
        }
    }
}

fn accepted_mails(events: &[Event]) -> Vec<String> {
    let accepted = |id: u64| {
        events
            .iter()
            .any(|event| matches!(&event.what, What::Done { id: of, outcome: Outcome::Ok { .. } } if *of == id))
    };
    let mails = events.iter().filter_map(|event| match &event.what {
        What::Invoke {
            id,
            operation: crate::record::Operation::SendMail { mail, .. },
        } if accepted(*id) => Some(mail.clone()),
        _ => None,
    });
    mails.collect()
}

/// The first log-in that failed hangs for sixteen seconds more, and everything that began after it waits for it.
fn stretch(events: &mut [Event]) {
    let failed = events.iter().find_map(|event| match &event.what {
        What::Done {
            id,
            outcome: Outcome::Fail { reason },
        } if reason.starts_with("503") => Some(*id),
        _ => None,
    });
    let begun = events
        .iter()
        .position(|event| matches!(event.what, What::Invoke { id, .. } if Some(id) == failed));
    let begun = begun.expect("webmail was away");
    for event in &mut events[begun + 1..] {
        event.at += 16 * SECOND;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_run_passes(script in script()) {
        let judgement = judge(&told(&script), &terms());
        prop_assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    }

    #[test]
    fn one_defect_never_passes_and_is_named(
        script in script(),
        mutation in prop::sample::select(&MUTATIONS[..]),
        index in any::<Index>(),
    ) {
        let mut events = told(&script);
        let codes = spoil(&mut events, mutation, &index);
        let judgement = judge(&events, &terms());
        prop_assert_ne!(judgement.verdict, Verdict::Pass);
        prop_assert!(codes.iter().any(|code| judgement.has(code)), "{:?} not in {:#?}", codes, judgement.reasons);
    }

    /// Judges read whatever they are given: events in any order and number never make them crash.
    #[test]
    fn no_record_makes_a_judge_crash(script in script(), order in any::<Vec<Index>>()) {
        let events = told(&script);
        let jumbled: Vec<Event> = order.iter().map(|index| index.get(&events).clone()).collect();
        let judgement = judge(&jumbled, &terms());
        prop_assert_ne!(judgement.verdict, Verdict::Pass);
        prop_assert!(!judgement.has("judge.crashed"), "{:#?}", judgement.reasons);
    }
}

//! A mail store whose writer dies, with a mail program at work: a run that went well, and one defect at a time in it.
//!
//! mail1 is the writer until second 20 and loses power then; mail2 takes over, and mail1 is back at second 35.

use std::time::Duration;

use super::story::{Log, SECOND, change, places, power_cut, receipt, without};
use crate::oracle::{Budgets, Judgement, LagBudget, OracleConfig, Terms, Verdict, judge};
use crate::record::{ClientAction, Delivery, Event, Micros, Operation, Outcome, SeenMail, StoreStatus, What};
use crate::units::Span;

const ALICE: &str = "alice@example.org";
const CUT: Micros = 20 * SECOND;
const BACK: Micros = 35 * SECOND;
const END: Micros = 60 * SECOND;

fn terms() -> Terms {
    Terms {
        oracle: OracleConfig {
            ledger: Some(true),
            client: Some(true),
            ..OracleConfig::default()
        },
        budget: Budgets {
            lag: LagBudget {
                p99: Some(Span(Duration::from_secs(2))),
                ..LagBudget::default()
            },
            ..Budgets::default()
        },
        mail_nodes: vec!["mail1".into(), "mail2".into()],
        users: vec![ALICE.into()],
        databases: Vec::new(),
        delivery: Delivery::Store,
    }
}

fn mail(uid: u32, id: &str, flags: &[&str]) -> SeenMail {
    SeenMail {
        uid,
        id: id.into(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    }
}

fn folder(node: &str, name: &str, next: u32, mails: Vec<SeenMail>) -> What {
    What::Folder {
        node: node.into(),
        user: ALICE.into(),
        folder: name.into(),
        uid_validity: 17,
        uid_next: next,
        from: 1,
        mails,
    }
}

fn acted(node: &str, action: ClientAction) -> What {
    What::Acted {
        node: node.into(),
        user: ALICE.into(),
        action,
        outcome: Outcome::Ok { served_by: None },
    }
}

fn append(id: &str) -> ClientAction {
    ClientAction::Append {
        folder: "Drafts".into(),
        mail: id.into(),
    }
}

fn flag(uid: u32, id: &str) -> ClientAction {
    ClientAction::Flag {
        folder: "INBOX".into(),
        uid,
        mail: id.into(),
        flag: "\\Seen".into(),
    }
}

fn shift(uid: u32, id: &str) -> ClientAction {
    ClientAction::Move {
        folder: "INBOX".into(),
        uid,
        mail: id.into(),
        to: "Trash".into(),
    }
}

fn expunge(uid: u32, id: &str) -> ClientAction {
    ClientAction::Expunge {
        folder: "INBOX".into(),
        uid,
        mail: id.into(),
    }
}

fn serves(node: &str, epoch: u64) -> What {
    What::Store {
        node: node.into(),
        status: StoreStatus {
            standing: "writer".into(),
            doors: "open".into(),
            epoch,
            newest: Some(1),
            peer: None,
            peer_newest: None,
            follows: true,
            doing: "nothing".into(),
            trouble: None,
            unmerged: 0,
            waiting: 0,
        },
    }
}

/// One message, accepted at that second and seen in the copy a second later.
fn letter(log: &mut Log, id: &str, second: u64, copied_to: Option<&str>) {
    let send = Operation::SendMail {
        mail: id.into(),
        to: ALICE.into(),
    };
    let at = second * SECOND;
    log.op(at, SECOND / 10, send, Outcome::Ok { served_by: None });
    if let Some(node) = copied_to {
        let copied = What::Copied {
            mail: id.into(),
            node: node.into(),
            earliest: at + SECOND / 2,
            latest: at + SECOND,
        };
        log.add(at + SECOND, copied);
    }
}

/// What the mail program does before and after the take-over; `m1` to `m4` lie in INBOX with UIDs 1 to 4.
fn program(log: &mut Log) {
    let session = |log: &mut Log, second: u64| {
        let visit = Operation::MailProgram { user: ALICE.into() };
        log.op(second * SECOND, SECOND, visit, Outcome::Ok { served_by: None });
    };
    let inbox = |ids: &[(u32, &str)]| ids.iter().map(|(uid, id)| mail(*uid, id, &[])).collect::<Vec<_>>();
    session(log, 8);
    let four = [(1, "r1-m1"), (2, "r1-m2"), (3, "r1-m3"), (4, "r1-m4")];
    log.add(8 * SECOND, folder("mail1", "INBOX", 5, inbox(&four)));
    for (offset, action) in (1..).zip([
        append("r1-d1"),
        flag(1, "r1-m1"),
        shift(2, "r1-m2"),
        expunge(3, "r1-m3"),
    ]) {
        log.add(8 * SECOND + offset, acted("mail1", action));
    }
    session(log, 30);
    let three = [(1, "r1-m1"), (4, "r1-m4"), (1005, "r1-m6")];
    log.add(30 * SECOND, folder("mail2", "INBOX", 1006, inbox(&three)));
}

fn told() -> Vec<Event> {
    let mut log = Log::default();
    let begin = What::Begin {
        scenario: "store".into(),
        seed: 1,
        run: "r1".into(),
        steps: 0,
    };
    log.add(0, begin);
    log.add(1, serves("mail1", 1));
    for (second, id) in (1..).zip(["r1-m1", "r1-m2", "r1-m3", "r1-m4"]) {
        letter(&mut log, id, second, Some("mail2"));
    }
    // Proof that everything from second 8 is in the copy before the power goes.
    letter(&mut log, "r1-m5", 12, Some("mail2"));
    program(&mut log);
    let fault = power_cut();
    let gone = receipt("gone");
    log.add(CUT - 1, What::Inject { fault: fault.clone() });
    log.add(
        CUT,
        What::Injected {
            fault: fault.clone(),
            receipt: gone.clone(),
        },
    );
    log.add(27 * SECOND, serves("mail2", 2));
    letter(&mut log, "r1-m6", 28, None);
    log.add(BACK - 1, What::Heal { fault: fault.clone() });
    log.add(BACK, What::Healed { fault, receipt: gone });
    last(&mut log);
    log.events()
}

fn last(log: &mut Log) {
    log.add(END, What::LastLook);
    let inbox = vec![
        mail(1, "r1-m1", &["\\Seen"]),
        mail(4, "r1-m4", &[]),
        mail(1005, "r1-m6", &[]),
        mail(1006, "r1-m5", &[]),
    ];
    log.add(END, folder("mail2", "INBOX", 1007, inbox));
    log.add(END, folder("mail2", "Drafts", 1001, vec![mail(1, "r1-d1", &[])]));
    log.add(END, folder("mail2", "Trash", 1001, vec![mail(1, "r1-m2", &[])]));
    let mails: Vec<String> = ["r1-m1", "r1-m2", "r1-m4", "r1-m5", "r1-m6", "r1-d1"]
        .map(str::to_owned)
        .to_vec();
    log.add(
        END,
        What::Mailbox {
            node: "mail2".into(),
            user: ALICE.into(),
            mails: mails.clone(),
        },
    );
    log.add(
        END,
        What::Copy {
            node: "mail1".into(),
            user: ALICE.into(),
            mails,
        },
    );
    log.add(END + SECOND, What::End);
}

fn judged(spoil: impl FnOnce(&mut Vec<Event>)) -> Judgement {
    let mut events = told();
    spoil(&mut events);
    judge(&events, &terms())
}

fn codes(judgement: &Judgement) -> Vec<&str> {
    judgement.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

#[test]
fn the_time_until_the_new_writer_can_be_reached_is_measured() {
    let opening = |events: &mut Vec<Event>| {
        let mut behind_doors = serves("mail2", 2);
        if let What::Store { status, .. } = &mut behind_doors {
            status.doors = "closed".into();
        }
        let at = events.partition_point(|event| event.at < 25 * SECOND);
        events.insert(
            at,
            Event {
                at: 25 * SECOND,
                what: behind_doors,
            },
        );
    };
    let [take_over] = judged(opening).store.take_overs.try_into().expect("one take-over");
    assert_eq!(take_over.node, "mail2");
    assert_eq!(take_over.writer_after, 25 * SECOND - (CUT - 1));
    assert_eq!(take_over.open_after, 27 * SECOND - (CUT - 1));
}

#[test]
fn a_fault_after_which_nobody_else_becomes_the_writer_has_no_take_over() {
    let alone = |events: &mut Vec<Event>| {
        events.retain(|event| !matches!(&event.what, What::Store { node, .. } if node == "mail2"));
    };
    assert_eq!(judged(alone).store.take_overs, []);
}

macro_rules! planted {
    ($($test:ident: $code:literal, $spoil:expr;)*) => {
        $(#[test]
        fn $test() {
            let judgement = judged($spoil);
            assert_eq!(codes(&judgement), [$code], "{:#?}", judgement.reasons);
        })*

        /// Every code for which a defect is planted in this file.
        pub(super) const PLANTED: &[&str] = &[$($code),*];
    };
}

/// Changes one message in the last look into a folder of that name; `None` takes it out.
fn at_end(events: &mut [Event], name: &str, id: &str, edit: impl Fn(SeenMail) -> Option<SeenMail>) {
    let place = *places(
        events,
        |what| matches!(what, What::Folder { folder, .. } if folder == name),
    )
    .last()
    .expect("a look");
    if let What::Folder { mails, .. } = &mut events[place].what {
        let edited = mails.drain(..).filter_map(|mail| match mail.id == id {
            true => edit(mail),
            false => Some(mail),
        });
        *mails = edited.collect();
    }
}

/// Puts one message into the last look into a folder of that name.
fn also_at_end(events: &mut [Event], name: &str, more: SeenMail) {
    let fits = |what: &What| matches!(what, What::Folder { folder, .. } if folder == name);
    let place = *places(events, fits).last().expect("a look");
    if let What::Folder { mails, .. } = &mut events[place].what {
        mails.push(more);
    }
}

fn out_of(events: &mut [Event], copy: bool, id: &str) {
    change(events, |what| match what {
        What::Copy { mails, .. } if copy => {
            mails.retain(|known| known != id);
            true
        }
        What::Mailbox { mails, .. } if !copy => {
            mails.retain(|known| known != id);
            true
        }
        _ => false,
    });
}

planted! {
    a_message_that_the_copy_lacks: "ledger.not-copied", |events| out_of(events, true, "r1-m5");
    a_copy_that_nobody_looked_into: "ledger.copy-not-seen",
        |events| without(events, |what| matches!(what, What::Copy { .. }));
    one_uid_with_two_messages: "uid.reused", |events| change(events, |what| match what {
        What::Folder { node, mails, .. } if node == "mail2" => {
            mails[1].id = "r1-m9".into();
            true
        }
        _ => false,
    });
    another_uidvalidity_after_the_take_over: "uid.validity-changed", |events| {
        for event in events.iter_mut() {
            if let What::Folder { node, uid_validity, folder, .. } = &mut event.what
                && node == "mail2" && folder == "INBOX"
            {
                *uid_validity = 18;
            }
        }
    };
    a_uidnext_that_goes_down: "uid.next-back", |events| change(events, |what| match what {
        What::Folder { node, uid_next, .. } if node == "mail2" => {
            *uid_next = 4;
            true
        }
        _ => false,
    });
    uids_that_were_seen_once: "uid.not-seen", |events| {
        let looks = places(events, |what| matches!(what, What::Folder { folder, .. } if folder == "INBOX"));
        for place in &looks[..looks.len() - 1] {
            if let What::Folder { mails, .. } = &mut events[*place].what {
                mails.clear();
            }
        }
    };
    a_draft_that_is_gone: "action.append-lost", |events| at_end(events, "Drafts", "r1-d1", |_| None);
    a_flag_that_is_gone: "action.flag-lost", |events| at_end(events, "INBOX", "r1-m1", |mut mail| {
        mail.flags.clear();
        Some(mail)
    });
    a_move_that_is_undone: "action.move-lost", |events| {
        at_end(events, "Trash", "r1-m2", |_| None);
        also_at_end(events, "INBOX", mail(1007, "r1-m2", &[]));
    };
    a_removed_message_that_is_back: "action.expunge-undone",
        |events| also_at_end(events, "INBOX", mail(1007, "r1-m3", &[]));
    a_program_that_changed_nothing: "action.nothing-acknowledged", |events| {
        without(events, |what| matches!(what, What::Acted { .. }));
        for copy in [true, false] {
            change(events, |what| match what {
                What::Copy { mails, .. } if copy => { mails.push("r1-m3".into()); mails.retain(|id| id != "r1-d1"); true }
                What::Mailbox { mails, .. } if !copy => { mails.push("r1-m3".into()); mails.retain(|id| id != "r1-d1"); true }
                _ => false,
            });
        }
    };
    an_account_that_nobody_looked_into_at_the_end: "action.not-seen",
        |events| without(events, |what| matches!(what, What::LastLook));
    a_copy_that_is_late: "lag.over", |events| change(events, |what| match what {
        What::Copied { mail, latest, .. } if mail == "r1-m4" => {
            *latest += 2 * SECOND;
            true
        }
        _ => false,
    });
    a_message_that_never_came: "lag.never", |events| change(events, |what| {
        let never = matches!(what, What::Copied { mail, .. } if mail == "r1-m4");
        if never {
            let (mail, node, reason) = ("r1-m4".into(), "mail2".into(), "not seen".into());
            *what = What::NotCopied { mail, node, reason };
        }
        never
    });
    a_lag_that_nobody_measured: "lag.unseen", |events| without(events, |what| {
        matches!(what, What::Copied { .. })
    });
    a_writer_while_another_one_serves: "store.two-writers", |events| {
        let place = places(events, |what| matches!(what, What::Store { node, .. } if node == "mail2"))[0];
        let again = Event { at: events[place].at, what: serves("mail1", 1) };
        events.insert(place + 1, again);
    };
}

#[test]
fn a_take_over_that_went_well_passes_and_is_told() {
    let judgement = judged(|_| {});
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    let clients = judgement.store.clients.expect("mail programs");
    assert_eq!((clients.acknowledged, clients.held, clients.crossed), (4, 4, 0));
    let ledger = judgement.ledger.expect("a ledger");
    assert_eq!((ledger.accepted, ledger.found_once, ledger.removed), (6, 5, 1));
    assert_eq!(ledger.copied, Some(5));
}

/// Takes away the evidence that the copy had the program's changes before the power went.
fn without_proof(events: &mut Vec<Event>) {
    without(
        events,
        |what| matches!(what, What::Copied { mail, .. } if mail == "r1-m5"),
    );
}

#[test]
fn what_crossed_the_take_over_may_come_back_and_is_counted() {
    let judgement = judged(|events| {
        without_proof(events);
        also_at_end(events, "INBOX", mail(1007, "r1-m3", &[]));
    });
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.reasons);
    let clients = judgement.store.clients.expect("mail programs");
    assert_eq!((clients.crossed, clients.came_back, clients.undone), (4, 1, 0));
}

#[test]
fn what_crossed_the_take_over_may_not_be_missing() {
    let judgement = judged(|events| {
        without_proof(events);
        at_end(events, "Trash", "r1-m2", |_| None);
    });
    assert_eq!(codes(&judgement), ["action.move-lost"]);
}

#[test]
fn a_move_that_left_a_copy_behind_is_no_double_if_it_crossed_the_take_over() {
    let twice = |events: &mut Vec<Event>| {
        also_at_end(events, "INBOX", mail(1007, "r1-m2", &[]));
        change(events, |what| match what {
            What::Mailbox { mails, .. } => {
                mails.push("r1-m2".into());
                true
            }
            _ => false,
        });
    };
    let crossed = judged(|events| {
        without_proof(events);
        twice(events);
    });
    assert_eq!(crossed.verdict, Verdict::Pass, "{:#?}", crossed.reasons);
    let orderly = judged(twice);
    assert_eq!(codes(&orderly), ["ledger.doubled", "action.move-lost"]);
}

#[test]
fn a_message_that_the_writer_lacks_is_lost_even_if_the_copy_has_it() {
    let judgement = judged(|events| out_of(events, false, "r1-m5"));
    assert_eq!(codes(&judgement), ["ledger.lost"]);
}

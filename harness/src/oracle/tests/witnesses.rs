//! What witnesses see and what they overlook.

use super::story::{Log, SECOND, power_cut, receipt};
use crate::oracle::{Terms, Verdict, Witness, judge};
use crate::record::{Event, Operation, Outcome, Service, StepResult, What};

/// Webmail is served by mail1, mail1 dies, one log-in fails, mail2 serves; mail waits on the gateway for a moment.
fn failover() -> Vec<Event> {
    let mut log = Log::default();
    log.add(
        0,
        What::Begin {
            scenario: "failover".into(),
            seed: 7,
            run: "r1".into(),
            steps: 1,
        },
    );
    log.add(
        0,
        What::StepBegin {
            step: 0,
            kind: "fault".into(),
            title: "mail1 loses power".into(),
        },
    );
    let login = || Operation::WebmailLogin {
        user: "alice@example.org".into(),
    };
    let served = |node: &str| Outcome::Ok {
        served_by: Some(node.into()),
    };
    log.op(0, 1, login(), served("mail1"));
    log.add(SECOND, What::Inject { fault: power_cut() });
    log.add(
        SECOND,
        What::Injected {
            fault: power_cut(),
            receipt: receipt("gone"),
        },
    );
    log.op(2 * SECOND, 1, login(), Outcome::Fail { reason: "503".into() });
    log.op(3 * SECOND, 1, login(), served("mail2"));
    log.add(
        4 * SECOND,
        What::Queue {
            node: "gateway".into(),
            waiting: vec!["alice@example.org".into()],
        },
    );
    log.add(
        5 * SECOND,
        What::Queue {
            node: "gateway".into(),
            waiting: Vec::new(),
        },
    );
    log.add(
        6 * SECOND,
        What::StepEnd {
            step: 0,
            result: StepResult::Held { detail: String::new() },
        },
    );
    log.add(6 * SECOND, What::End);
    log.events()
}

fn seen(witness: Witness) -> bool {
    seen_in(&failover(), witness)
}

fn seen_in(events: &[Event], witness: Witness) -> bool {
    let mut terms = Terms::default();
    terms.oracle.witness = vec![witness];
    match judge(events, &terms) {
        judgement if judgement.verdict == Verdict::Pass => true,
        judgement => {
            assert!(judgement.has("witness.missing"), "{:#?}", judgement.reasons);
            false
        }
    }
}

fn served_by(node: &str) -> Witness {
    Witness::ServedBy {
        service: Service::Webmail,
        node: node.into(),
    }
}

#[test]
fn who_served_after_the_fault_is_seen() {
    assert!(seen(served_by("mail2")));
}

#[test]
fn who_served_only_before_the_fault_is_not() {
    assert!(!seen(served_by("mail1")));
}

#[test]
fn without_a_fault_whoever_served_is_seen() {
    let mut events = failover();
    events.retain(|event| !matches!(event.what, What::Inject { .. } | What::Injected { .. }));
    assert!(seen_in(&events, served_by("mail1")));
}

#[test]
fn a_service_that_moved_is_seen() {
    assert!(seen(Witness::Moved {
        service: Service::Webmail
    }));
    assert!(!seen(Witness::Moved {
        service: Service::MailIn
    }));
}

#[test]
fn an_outage_is_seen_only_where_a_fault_can_have_caused_it() {
    assert!(seen(Witness::Outage {
        service: Service::Webmail
    }));
    let mut events = failover();
    events.retain(|event| !matches!(event.what, What::Inject { .. } | What::Injected { .. }));
    assert!(!seen_in(
        &events,
        Witness::Outage {
            service: Service::Webmail
        }
    ));
}

#[test]
fn mail_that_waited_for_a_moment_is_seen() {
    assert!(seen(Witness::Queued { node: "gateway".into() }));
    assert!(!seen(Witness::Queued { node: "mail1".into() }));
}

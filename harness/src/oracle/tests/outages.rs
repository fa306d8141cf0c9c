//! Outages on small time lines, and budgets for every service.

use std::collections::BTreeMap;
use std::time::Duration;

use super::story::{Log, SECOND, power_cut, receipt};
use crate::oracle::{Budgets, Gap, Judgement, NodeBudgets, Outage, Terms, Verdict, judge};
use crate::record::{Event, Micros, Operation, Outcome, Service, What};
use crate::units::Span;

/// An operation on a time line: begin and end in milliseconds, and whether it succeeded.
type Dash = (Micros, Micros, bool);

fn operation(service: Service) -> Operation {
    let (node, user) = ("mail2".to_owned(), "alice@example.org".to_owned());
    match service {
        Service::Webmail => Operation::WebmailLogin { user },
        Service::MailIn => Operation::SendMail {
            mail: "r1-m1".into(),
            to: user,
        },
        Service::Imap => Operation::ImapList { node, user },
        Service::Sql => Operation::SqlInsert {
            node,
            database: "vmail".into(),
            row: "r1-w1".into(),
        },
        Service::ImapClient => Operation::MailProgram { user },
    }
}

fn line(service: Service, dashes: &[Dash]) -> Log {
    let mut log = Log::default();
    log.add(
        0,
        What::Begin {
            scenario: "line".into(),
            seed: 1,
            run: "r1".into(),
            steps: 0,
        },
    );
    for (begin, end, fine) in dashes {
        let outcome = match fine {
            true => Outcome::Ok {
                served_by: Some("mail2".into()),
            },
            false => Outcome::Fail {
                reason: "no answer".into(),
            },
        };
        log.op(begin * 1000, (end - begin) * 1000, operation(service), outcome);
    }
    log
}

fn terms(service: Service, limit: u64) -> Terms {
    let span = Some(Span(Duration::from_secs(limit)));
    let mut budget = Budgets::default();
    match service {
        Service::Webmail => budget.webmail = span,
        Service::MailIn => budget.mail_in = span,
        Service::ImapClient => budget.imap_client = span,
        Service::Imap => budget.on = BTreeMap::from([("mail2".into(), NodeBudgets { imap: span, sql: None })]),
        Service::Sql => budget.on = BTreeMap::from([("mail2".into(), NodeBudgets { imap: None, sql: span })]),
    }
    let mut terms = Terms {
        budget,
        mail_nodes: vec!["mail1".into(), "mail2".into()],
        ..Terms::default()
    };
    // Only outages are looked at here.
    terms.oracle.ledger = Some(false);
    terms.oracle.replication = Some(false);
    terms.oracle.client = Some(false);
    terms
}

fn judged(service: Service, mut log: Log, limit: u64) -> Judgement {
    log.add(100 * SECOND, What::End);
    judge(&log.events(), &terms(service, limit))
}

fn webmail(dashes: &[Dash]) -> Outage {
    let judgement = judged(Service::Webmail, line(Service::Webmail, dashes), 1000);
    judgement.outages.into_iter().next().expect("webmail was used")
}

fn codes(judgement: &Judgement) -> Vec<&str> {
    judgement.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

const MS: Micros = 1000;

#[test]
fn an_outage_lasts_from_the_end_of_the_last_success_to_the_end_of_the_next() {
    let outage = webmail(&[
        (0, 200, true),
        (1000, 1300, false),
        (2000, 2100, false),
        (3000, 3400, true),
    ]);
    assert_eq!(
        outage.longest,
        Some(Gap {
            from: 200 * MS,
            to: Some(3400 * MS),
            length: 3200 * MS
        })
    );
    assert_eq!((outage.flaps, outage.total), (1, 3200 * MS));
}

#[test]
fn without_a_failure_there_is_no_outage() {
    let outage = webmail(&[(0, 200, true), (1000, 1700, true), (9000, 9200, true)]);
    assert_eq!((outage.longest, outage.flaps, outage.total), (None, 0, 0));
    assert_eq!(
        (outage.slowest, outage.blind),
        (700 * MS, 90_800 * MS - 8_300 * MS - 75_200 * MS)
    );
}

#[test]
fn two_outages_are_two_flaps_and_the_longer_counts() {
    let dashes = [
        (0, 100, true),
        (1000, 1100, false),
        (2000, 2100, true),
        (3000, 3100, true),
        (4000, 4100, false),
        (9000, 9100, true),
    ];
    let outage = webmail(&dashes);
    assert_eq!((outage.flaps, outage.total), (2, 8000 * MS));
    assert_eq!(outage.longest.map(|gap| gap.length), Some(6000 * MS));
}

#[test]
fn adjacent_outages_are_one_flap() {
    let outage = webmail(&[
        (0, 100, true),
        (1000, 1100, false),
        (2000, 2100, true),
        (2500, 2600, false),
        (3000, 3100, true),
    ]);
    assert_eq!((outage.flaps, outage.total), (1, 3000 * MS));
}

#[test]
fn an_unknown_outcome_is_time_without_service() {
    let mut log = line(Service::Webmail, &[(0, 100, true), (5000, 5100, true)]);
    let unknown = Outcome::Unknown {
        reason: "gave up".into(),
    };
    log.add(
        SECOND,
        What::Invoke {
            id: 99,
            operation: operation(Service::Webmail),
        },
    );
    log.add(
        4 * SECOND,
        What::Done {
            id: 99,
            outcome: unknown,
        },
    );
    assert_eq!(judged(Service::Webmail, log, 4).verdict, Verdict::Fail);
}

#[test]
fn an_operation_that_hangs_over_the_recovery_does_not_stretch_the_outage() {
    // The second client sits on the dead node until 9 s, but service was back at 4 s.
    let outage = webmail(&[
        (0, 100, true),
        (1000, 9000, false),
        (3000, 4000, true),
        (5000, 5100, true),
        (6000, 6100, true),
    ]);
    assert_eq!(outage.longest.map(|gap| gap.length), Some(3900 * MS));
    assert_eq!(outage.total, 3900 * MS);
}

#[test]
fn an_outage_that_starts_the_run_counts_from_the_first_operation() {
    let outage = webmail(&[(500, 600, false), (2000, 2100, true)]);
    assert_eq!(
        outage.longest,
        Some(Gap {
            from: 500 * MS,
            to: Some(2100 * MS),
            length: 1600 * MS
        })
    );
}

#[test]
fn an_outage_without_return_lasts_until_the_last_failure() {
    let outage = webmail(&[(0, 100, true), (1000, 1100, false), (7000, 7500, false)]);
    assert_eq!(
        outage.longest,
        Some(Gap {
            from: 100 * MS,
            to: None,
            length: 7400 * MS
        })
    );
}

#[test]
fn answers_that_come_late_without_failing_break_the_budget_too() {
    // Three clients hang on a frozen node and are answered at last: nobody failed, but for 19 s nobody was served.
    let dashes = [
        (0, 100, true),
        (1000, 20_000, true),
        (2000, 20_100, true),
        (3000, 20_200, true),
    ];
    let judgement = judged(Service::Webmail, line(Service::Webmail, &dashes), 15);
    assert_eq!(codes(&judgement), ["outage.webmail"]);
    assert_eq!(judgement.outages[0].slowest, 19 * SECOND);
}

#[test]
fn who_waits_longest_counts_even_if_others_are_answered_first() {
    // The first client waits from 1 s on; the second comes late and is answered before it.
    let outage = webmail(&[(0, 100, true), (1000, 20_000, true), (19_000, 19_500, true)]);
    assert_eq!(outage.slowest, 18_500 * MS);
}

#[test]
fn a_limit_of_the_node_goes_before_the_limit_of_the_service() {
    let mut terms = terms(Service::Sql, 3);
    terms.budget.sql = Some(Span(Duration::from_secs(1)));
    let mut log = line(Service::Sql, &[(0, 100, true), (500, 600, false), (1000, 2100, true)]);
    log.add(3 * SECOND, What::End);
    let judgement = judge(&log.events(), &terms);
    // mail2 may be away for 3 s and was for 2 s; mail1, which the service's own limit covers, was never asked.
    assert_eq!(codes(&judgement), ["outage.sql.unseen"]);
    assert!(
        judgement.reasons[0].detail.starts_with("sql on mail1"),
        "{}",
        judgement.reasons[0]
    );
}

/// A line that stays within 5 s.
const FINE: [Dash; 5] = [
    (0, 100, true),
    (2000, 2100, true),
    (3000, 3100, false),
    (5000, 5100, true),
    (8000, 8100, true),
];

fn with_fault(service: Service, dashes: &[Dash], at: Micros) -> Vec<Event> {
    let mut log = line(service, dashes);
    log.add(at, What::Inject { fault: power_cut() });
    log.add(
        at,
        What::Injected {
            fault: power_cut(),
            receipt: receipt("gone"),
        },
    );
    log.add(8200 * MS, What::TrafficEnd);
    log.add(100 * SECOND, What::End);
    log.events()
}

fn only(service: Service, events: &[Event], limit: u64, code: Option<&str>) {
    let judgement = judge(events, &terms(service, limit));
    assert_eq!(
        codes(&judgement),
        code.as_slice(),
        "{service:?}: {:#?}",
        judgement.reasons
    );
}

fn judged_by_failures(dashes: &[Dash], limit: usize) -> Vec<String> {
    let mut log = line(Service::Webmail, dashes);
    log.add(100 * SECOND, What::End);
    let mut terms = terms(Service::Webmail, 60);
    terms.budget.webmail = None;
    terms.budget.failures.webmail = Some(limit);
    let judgement = judge(&log.events(), &terms);
    judgement.reasons.iter().map(ToString::to_string).collect()
}

#[test]
fn one_failure_more_than_allowed_breaks_the_limit_however_short_it_was() {
    let dashes = [
        (0, 100, true),
        (1000, 1010, false),
        (1020, 1100, true),
        (2000, 2010, false),
        (2020, 2100, true),
    ];
    assert_eq!(judged_by_failures(&dashes, 2), Vec::<String>::new());
    let broken = judged_by_failures(&dashes, 1);
    assert_eq!(
        broken,
        ["outage.webmail.failed: webmail failed 2 times of 5, the first at 1.00 s, the limit is 1"]
    );
}

#[test]
fn a_limit_for_failures_shows_nothing_where_nothing_succeeded() {
    let unseen = ["outage.webmail.unseen: webmail has a limit for failures but never succeeded"];
    assert_eq!(judged_by_failures(&[], 0), unseen);
    assert_eq!(judged_by_failures(&[(0, 100, false)], 1), unseen);
}

macro_rules! for_every_service {
    ($($test:ident($service:ident): $check:block)*) => {
        $(#[test]
        fn $test() {
            for $service in Service::ALL {
                $check
            }
        })*
    };
}

for_every_service! {
    a_budget_is_kept(service): {
        only(service, &with_fault(service, &FINE, 2500 * MS), 5, None);
    }
    a_gap_beyond_the_limit_breaks_the_budget(service): {
        let code = format!("outage.{}", service.as_str());
        only(service, &with_fault(service, &FINE, 2500 * MS), 2, Some(&code));
    }
    a_gap_of_exactly_the_limit_keeps_the_budget(service): {
        only(service, &with_fault(service, &FINE, 2500 * MS), 3, None);
    }
    a_service_that_never_came_back_breaks_the_budget(service): {
        let code = format!("outage.{}", service.as_str());
        only(service, &with_fault(service, &[(0, 100, true), (1000, 1100, false), (5000, 8100, false)], 500 * MS), 5, Some(&code));
    }
    a_service_that_never_worked_breaks_the_budget(service): {
        let code = format!("outage.{}", service.as_str());
        only(service, &with_fault(service, &[(0, 100, false), (4000, 4100, false), (5000, 8100, false)], 500 * MS), 5, Some(&code));
    }
    a_service_away_at_the_end_of_traffic_leaves_a_doubt(service): {
        let code = format!("outage.{}.not-back", service.as_str());
        only(service, &with_fault(service, &[(0, 100, true), (4000, 4100, true), (8000, 8100, false)], 500 * MS), 5, Some(&code));
    }
    a_budget_for_a_service_that_nobody_used_shows_nothing(service): {
        let code = format!("outage.{}.unseen", service.as_str());
        only(service, &with_fault(service, &[], 500 * MS), 5, Some(&code));
    }
    a_single_operation_shows_nothing(service): {
        let code = format!("outage.{}.unseen", service.as_str());
        only(service, &with_fault(service, &[(4000, 8100, true)], 3900 * MS), 5, Some(&code));
    }
    operations_too_far_apart_to_see_the_limit_leave_a_doubt(service): {
        let code = format!("outage.{}.blind", service.as_str());
        only(service, &with_fault(service, &[(0, 100, true), (6000, 6100, true), (8000, 8100, true)], 500 * MS), 5, Some(&code));
    }
    operations_that_end_long_before_traffic_leave_a_doubt(service): {
        let code = format!("outage.{}.blind", service.as_str());
        only(service, &with_fault(service, &[(0, 100, true), (1000, 1100, true), (2000, 2100, true)], 1500 * MS), 5, Some(&code));
    }
    a_fault_before_the_first_operation_leaves_a_doubt(service): {
        let code = format!("outage.{}.blind", service.as_str());
        only(service, &with_fault(service, &[(6000, 6100, true), (8000, 8100, true)], 0), 5, Some(&code));
    }
    a_fault_after_the_last_operation_leaves_a_doubt(service): {
        let code = format!("outage.{}.blind", service.as_str());
        only(service, &with_fault(service, &FINE, 8150 * MS), 5, Some(&code));
    }
}

#[test]
fn the_way_back_after_a_fault_is_measured_from_the_order() {
    let mut log = Log::default();
    log.add(
        0,
        What::Begin {
            scenario: "line".into(),
            seed: 1,
            run: "r1".into(),
            steps: 0,
        },
    );
    let served = |node: &str| Outcome::Ok {
        served_by: Some(node.into()),
    };
    let login = || operation(Service::Webmail);
    log.op(0, SECOND, login(), served("mail1"));
    log.add(2 * SECOND, What::Inject { fault: power_cut() });
    // Served by the dying node before the evidence was there: no recovery.
    log.op(2 * SECOND + 1, SECOND / 10, login(), served("mail1"));
    log.add(
        3 * SECOND,
        What::Injected {
            fault: power_cut(),
            receipt: receipt("gone"),
        },
    );
    log.op(4 * SECOND, SECOND, login(), Outcome::Fail { reason: "503".into() });
    log.op(6 * SECOND, SECOND, login(), served("mail2"));
    log.add(9 * SECOND, What::End);
    let judgement = judge(&log.events(), &Terms::default());
    let recovery = &judgement.outages[0].recoveries[0];
    assert_eq!(recovery.back_after, Some(5 * SECOND));
    let moved = recovery.moved.as_ref().expect("another node served");
    assert_eq!(
        (moved.from.as_str(), moved.to.as_str(), moved.after),
        ("mail1", "mail2", 5 * SECOND)
    );
}

//! Synthetic records: a failover that went well, told by a script, and the ways to spoil it.

use std::collections::BTreeMap;

use crate::fault::{Fault, Receipt};
use crate::oracle::{Budgets, NodeBudgets, OracleConfig, Terms, Witness};
use crate::record::{Delivery, Event, Micros, Operation, Outcome, Service, StepResult, What};
use crate::units::Span;

pub const SECOND: Micros = 1_000_000;
pub const NODES: [&str; 2] = ["mail1", "mail2"];
pub const USERS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.org"];
pub const DATABASES: [&str; 2] = ["roundcubemail", "vmail"];
/// When the primary loses power.
const FAULT_AT: Micros = 10 * SECOND;

/// How one operation of the script comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    Accepted,
    Refused,
    /// Unknown to the client; it did not happen.
    UnknownAndLost,
    /// Unknown to the client; it happened.
    UnknownAndDone,
}

impl Comes {
    fn outcome(self) -> Outcome {
        match self {
            Comes::Accepted => Outcome::Ok { served_by: None },
            Comes::Refused => Outcome::Fail {
                reason: "451 try again later".into(),
            },
            Comes::UnknownAndLost | Comes::UnknownAndDone => Outcome::Unknown {
                reason: "connection lost after the final dot".into(),
            },
        }
    }

    fn happened(self) -> bool {
        matches!(self, Comes::Accepted | Comes::UnknownAndDone)
    }
}

/// What varies between correct runs.
#[derive(Debug, Clone)]
pub struct Script {
    /// Outcomes of messages, in turn, one a second.
    pub mails: Vec<Comes>,
    /// Outcomes of rows, in turn, one a second.
    pub rows: Vec<Comes>,
    /// How long webmail is away after the fault.
    pub outage: Micros,
    /// Answer times, in turn.
    pub answers: Vec<Micros>,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            mails: vec![Comes::Accepted],
            rows: vec![Comes::Accepted],
            outage: 8 * SECOND,
            answers: vec![SECOND / 10],
        }
    }
}

/// What the scenario of these records promises.
pub fn terms() -> Terms {
    let span = |seconds| Some(Span(std::time::Duration::from_secs(seconds)));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let on_mail2 = NodeBudgets {
        imap: span(5),
        sql: None,
    };
    Terms {
        oracle: OracleConfig {
            ledger: Some(true),
            replication: Some(true),
            rows_in: names(&DATABASES),
            witness: vec![Witness::Moved {
                service: Service::Webmail,
            }],
            ..OracleConfig::default()
        },
        budget: Budgets {
            webmail: span(15),
            converge: span(10),
            on: BTreeMap::from([("mail2".to_owned(), on_mail2)]),
            ..Budgets::default()
        },
        mail_nodes: names(&NODES),
        users: names(&USERS),
        databases: names(&DATABASES),
        delivery: Delivery::PerNode,
    }
}

/// A record under construction.
#[derive(Debug, Default)]
pub struct Log {
    events: Vec<Event>,
    ids: u64,
}

impl Log {
    pub fn add(&mut self, at: Micros, what: What) {
        self.events.push(Event { at, what });
    }

    pub fn op(&mut self, at: Micros, took: Micros, operation: Operation, outcome: Outcome) {
        let id = self.ids;
        self.ids += 1;
        self.add(at, What::Invoke { id, operation });
        self.add(at + took, What::Done { id, outcome });
    }

    /// Events in the order of their moments.
    pub fn events(mut self) -> Vec<Event> {
        self.events.sort_by_key(|event| event.at);
        self.events
    }
}

pub fn power_cut() -> Fault {
    Fault::PowerCut { node: "mail1".into() }
}

pub fn receipt(observed: &str) -> Receipt {
    Receipt {
        source: "qmp".into(),
        observed: observed.into(),
    }
}

/// The record of a run that went well, and in which the primary was away from the tenth second on.
pub fn told(script: &Script) -> Vec<Event> {
    let mut log = Log::default();
    let back_at = FAULT_AT + script.outage;
    let healed_at = back_at + 5 * SECOND;
    let quiet_at = healed_at + 5 * SECOND;
    log.add(
        0,
        What::Begin {
            scenario: "failover".into(),
            seed: 7,
            run: "r1".into(),
            steps: 2,
        },
    );
    let mut store = Store::default();
    for (tick, at) in (0..quiet_at)
        .step_by(usize::try_from(SECOND).expect("small"))
        .enumerate()
    {
        let down = (FAULT_AT..healed_at).contains(&at);
        traffic(
            &mut log,
            script,
            &mut store,
            tick,
            at,
            down,
            (FAULT_AT..back_at).contains(&at),
        );
    }
    breakage(&mut log, healed_at, back_at);
    log.add(quiet_at, What::TrafficEnd);
    let last = quiet_at + 20 * SECOND;
    log.add(last, What::Converged { after: 6 * SECOND });
    store.looked_into(&mut log, last);
    log.add(last + SECOND, What::End);
    log.events()
}

/// The fault, its healing, and the steps that tell of them.
fn breakage(log: &mut Log, healed_at: Micros, back_at: Micros) {
    let fault = power_cut();
    let held = |detail: &str| StepResult::Held { detail: detail.into() };
    log.add(
        FAULT_AT - 2,
        What::StepBegin {
            step: 0,
            kind: "fault".into(),
            title: "mail1 loses power".into(),
        },
    );
    log.add(FAULT_AT - 1, What::Inject { fault: fault.clone() });
    log.add(
        FAULT_AT,
        What::Injected {
            fault: fault.clone(),
            receipt: receipt("the process is gone"),
        },
    );
    log.add(
        FAULT_AT,
        What::StepEnd {
            step: 0,
            result: held("the process is gone"),
        },
    );
    log.add(
        FAULT_AT + 1,
        What::StepBegin {
            step: 1,
            kind: "webmail".into(),
            title: "webmail by mail2".into(),
        },
    );
    log.add(
        back_at + SECOND,
        What::StepEnd {
            step: 1,
            result: held("served by mail2"),
        },
    );
    log.add(healed_at - SECOND, What::Heal { fault: fault.clone() });
    log.add(
        healed_at,
        What::Healed {
            fault,
            receipt: receipt("it answers"),
        },
    );
}

/// One second of traffic. `down`: the primary has no power; `away`: webmail has not noticed yet.
fn traffic(log: &mut Log, script: &Script, store: &mut Store, tick: usize, at: Micros, down: bool, away: bool) {
    let took = script.answers[tick % script.answers.len()];
    let survivor = NODES[usize::from(down)];
    let user = USERS[tick % USERS.len()];

    let mail = format!("r1-m{tick}");
    let comes = script.mails[tick % script.mails.len()];
    log.op(
        at,
        took,
        Operation::SendMail {
            mail: mail.clone(),
            to: user.into(),
        },
        comes.outcome(),
    );
    if comes.happened() {
        store.mails.entry((survivor, user)).or_default().push(mail);
    }

    let login = match away {
        true => Outcome::Fail {
            reason: "503 Service Unavailable".into(),
        },
        false => Outcome::Ok {
            served_by: Some(survivor.into()),
        },
    };
    log.op(at, took, Operation::WebmailLogin { user: user.into() }, login);
    let list = Operation::ImapList {
        node: "mail2".into(),
        user: user.into(),
    };
    log.op(at, took, list, Outcome::Ok { served_by: None });

    // Both nodes and both databases in turn; what would go to a dead node goes to the other.
    let node = if down { "mail2" } else { NODES[tick % 2] };
    let database = DATABASES[(tick / 2) % 2];
    let row = format!("r1-w{tick}");
    let comes = script.rows[tick % script.rows.len()];
    let insert = Operation::SqlInsert {
        node: node.into(),
        database: database.into(),
        row: row.clone(),
    };
    log.op(at, took, insert, comes.outcome());
    if comes.happened() {
        store.rows.entry(database).or_default().push(row);
    }
}

/// What the cluster holds at the end.
#[derive(Debug, Default)]
struct Store {
    mails: BTreeMap<(&'static str, &'static str), Vec<String>>,
    rows: BTreeMap<&'static str, Vec<String>>,
}

impl Store {
    fn looked_into(mut self, log: &mut Log, at: Micros) {
        for node in NODES {
            log.add(
                at,
                What::Queue {
                    node: node.into(),
                    waiting: Vec::new(),
                },
            );
        }
        for node in NODES {
            for user in USERS {
                let mut mails = self.mails.remove(&(node, user)).unwrap_or_default();
                mails.insert(0, "welcome@example.org".into());
                log.add(
                    at,
                    What::Mailbox {
                        node: node.into(),
                        user: user.into(),
                        mails,
                    },
                );
            }
            for database in DATABASES {
                let rows = self.rows.get(database).cloned().unwrap_or_default();
                log.add(
                    at,
                    What::Rows {
                        node: node.into(),
                        database: database.into(),
                        rows,
                    },
                );
                for table in ["marks", "users"] {
                    let checksum = format!("{}", database.len() * 1000 + table.len());
                    let (node, database, table) = (node.into(), database.into(), table.into());
                    log.add(
                        at,
                        What::Checksum {
                            node,
                            database,
                            table,
                            checksum,
                        },
                    );
                }
            }
            let (io_running, sql_running, error) = (true, true, String::new());
            log.add(
                at,
                What::Replication {
                    node: node.into(),
                    io_running,
                    sql_running,
                    error,
                },
            );
        }
    }
}

/// Places of the events that fit.
pub fn places(events: &[Event], fits: impl Fn(&What) -> bool) -> Vec<usize> {
    (0..events.len()).filter(|place| fits(&events[*place].what)).collect()
}

/// Takes out every event that fits; there must be one.
pub fn without(events: &mut Vec<Event>, fits: impl Fn(&What) -> bool) {
    let before = events.len();
    events.retain(|event| !fits(&event.what));
    assert!(events.len() < before, "the planted defect found nothing to take out");
}

/// Changes the first event that fits; there must be one.
pub fn change(events: &mut [Event], mut edit: impl FnMut(&mut What) -> bool) {
    assert!(
        events.iter_mut().any(|event| edit(&mut event.what)),
        "the planted defect found nothing to change"
    );
}

/// The ids in the final look into one mailbox.
pub fn mailbox<'a>(events: &'a mut [Event], node: &str, user: &str) -> &'a mut Vec<String> {
    let found = events.iter_mut().find_map(|event| match &mut event.what {
        What::Mailbox {
            node: at,
            user: of,
            mails,
        } if at == node && of == user => Some(mails),
        _ => None,
    });
    found.expect("a look into that mailbox")
}

/// The rows in the final look at one database of one node.
pub fn rows<'a>(events: &'a mut [Event], node: &str, database: &str) -> &'a mut Vec<String> {
    let found = events.iter_mut().find_map(|event| match &mut event.what {
        What::Rows {
            node: at,
            database: of,
            rows,
        } if at == node && of == database => Some(rows),
        _ => None,
    });
    found.expect("a look at those rows")
}

/// Gives the operation that fits another outcome.
pub fn comes_out(events: &mut [Event], fits: impl Fn(&Operation) -> bool, comes: Comes) {
    let id = events.iter().find_map(|event| match &event.what {
        What::Invoke { id, operation } if fits(operation) => Some(*id),
        _ => None,
    });
    let id = id.expect("an operation that fits");
    change(events, |what| match what {
        What::Done { id: of, outcome } if *of == id => {
            *outcome = comes.outcome();
            true
        }
        _ => false,
    });
}

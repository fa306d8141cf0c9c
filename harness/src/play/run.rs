//! What all parts of one run share: the fleet, the record, ids, and the client operations with their two events each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::program::Desk;
use super::sample::Sampler;
use super::sender::Sender;
use super::{Observer, Settings};
use crate::fleet::{Departure, Fleet, FleetError, Mail, Topology};
use crate::record::{Operation, Outcome, Recorder, Service, What, mark};

/// How much longer than its deadline an operation may take before it is given up from outside.
const GRACE: Duration = Duration::from_secs(10);

/// One run of a scenario.
pub(super) struct Run {
    pub fleet: Arc<dyn Fleet>,
    pub topology: Topology,
    pub recorder: Recorder,
    pub observer: Arc<dyn Observer>,
    pub settings: Settings,
    pub sender: Sender,
    pub sampler: Sampler,
    pub desk: Desk,
    ledger: Mutex<Ledger>,
}

/// What the steps need to know of the operations so far. Verdicts never come from here but from the record.
#[derive(Default)]
struct Ledger {
    /// Service and moment of the beginning of each operation that succeeded.
    successes: Vec<(Service, Instant)>,
    /// Accepted messages: id to recipient.
    accepted: BTreeMap<String, String>,
    /// Envelope senders used; a queue entry for one of them is a non-delivery notice.
    senders: BTreeSet<String>,
    /// Log lines about bounces that were there before the run.
    old_bounces: BTreeSet<String>,
}

impl Run {
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings, recorder: Recorder, observer: Arc<dyn Observer>) -> Run {
        let topology = fleet.topology().clone();
        Run {
            fleet,
            topology,
            recorder,
            observer,
            settings,
            sender: Sender::default(),
            sampler: Sampler::default(),
            desk: Desk::default(),
            ledger: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guard against hanging, stretched for slow machines.
    pub fn stretch(&self, limit: Duration) -> Duration {
        limit.mul_f64(self.fleet.slowness().max(1.0))
    }

    /// An id that no other message or row has.
    pub fn fresh_id(&self) -> String {
        mark(&self.settings.run_id, self.recorder.next_id())
    }

    /// True for ids of this run; a cluster that served other runs has theirs too.
    pub fn is_ours(&self, id: &str) -> bool {
        id.strip_prefix(&self.settings.run_id)
            .is_some_and(|rest| rest.starts_with('-'))
    }

    /// A message nobody has sent yet.
    pub fn compose(&self, to: &str, body_bytes: usize) -> Mail {
        let from = "ledger@sender.example".to_owned();
        self.ledger().senders.insert(from.clone());
        Mail {
            id: self.fresh_id(),
            from,
            to: to.to_owned(),
            body_bytes,
        }
    }

    /// One attempt to hand over a message.
    pub async fn send(&self, mail: &Mail, deadline: Duration) -> Outcome {
        let operation = Operation::SendMail {
            mail: mail.id.clone(),
            to: mail.to.clone(),
        };
        let outcome = self
            .operate(operation, deadline, self.fleet.send_mail(mail, deadline))
            .await;
        if matches!(outcome, Outcome::Ok { .. }) {
            self.ledger().accepted.insert(mail.id.clone(), mail.to.clone());
        }
        outcome
    }

    /// One attempt of a mail program to hand over a message.
    pub async fn submit(&self, balancer: &str, port: u16, mail: &Mail, deadline: Duration) -> Outcome {
        let operation = Operation::SendMail {
            mail: mail.id.clone(),
            to: mail.to.clone(),
        };
        let submission = self.fleet.program_submits(balancer, port, mail, deadline);
        let outcome = self.operate(operation, deadline, submission).await;
        if matches!(outcome, Outcome::Ok { .. }) {
            self.ledger().accepted.insert(mail.id.clone(), mail.to.clone());
        }
        outcome
    }

    /// One message from elsewhere, to a user who has it forwarded there; with what came back.
    pub async fn forward(&self, mail: &Mail, deadline: Duration) -> Result<Departure, FleetError> {
        let operation = Operation::SendMail {
            mail: mail.id.clone(),
            to: mail.to.clone(),
        };
        let mut back = Err(FleetError {
            node: mail.to.clone(),
            what: format!("forward {}", mail.id),
            reason: format!("nothing came back within {deadline:?}"),
        });
        let outcome = self.operate(operation, deadline, async {
            let (taken, came) = self.fleet.mail_returns(mail, deadline).await;
            back = came;
            taken
        });
        if matches!(outcome.await, Outcome::Ok { .. }) {
            self.ledger().accepted.insert(mail.id.clone(), mail.to.clone());
        }
        back
    }

    /// One webmail log-in.
    pub async fn login(&self, user: &str, deadline: Duration) -> Outcome {
        let operation = Operation::WebmailLogin { user: user.to_owned() };
        self.operate(operation, deadline, self.fleet.webmail_login(user, deadline))
            .await
    }

    /// One fresh row; gives its mark and the outcome.
    pub async fn insert(&self, node: &str, database: &str, deadline: Duration) -> (String, Outcome) {
        let row = self.fresh_id();
        let operation = Operation::SqlInsert {
            node: node.to_owned(),
            database: database.to_owned(),
            row: row.clone(),
        };
        let outcome = self
            .operate(
                operation,
                deadline,
                self.fleet.sql_insert(node, database, &row, deadline),
            )
            .await;
        (row, outcome)
    }

    /// One IMAP log-in and listing.
    pub async fn list(&self, node: &str, user: &str, deadline: Duration) -> Outcome {
        let operation = Operation::ImapList {
            node: node.to_owned(),
            user: user.to_owned(),
        };
        let doors = self.topology.doors();
        let listing = async {
            if doors.contains(&node) {
                return self.fleet.program_lists(node, user, deadline).await;
            }
            match self.fleet.imap_list(node, user, deadline).await {
                Ok(_) => Outcome::Ok {
                    served_by: Some(node.to_owned()),
                },
                Err(error) => Outcome::Fail { reason: error.reason },
            }
        };
        self.operate(operation, deadline, listing).await
    }

    /// One operation with its two events.
    pub async fn operate(
        &self,
        operation: Operation,
        deadline: Duration,
        future: impl Future<Output = Outcome>,
    ) -> Outcome {
        let service = operation.service();
        let began = Instant::now();
        let id = self.recorder.invoke(operation);
        let outcome = match timeout(deadline + GRACE, future).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown {
                reason: format!("the client did not come back within {deadline:?}"),
            },
        };
        self.recorder.done(id, outcome.clone());
        if matches!(outcome, Outcome::Ok { .. }) {
            self.ledger().successes.push((service, began));
        }
        outcome
    }

    /// How many operations of a service that began after `since` succeeded.
    pub fn successes(&self, service: Service, since: Instant) -> u64 {
        let ledger = self.ledger();
        let counted = ledger
            .successes
            .iter()
            .filter(|(done, began)| *done == service && *began >= since);
        u64::try_from(counted.count()).unwrap_or(u64::MAX)
    }

    /// Accepted messages so far: id to recipient.
    pub fn accepted(&self) -> BTreeMap<String, String> {
        self.ledger().accepted.clone()
    }

    /// Forgets a message that a mail program removes: it need not be found any more.
    pub fn may_be_removed(&self, id: &str) {
        self.ledger().accepted.remove(id);
    }

    /// True if mail to this address can only be a non-delivery notice.
    pub fn is_sender(&self, address: &str) -> bool {
        self.ledger().senders.contains(address)
    }

    /// Remembers the bounces that earlier runs left in the logs.
    pub async fn note_bounces(&self) {
        for node in self.topology.queueing() {
            match self.fleet.bounces(node).await {
                Ok(lines) => self.ledger().old_bounces.extend(lines),
                Err(error) => self.note(format!("bounces of earlier runs are unknown: {error}")),
            }
        }
    }

    /// Bounces of this run in a node's log.
    pub async fn bounces(&self, node: &str) -> Result<Vec<String>, String> {
        let lines = self.fleet.bounces(node).await.map_err(|error| error.to_string())?;
        let ledger = self.ledger();
        Ok(lines
            .into_iter()
            .filter(|line| !ledger.old_bounces.contains(line))
            .collect())
    }

    /// A remark for the record and the terminal.
    pub fn note(&self, text: String) {
        self.observer.note(&text);
        self.recorder.record(What::Note { text });
    }

    /// The account that is meant when none is named.
    pub fn user_or_first<'a>(&'a self, user: &'a Option<String>) -> &'a str {
        user.as_deref()
            .or(self.topology.users.first().map(String::as_str))
            .unwrap_or_default()
    }

    /// The databases that are meant when none is named.
    pub fn databases_or_all<'a>(&'a self, databases: &'a [String]) -> &'a [String] {
        if databases.is_empty() {
            &self.topology.databases
        } else {
            databases
        }
    }
}

//! The event log of a run: one monotonic clock, one list of events, one JSONL file; everything else is derived from it.

pub mod client;
mod read;
mod recorder;
mod store;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Receipt};

pub use self::client::{ClientAction, SeenMail};
pub use self::read::{ReadError, read};
pub use self::recorder::{Recorder, WriteError};
pub use self::store::{Delivery, StoreStatus};

/// A moment of a run, microseconds since its record began.
pub type Micros = u64;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, microseconds since the record began.
    pub at: Micros,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// A service that clients use and that has an outage budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The whole webmail log-in through the load balancer.
    Webmail,
    /// Acceptance of mail by whichever MX host answers.
    MailIn,
    /// IMAP log-in and listing.
    Imap,
    /// A database write on one node (each node is judged apart).
    Sql,
    /// A session of a mail program that finds the open doors by itself.
    ImapClient,
}

impl Service {
    /// Every service, in the order of reports.
    pub const ALL: [Service; 5] = [
        Service::Webmail,
        Service::MailIn,
        Service::Imap,
        Service::Sql,
        Service::ImapClient,
    ];

    /// The name as it is written in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::Webmail => "webmail",
            Service::MailIn => "mail-in",
            Service::Imap => "imap",
            Service::Sql => "sql",
            Service::ImapClient => "imap-client",
        }
    }
}

/// What a client was told, or what became of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It succeeded and the service said so.
    Ok {
        /// Node that served it, where the service tells.
        #[serde(skip_serializing_if = "Option::is_none")]
        served_by: Option<String>,
    },
    /// It certainly did not happen.
    Fail {
        /// Why, in the service's or the client's words.
        reason: String,
    },
    /// It may or may not have happened, e.g. the connection broke after the final dot of DATA.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// The operation that a client tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Operation {
    /// Hand over one message by SMTP.
    SendMail {
        /// The unique id that the message carries.
        mail: String,
        /// Envelope recipient.
        to: String,
    },
    /// Log in to webmail and list the inbox.
    WebmailLogin {
        /// Mail address of the account.
        user: String,
    },
    /// Log in by IMAP and list the inbox.
    ImapList {
        /// Node asked.
        node: String,
        /// Mail address of the account.
        user: String,
    },
    /// A mail program opens an account on whichever node lets it in, fetches what is new and works on it.
    MailProgram {
        /// Mail address of the account.
        user: String,
    },
    /// Insert one marked row.
    SqlInsert {
        /// Node written to.
        node: String,
        /// Database.
        database: String,
        /// The unique mark of the row.
        row: String,
    },
}

impl Operation {
    /// The service that the operation exercises.
    pub fn service(&self) -> Service {
        match self {
            Operation::SendMail { .. } => Service::MailIn,
            Operation::WebmailLogin { .. } => Service::Webmail,
            Operation::ImapList { .. } => Service::Imap,
            Operation::SqlInsert { .. } => Service::Sql,
            Operation::MailProgram { .. } => Service::ImapClient,
        }
    }
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The run began.
    Begin {
        /// Scenario name.
        scenario: String,
        /// Seed of everything random in it.
        seed: u64,
        /// Marks what belongs to this run: ids of mails and rows begin with it and a hyphen (see [`mark`]).
        run: String,
        /// Number of steps in the plan, so that a run which stopped half-way is told from a whole one.
        steps: usize,
    },
    /// A client began an operation.
    Invoke {
        /// Number of the operation, unique in the run.
        id: u64,
        /// The operation.
        #[serde(flatten)]
        operation: Operation,
    },
    /// A client learnt the outcome of an operation.
    Done {
        /// Number of the operation.
        id: u64,
        /// The outcome.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A step of the scenario began.
    StepBegin {
        /// Position in the plan, from 0.
        step: usize,
        /// What kind of step it is, kebab-case: the kind of the expectation, or `fault`, `heal`, `run`, `hold`.
        kind: String,
        /// The step in words.
        title: String,
    },
    /// A step of the scenario ended.
    StepEnd {
        /// Position in the plan, from 0.
        step: usize,
        /// What it came to.
        #[serde(flatten)]
        result: StepResult,
    },
    /// A fault is about to be injected.
    Inject {
        /// The fault.
        fault: Fault,
    },
    /// A fault took hold.
    Injected {
        /// The fault.
        fault: Fault,
        /// The evidence.
        receipt: Receipt,
    },
    /// A fault is about to be healed.
    Heal {
        /// The fault.
        fault: Fault,
    },
    /// A fault was healed.
    Healed {
        /// The fault.
        fault: Fault,
        /// The evidence.
        receipt: Receipt,
    },
    /// A fault or its healing left no receipt.
    NoReceipt {
        /// The fault.
        fault: Fault,
        /// Why.
        reason: String,
    },
    /// The final look into one mailbox on one node: every message with its unique id, doubles listed twice. Of several
    /// looks the last counts. Taken after the last [`Operation::SendMail`] ended.
    Mailbox {
        /// Node asked.
        node: String,
        /// Mail address of the account.
        user: String,
        /// Unique ids found, in mailbox order.
        mails: Vec<String>,
    },
    /// The final look at the files of one account on the node that has the copy of the store: every message with its unique
    /// id, whichever folder it lies in, doubles listed twice. Of several looks the last counts.
    Copy {
        /// Node asked.
        node: String,
        /// Mail address of the account.
        user: String,
        /// Unique ids found.
        mails: Vec<String>,
    },
    /// A message lies in the copy of the store: no earlier than one moment, no later than another.
    Copied {
        /// Its unique id.
        mail: String,
        /// Node that has the copy.
        node: String,
        /// It was not yet there before this moment; the moment of its acceptance if nothing later is known.
        earliest: Micros,
        /// It was there at this moment.
        latest: Micros,
    },
    /// A message was waited for in the copy of the store and not seen.
    NotCopied {
        /// Its unique id.
        mail: String,
        /// Node that should have the copy.
        node: String,
        /// Why.
        reason: String,
    },
    /// What the agent of the mail store said on a node.
    Store {
        /// Node asked.
        node: String,
        /// Its words.
        #[serde(flatten)]
        status: StoreStatus,
    },
    /// A mail program looked into a folder: every message from a UID on.
    Folder {
        /// Node that let it in.
        node: String,
        /// Mail address of the account.
        user: String,
        /// Folder.
        folder: String,
        /// UIDVALIDITY.
        uid_validity: u32,
        /// UIDNEXT.
        uid_next: u32,
        /// The first UID asked for: 1 in a look at the whole folder.
        from: u32,
        /// Messages seen.
        mails: Vec<SeenMail>,
    },
    /// A mail program changed something in an account and learnt what became of it.
    Acted {
        /// Node that it was connected to.
        node: String,
        /// Mail address of the account.
        user: String,
        /// What it asked for.
        #[serde(flatten)]
        action: ClientAction,
        /// What it was told.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The mail programs' last look begins: [`What::Folder`] of every folder of every account follows.
    LastLook,
    /// A queue was looked at. For the ledger the last look at each node counts, if it was taken after the last
    /// [`Operation::SendMail`] ended. Queues are looked at in the direction of delivery and before the mailboxes, so
    /// that a message on its way is seen at least once.
    Queue {
        /// Node asked.
        node: String,
        /// Recipients that wait, one entry a message and recipient.
        waiting: Vec<String>,
    },
    /// The marked rows seen at the end in one database of one node, doubles listed twice. Of several looks the last
    /// counts. Taken after the last [`Operation::SqlInsert`] ended.
    Rows {
        /// Node asked.
        node: String,
        /// Database.
        database: String,
        /// Marks found.
        rows: Vec<String>,
    },
    /// The checksum of one table on one node. Of several looks the last counts.
    Checksum {
        /// Node asked.
        node: String,
        /// Database.
        database: String,
        /// Table.
        table: String,
        /// `CHECKSUM TABLE` result.
        checksum: String,
    },
    /// State of the replication link that a node reads from its peer.
    Replication {
        /// Node asked.
        node: String,
        /// `Slave_IO_Running` is `Yes`.
        io_running: bool,
        /// `Slave_SQL_Running` is `Yes`.
        sql_running: bool,
        /// Last IO or SQL error, empty if none.
        error: String,
    },
    /// Replication converged: both nodes are equal. Measured from the last healing or the end of traffic, whichever came
    /// later: under traffic the nodes are never equal for long.
    Converged {
        /// Microseconds.
        after: Micros,
    },
    /// Replication did not converge while it was waited for.
    NotConverged {
        /// Microseconds since the last healing or the end of traffic, whichever came later.
        after: Micros,
        /// What still differed.
        differs: String,
    },
    /// Background traffic was told to stop. Operations under way still end; what begins later belongs to a step, or is
    /// the foreign server trying waiting mail again.
    TrafficEnd,
    /// A remark for readers of the log.
    Note {
        /// The remark.
        text: String,
    },
    /// The run ended.
    End,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum StepResult {
    /// As expected.
    Held {
        /// What was measured or seen.
        detail: String,
    },
    /// Not as expected.
    Broken {
        /// What was seen instead.
        detail: String,
    },
    /// It cannot be told.
    Inconclusive {
        /// Why.
        detail: String,
    },
}

/// The mark of the `number`th mail or row of a run: unique in the run, and told from those of other runs.
pub fn mark(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

/// Microseconds of a duration, saturating.
pub fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

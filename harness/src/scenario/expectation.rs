//! What a scenario may expect of the cluster: one kind a variant, written `expect = "kind"` with its fields beside it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::fleet::Vantage;

/// An expectation. It is tried again until it holds or its time is over.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(tag = "expect")]
pub enum Expectation {
    /// A webmail log-in through the load balancer works.
    Webmail {
        /// Who logs in; the cluster's first account if left out.
        user: Option<String>,
        /// The node that must have served it.
        served_by: Option<String>,
    },
    /// A message from a foreign server is accepted (250).
    MailAccepted {
        /// Recipient; the cluster's first account if left out.
        to: Option<String>,
        /// The host that must have accepted it.
        by: Option<String>,
    },
    /// A message sent in this step lands in the recipient's mailbox.
    MailDelivered {
        /// Recipient; the cluster's first account if left out.
        to: Option<String>,
        /// The mail node whose mailbox it must be in; any if left out.
        on: Option<String>,
    },
    /// Every message that was accepted before this step is in a mailbox of its recipient.
    AllDelivered,
    /// A row is acknowledged.
    SqlWrite {
        /// The node written to.
        node: String,
        /// Databases; all replicated ones if left out.
        #[serde(default)]
        databases: Vec<String>,
    },
    /// Rows written on one mail node are seen on the other. Without `from`: on both at the same moment, both ways.
    RowReplicated {
        /// The node written to.
        from: Option<String>,
        /// Databases; all replicated ones if left out.
        #[serde(default)]
        databases: Vec<String>,
        /// Rows for each database and direction.
        #[serde(default = "one")]
        rows: u32,
    },
    /// A webmail log-in appears in `roundcubemail.users` on both mail nodes.
    LoginReplicated {
        /// Who logs in.
        user: String,
        /// The node that must have served it.
        served_by: Option<String>,
    },
    /// Both replica threads of every mail node run.
    ReplicationRunning,
    /// Every table of every replicated database has the same checksum on both mail nodes.
    Converged,
    /// Mail waits in a queue.
    QueueHolds {
        /// The node; the gateway if left out.
        node: Option<String>,
        /// At least so many messages.
        at_least: u32,
    },
    /// No mail waits in a queue.
    QueueEmpty {
        /// The node; every gateway and mail node if left out.
        node: Option<String>,
    },
    /// No host has bounced mail since the scenario began, and no non-delivery notice waits in a queue.
    NothingBounced,
    /// One node is the writer of the mail store: its doors are open, those of the other one are not.
    Writer {
        /// The node; any if left out.
        node: Option<String>,
    },
    /// The standby has everything that the writer of the mail store has, and no tail waits to be merged.
    StoreInStep,
    /// The virtual address is on one load balancer and on no other one that runs.
    AddressAt {
        /// The load balancer.
        node: String,
    },
    /// A TCP port is open or closed to somebody.
    Door {
        /// Where the client stands.
        from: Vantage,
        /// The node.
        node: String,
        /// The port.
        port: u16,
        /// What it must be.
        state: DoorState,
    },
    /// An SMTP server refuses what it must refuse, in a plain dialogue with the port.
    SmtpRefuses {
        /// Where the client stands.
        from: Vantage,
        /// The node.
        node: String,
        /// The port.
        #[serde(default = "smtp_port")]
        port: u16,
        /// What must be refused.
        what: Refusal,
    },
    /// A message that a user's mail program hands over through the load balancer, over TLS that verifies the name for
    /// mail programs, lands in a mailbox.
    MailSubmitted {
        /// Who logs in and sends; the cluster's first account if left out.
        from: Option<String>,
        /// Recipient; the cluster's first account if left out.
        to: Option<String>,
        /// The port: 465 with TLS from the first byte, 587 with STARTTLS.
        #[serde(default = "submissions_port")]
        port: u16,
        /// The node that must have taken it.
        served_by: Option<String>,
    },
    /// A message that a user's mail program sends to somebody elsewhere leaves through a gateway, and its DKIM signature holds
    /// for the domain in its From line, by the key in the generated zone.
    MailSigned {
        /// Who logs in and sends; the cluster's first account if left out.
        from: Option<String>,
        /// The gateway that must have handed it over; any if left out.
        by: Option<String>,
    },
    /// A message that a domain elsewhere has signed, to a user whose rules forward it there, comes back through a gateway, and
    /// the gateway's seal (ARC) says by the key in the generated zone that it was authentic when it came.
    MailSealed {
        /// Who forwards; the cluster's first account if left out.
        to: Option<String>,
        /// The gateway that must have handed it over; any if left out.
        by: Option<String>,
    },
    /// Nothing ails the cluster.
    Healthy,
}

/// What a port must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DoorState {
    /// Connections are accepted.
    Open,
    /// Connections are refused or not answered.
    Closed,
}

/// What an SMTP server must refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// A recipient of a foreign domain, also in the disguises `user%foreign@own` and `"user@foreign"@own`.
    Relay,
    /// A recipient that does not exist in the own domain.
    UnknownUser,
    /// A log-in before STARTTLS: AUTH is not offered, and not taken when it is tried all the same.
    ClearTextLogin,
    /// The message by which filters of spam are tested (GTUBE).
    SpamTest,
    /// A message with the file by which filters of viruses are tested (EICAR), and one that has it in an archive.
    Virus,
    /// A message with an attachment that is a program.
    Program,
    /// A message whose From line names a domain that nobody may send for, and that wants such mail refused (DMARC).
    Forgery,
    /// Any message, while what looks at it is away: for now only (4xx), so that it comes again.
    Unseen,
}

fn one() -> u32 {
    1
}

fn smtp_port() -> u16 {
    25
}

fn submissions_port() -> u16 {
    465
}

impl Expectation {
    /// The kinds as they are written in files, in the order of the description.
    pub const KINDS: [&str; 21] = [
        "webmail",
        "mail-accepted",
        "mail-delivered",
        "all-delivered",
        "sql-write",
        "row-replicated",
        "login-replicated",
        "replication-running",
        "converged",
        "queue-holds",
        "queue-empty",
        "nothing-bounced",
        "writer",
        "store-in-step",
        "address-at",
        "door",
        "smtp-refuses",
        "mail-submitted",
        "mail-signed",
        "mail-sealed",
        "healthy",
    ];

    /// The kind as it is written in files.
    pub fn kind(&self) -> &'static str {
        match self {
            Expectation::Webmail { .. } => "webmail",
            Expectation::MailAccepted { .. } => "mail-accepted",
            Expectation::MailDelivered { .. } => "mail-delivered",
            Expectation::AllDelivered => "all-delivered",
            Expectation::SqlWrite { .. } => "sql-write",
            Expectation::RowReplicated { .. } => "row-replicated",
            Expectation::LoginReplicated { .. } => "login-replicated",
            Expectation::ReplicationRunning => "replication-running",
            Expectation::Converged => "converged",
            Expectation::QueueHolds { .. } => "queue-holds",
            Expectation::QueueEmpty { .. } => "queue-empty",
            Expectation::NothingBounced => "nothing-bounced",
            Expectation::Writer { .. } => "writer",
            Expectation::StoreInStep => "store-in-step",
            Expectation::AddressAt { .. } => "address-at",
            Expectation::Door { .. } => "door",
            Expectation::SmtpRefuses { .. } => "smtp-refuses",
            Expectation::MailSubmitted { .. } => "mail-submitted",
            Expectation::MailSigned { .. } => "mail-signed",
            Expectation::MailSealed { .. } => "mail-sealed",
            Expectation::Healthy => "healthy",
        }
    }
}

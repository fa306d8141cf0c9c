//! A cluster under test behind one trait: real machines (`qemu`) or a simulation (`fake`) that plays the same
//! scenarios in milliseconds and can carry planted defects.

mod copy;
pub mod fake;
mod launch;
pub mod mailbox;
pub mod qemu;
pub mod store;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::fault::{Fault, Receipt};
use crate::record::Outcome;
use crate::report::{Facts, Pace};

pub use self::copy::{Arrival, StoreRole};
pub use self::launch::{Begin, ClusterFile, LaunchError, LaunchRequest, launch, launch_machines};
pub use self::mailbox::{Look, MailSession, SessionError, Stored};
pub use self::store::{Delivery, StoreStatus};
pub use generator::spec::{Engine, Role};

/// What a scenario needs to know of the cluster.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Name of the cluster.
    pub name: String,
    /// The main mail domain.
    pub domain: String,
    /// Webmail's host name.
    pub webmail_host: String,
    /// The name that mail programs are set to, if the load balancers have doors for them.
    pub access_host: Option<String>,
    /// The address that moves between two load balancers, if there is one.
    pub virtual_address: Option<Ipv4Addr>,
    /// Machines in the order of the description.
    pub nodes: Vec<NodeInfo>,
    /// Mail addresses of the accounts.
    pub users: Vec<String>,
    /// Replicated databases.
    pub databases: Vec<String>,
    /// Where mail lies.
    pub delivery: Delivery,
    /// Who decides which node is the writer of the mail store.
    pub engine: Engine,
    /// Whether what users send is signed.
    pub signs: bool,
    /// Whether mail is looked at before it is taken in.
    pub filters: bool,
    /// Gateways find out who mail from elsewhere is from.
    pub authenticates: bool,
}

impl From<&generator::spec::Cluster> for Topology {
    fn from(cluster: &generator::spec::Cluster) -> Topology {
        let node = |node: &generator::spec::Node| NodeInfo {
            name: node.name.clone(),
            role: node.role,
            address: node.address,
            primary: node.primary,
        };
        Topology {
            name: cluster.cluster.name.clone(),
            domain: cluster.cluster.domain.clone(),
            webmail_host: cluster.webmail.host.clone(),
            access_host: cluster.access.as_ref().map(|access| access.host.clone()),
            virtual_address: cluster.virtual_address().map(|shared| shared.address),
            nodes: cluster.nodes.iter().map(node).collect(),
            users: cluster
                .mailboxes
                .iter()
                .map(|mailbox| mailbox.address.clone())
                .collect(),
            databases: cluster.database.replicate.clone(),
            delivery: if cluster.store.is_some() {
                Delivery::Store
            } else {
                Delivery::PerNode
            },
            engine: cluster.election.engine,
            signs: cluster.authenticity.is_some(),
            filters: cluster.filter.is_some(),
            authenticates: cluster.authenticates(),
        }
    }
}

impl Topology {
    /// Whether mail lies in one store on both mail nodes.
    pub fn has_store(&self) -> bool {
        self.delivery != Delivery::PerNode
    }

    /// Names of the nodes of a role; of the mail nodes the primary comes first.
    pub fn of_role(&self, role: Role) -> Vec<&str> {
        let mut nodes: Vec<&NodeInfo> = self.nodes.iter().filter(|node| node.role == role).collect();
        nodes.sort_by_key(|node| !node.primary);
        nodes.into_iter().map(|node| node.name.as_str()).collect()
    }

    /// Where mail programs find a door: at the virtual address, and at each load balancer. The first is what their name
    /// leads to.
    pub fn doors(&self) -> Vec<&str> {
        let Some(_) = self.access_host else {
            return Vec::new();
        };
        let shared = self.virtual_address.map(|_| VIRTUAL_ADDRESS);
        shared.into_iter().chain(self.of_role(Role::LoadBalancer)).collect()
    }

    /// The services that a machine runs and that faults can break, as systemd units without `.service`.
    pub fn services_of(&self, node: &NodeInfo) -> Vec<&'static str> {
        let moves = node.role == Role::LoadBalancer && self.virtual_address.is_some();
        let gateway = node.role == Role::Gateway;
        let filters: &[&str] = if gateway && self.filters {
            &["clamav-daemon", "clamav-milter"]
        } else {
            &[]
        };
        let of_role = services_of(node.role).iter().copied();
        let further = moves
            .then_some("keepalived")
            .into_iter()
            .chain((gateway && (self.signs || self.filters)).then_some("rspamd"))
            .chain(filters.iter().copied());
        of_role.chain(further).collect()
    }

    /// The hosts that keep mail in a queue: gateways and mail nodes.
    pub fn queueing(&self) -> Vec<&str> {
        [self.of_role(Role::Gateway), self.of_role(Role::Mail)].concat()
    }
}

/// What stands for the virtual address where a scenario names a host.
pub const VIRTUAL_ADDRESS: &str = "virtual-address";

/// The services that every machine of a role runs.
fn services_of(role: Role) -> &'static [&'static str] {
    match role {
        Role::Mail => &["nginx", "php8.4-fpm", "postfix", "dovecot", "mariadb"],
        Role::Gateway => &["postfix"],
        Role::LoadBalancer => &["haproxy"],
    }
}

/// One machine of a topology.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// Short name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its address.
    pub address: Ipv4Addr,
    /// The primary mail node.
    pub primary: bool,
}

/// A message that a foreign sender hands over.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Unique id; it is the local part of Message-ID and a header of its own, `X-Ledger-Id`.
    pub id: String,
    /// Envelope sender, of a foreign domain.
    pub from: String,
    /// Envelope recipient.
    pub to: String,
    /// Size of the body in bytes, filled with readable text.
    pub body_bytes: usize,
}

/// A message of a user as a server elsewhere got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The node that handed it over; its address if it is none.
    pub by: String,
    /// Who has signed or sealed it with which key, or what a receiver objects to.
    pub signature: Result<String, String>,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Vantage {
    /// A host on the internet, beyond the router.
    Outside,
    /// A host in the cluster's own subnet that is no node.
    Inside,
}

/// What a TCP connection attempt met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// The connection was accepted.
    Open,
    /// It was refused with a reset or an ICMP answer.
    Refused,
    /// Nothing answered before the deadline.
    Silent,
}

/// Output of a command on a node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExecOutput {
    /// Exit status; 128 + signal number when killed.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A message found in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundMail {
    /// Its `X-Ledger-Id`, or `Message-ID` for mail that is not ours.
    pub id: String,
    /// IMAP UID.
    pub uid: u32,
}

/// What a node's replica thread says (`SHOW REPLICA STATUS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationStatus {
    /// `Slave_IO_Running` is `Yes`.
    pub io_running: bool,
    /// `Slave_SQL_Running` is `Yes`.
    pub sql_running: bool,
    /// The SQL thread stands at an event that it could not apply (`Last_SQL_Errno` is not 0): it takes an operator to go on,
    /// so waiting is of no use.
    pub refused: bool,
    /// Last IO or SQL error, empty if none.
    pub error: String,
    /// `gtid_current_pos` or `gtid_slave_pos` merged, for people.
    pub gtid: String,
}

/// Why an operation of a client or on a node gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{node}: {what}: {reason}")]
pub struct FleetError {
    /// The machine concerned (or `cluster`).
    pub node: String,
    /// What was tried, with its deadline.
    pub what: String,
    /// What happened instead, with the last output where there is some.
    pub reason: String,
}

/// A running cluster: clients that use it, faults that break it, and the evidence it leaves.
///
/// Every method has a deadline of its own; none waits for ever. Client methods return an [`Outcome`], never an error:
/// a service that does not answer is what scenarios are about.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// The cluster's description.
    fn topology(&self) -> &Topology;

    /// What reports say about it: `fleet`, accelerator, versions, and how long each stage of the launch took.
    fn facts(&self) -> Facts;

    /// Factor by which time limits are stretched: 1 with hardware virtualisation, more under emulation. It is for
    /// limits that guard against hanging; the budgets of a scenario follow the measured [`crate::report::Pace`] instead.
    fn slowness(&self) -> f64;

    /// How fast its users are served while nothing is broken; measured once, and only where machines are emulated.
    async fn pace(&self) -> Option<Pace> {
        None
    }

    /// Hands one message over as a foreign mail server does: look up MX, try the hosts by preference (RFC 5321
    /// section 5.1). One attempt; [`Outcome::Fail`] covers both refusal and "no host reached", told apart in the reason.
    async fn send_mail(&self, mail: &Mail, deadline: Duration) -> Outcome;

    /// The whole webmail log-in through the load balancer: form, token, session, message list, log-out.
    async fn webmail_login(&self, user: &str, deadline: Duration) -> Outcome;

    /// IMAP over TLS straight to a mail node: log in, list INBOX with ledger ids.
    async fn imap_list(&self, node: &str, user: &str, deadline: Duration) -> Result<Vec<FoundMail>, FleetError>;

    /// As [`Fleet::imap_list`] by a mail program that comes through a load balancer; tells the node behind it.
    async fn program_lists(&self, balancer: &str, user: &str, deadline: Duration) -> Outcome;

    /// A mail program hands a message over at a load balancer's port for submission, logged in as the message's sender;
    /// tells the node behind it. One attempt.
    async fn program_submits(&self, balancer: &str, port: u16, mail: &Mail, deadline: Duration) -> Outcome;

    /// As [`Fleet::program_submits`] at the port with TLS from the first byte, for somebody elsewhere; the recipient in `mail`
    /// does not matter. Tells what the server there got.
    ///
    /// # Errors
    /// It was not taken, or did not arrive in time.
    async fn mail_leaves(&self, balancer: &str, mail: &Mail, deadline: Duration) -> Result<Departure, FleetError>;

    /// A server elsewhere hands a message over that its domain has signed, for a user who has mail forwarded to that domain, and
    /// takes what comes back. The sender in `mail` does not matter. Tells what came of the first, and who has sealed the second.
    async fn mail_returns(&self, mail: &Mail, deadline: Duration) -> (Outcome, Result<Departure, FleetError>);

    /// Inserts one marked row into `database` on `node` and says whether it was acknowledged.
    async fn sql_insert(&self, node: &str, database: &str, row: &str, deadline: Duration) -> Outcome;

    /// The marks of all rows inserted by [`Fleet::sql_insert`] that `node` has in `database`.
    async fn sql_rows(&self, node: &str, database: &str) -> Result<Vec<String>, FleetError>;

    /// `CHECKSUM TABLE` of every table of `database` on `node`, table name to checksum. Tables that only hold
    /// per-node state are none of ours: everything replicated must be equal.
    async fn checksums(&self, node: &str, database: &str) -> Result<Vec<(String, String)>, FleetError>;

    /// A read-only query whose rows are returned tab-separated, one string a row.
    async fn sql_query(&self, node: &str, database: &str, query: &str) -> Result<Vec<String>, FleetError>;

    /// When an account last logged in to webmail, as `roundcubemail.users` on `node` has it; `None` if it never did.
    async fn last_login(&self, node: &str, user: &str) -> Result<Option<String>, FleetError> {
        let user = user.replace(['\\', '\''], "");
        let query = format!("SELECT CONCAT(user_id, ' ', IFNULL(last_login, '')) FROM users WHERE username = '{user}'");
        Ok(self.sql_query(node, "roundcubemail", &query).await?.into_iter().next())
    }

    /// The replica threads of a node.
    async fn replication_status(&self, node: &str) -> Result<ReplicationStatus, FleetError>;

    /// Recipients that wait in the node's mail queue, one entry a message and recipient.
    async fn queue(&self, node: &str) -> Result<Vec<String>, FleetError>;

    /// Log lines of a node's Postfix that tell of a bounce, oldest first: `status=bounced` or a non-delivery notice. They
    /// stay as long as the log stays, so callers compare with what was there before.
    async fn bounces(&self, node: &str) -> Result<Vec<String>, FleetError> {
        let pattern = "--grep=status=bounced|sender non-delivery notification";
        // Of this unit only: the guest agent logs the commands it runs, this very pattern among them.
        let argv = [
            "journalctl",
            "--unit=postfix.service",
            "--no-pager",
            "--quiet",
            "--output=short-iso",
            pattern,
        ]
        .map(str::to_owned);
        let output = self
            .exec(node, &argv, Duration::from_secs(30).mul_f64(self.slowness()))
            .await?;
        match output.status {
            // journalctl ends with 1 when nothing matches (journalctl(1), --grep).
            0 | 1 => Ok(output.stdout.lines().map(str::to_owned).collect()),
            status => Err(FleetError {
                node: node.to_owned(),
                what: "search the journal for bounces".into(),
                reason: format!("journalctl ended with {status}: {}", output.stderr.trim()),
            }),
        }
    }

    /// What the agent of the mail store says on a node.
    async fn store_status(&self, node: &str) -> Result<StoreStatus, FleetError> {
        copy::status(self, node).await
    }

    /// Makes a node of the mail store writer or standby, as an operator does who calls its agent.
    async fn store_role(&self, node: &str, role: StoreRole, deadline: Duration) -> Result<String, FleetError> {
        copy::change_role(self, node, role, deadline).await
    }

    /// Asks the engine that decides to make this node the writer, as an operator does who plans it: on the node itself.
    async fn store_move(&self, node: &str, deadline: Duration) -> Result<String, FleetError> {
        copy::move_role(self, node, deadline).await
    }

    /// Ids of all messages of an account that the newest snapshot on a node's disk has, in whichever folder; doubles are
    /// listed twice.
    async fn store_copy(&self, node: &str, user: &str) -> Result<Vec<String>, FleetError> {
        copy::ids(self, node, user).await
    }

    /// Waits until a message lies on a node's disk, and tells how long it took to be seen there, counted from a moment after
    /// the call. It came earlier by a twentieth of that at most, or by 50 ms.
    async fn store_await(&self, node: &str, user: &str, id: &str, deadline: Duration) -> Result<Arrival, FleetError> {
        copy::wait_for(self, node, user, id, deadline).await
    }

    /// Logs in by IMAP over TLS straight to a mail node, as a mail program that stays for a while.
    async fn imap_open<'a>(
        &'a self,
        node: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<Box<dyn MailSession + 'a>, FleetError>;

    /// The same through a load balancer's door, by the name that mail programs are set to; says which node let it in.
    async fn program_opens<'a>(
        &'a self,
        balancer: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<(String, Box<dyn MailSession + 'a>), FleetError>;

    /// The nodes whose machine has ended, by a power cut or by itself, with how it ended.
    fn without_power(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The unix socket behind a terminal of the node (`/dev/hvc0` there).
    ///
    /// # Errors
    /// No node has this name, or it has no terminal.
    fn terminal(&self, node: &str) -> Result<PathBuf, FleetError> {
        Err(FleetError {
            node: node.to_owned(),
            what: "open a terminal".into(),
            reason: "a simulated machine has none".into(),
        })
    }

    /// Tries a TCP connection to a port of a node.
    async fn knock(&self, from: Vantage, node: &str, port: u16) -> Result<Door, FleetError>;

    /// Plays an SMTP dialogue, line by line, from a vantage point to a node's port in clear text; returns every reply
    /// (the greeting first). Stops at the end of `lines` or when the server hangs up.
    async fn smtp_dialogue(
        &self,
        from: Vantage,
        node: &str,
        port: u16,
        lines: &[String],
    ) -> Result<Vec<String>, FleetError>;

    /// Runs a command on a node (`argv`, no shell).
    async fn exec(&self, node: &str, argv: &[String], deadline: Duration) -> Result<ExecOutput, FleetError>;

    /// Gives secrets that are in use new values, as `generator secrets rotate` does with these words, and brings the files
    /// that follow to `/root/bundle` of each machine where they differ. Nothing is installed. Tells what has changed, and
    /// on which machines.
    ///
    /// # Errors
    /// There is no such secret, a former rotation is not finished, or a machine does not take the files.
    async fn rotate_secrets(&self, words: &[String]) -> Result<String, FleetError> {
        Err(FleetError {
            node: "cluster".into(),
            what: format!("rotate {}", words.join(" ")),
            reason: "simulated machines have no files: play it on machines".into(),
        })
    }

    /// Lays what `generator render --out` writes in a folder of a node: a folder a node, and `monitoring`. Tells what.
    ///
    /// # Errors
    /// The machine does not take the files.
    async fn lay_out_rendered(&self, node: &str, folder: &str) -> Result<String, FleetError> {
        Err(FleetError {
            node: node.to_owned(),
            what: format!("lay out rendered files in {folder}"),
            reason: "simulated machines have no files: play it on machines".into(),
        })
    }

    /// Breaks something, and returns what was observed of it.
    async fn inject(&self, fault: &Fault) -> Result<Receipt, FleetError>;

    /// Mends what [`Fleet::inject`] broke, and returns what was observed of it.
    async fn heal(&self, fault: &Fault) -> Result<Receipt, FleetError>;

    /// Whether a load balancer has the virtual address on one of its cards.
    ///
    /// # Errors
    /// It cannot be asked.
    async fn has_address(&self, node: &str) -> Result<bool, FleetError>;

    /// What still keeps the cluster from being healthy, empty when it is: every machine answers, every service of the
    /// role runs, both replica threads of both nodes run, webmail's health is seen by the load balancer.
    async fn ailments(&self) -> Vec<String>;

    /// Writes consoles and journals into `dir`, one folder a node.
    async fn collect(&self, dir: &Path) -> Result<(), FleetError>;

    /// Ends every machine and waits until it is gone. Dropping the fleet ends them too, without waiting.
    async fn shut_down(&self) {}
}

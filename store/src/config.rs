//! The configuration file, by default `/etc/cluster-store/store.toml`. Unknown keys are errors; durations carry units
//! (`250ms`, `10s`, `14d`); every time limit of the agent is here.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::core::Layout;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not of the right form; the text shows line and place.
    #[error("{path}: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// Its values do not fit together.
    #[error("{path}: {what}")]
    Values {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A duration with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Span)
            .map_err(serde::de::Error::custom)
    }
}

const fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

/// A command with its arguments; no shell is in between.
pub type CommandLine = Vec<String>;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's name, as in its certificate.
    pub name: String,
    /// The mail dataset, below a pool: `tank/mail`.
    pub dataset: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Socket for `cluster-store status`, `promote` and the like.
    #[serde(default = "control")]
    pub control: PathBuf,
    /// The other node.
    pub peer: PeerConfig,
    /// The connection between both.
    pub link: LinkConfig,
    /// How the standby follows.
    #[serde(default)]
    pub replication: Replication,
    /// How clients are let in and kept out.
    pub doors: DoorsConfig,
    /// The commit proxy; without it mail is delivered to Dovecot directly, and is acknowledged before the peer has it.
    pub commit: Option<CommitConfig>,
    /// Dovecot.
    #[serde(default)]
    pub mail: MailConfig,
    /// Figures for Prometheus.
    pub metrics: Option<MetricsConfig>,
    /// Releases of the configuration.
    #[serde(default)]
    pub releases: ReleasesConfig,
}

fn control() -> PathBuf {
    PathBuf::from("/run/cluster-store/control.sock")
}

/// The other node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name, as in its certificate (a DNS name in the subject alternative names).
    pub name: String,
    /// Where its agent listens.
    pub address: SocketAddr,
}

/// The connection between the agents: TLS, both sides with a certificate of the cluster's authority.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Where this agent listens.
    pub listen: SocketAddr,
    /// Own certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's authority, PEM.
    pub authority: PathBuf,
    /// Limit of a connect with its TLS handshake.
    #[serde(default = "connect_limit")]
    pub connect_limit: Span,
    /// A peer that is silent for longer in the middle of a stream is lost.
    #[serde(default = "silence_limit")]
    pub silence_limit: Span,
    /// The peer has to say how it stands within this, else it counts as lost until it does.
    #[serde(default = "answer_limit")]
    pub answer_limit: Span,
    /// How often the peer is asked how it stands.
    #[serde(default = "heartbeat")]
    pub heartbeat: Span,
}

fn connect_limit() -> Span {
    seconds(3)
}

fn silence_limit() -> Span {
    seconds(10)
}

fn answer_limit() -> Span {
    seconds(3)
}

fn heartbeat() -> Span {
    seconds(1)
}

/// How the standby follows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replication {
    /// A change is in a snapshot after this at the latest.
    pub interval: Span,
    /// Confirmed snapshots that stay, on each side; at least 2.
    pub keep: usize,
    /// Holds move on and old snapshots go after this; more often only costs time.
    pub tidy: Span,
    /// The pool is looked at as a whole after this, should somebody have changed it; ten times as seldom while mail waits
    /// all the time.
    pub look: Span,
    /// The pool is asked after this what errors its disks have counted.
    pub disks: Span,
    /// How long datasets that were set aside stay.
    pub retention: Span,
    /// Limit of a command of ZFS.
    pub command_limit: Span,
    /// Limit of one stream, a first copy included.
    pub stream_limit: Span,
    /// How long `promote` and `demote` wait for their end; they go on afterwards.
    pub role_limit: Span,
    /// How long `demote` waits for the peer to take the last changes.
    pub drain_limit: Span,
}

impl Default for Replication {
    fn default() -> Replication {
        Replication {
            interval: seconds(1),
            keep: 3,
            tidy: seconds(10),
            look: seconds(60),
            disks: seconds(30),
            retention: seconds(14 * 24 * 3600),
            command_limit: seconds(60),
            stream_limit: seconds(24 * 3600),
            role_limit: seconds(60),
            drain_limit: seconds(10),
        }
    }
}

/// How clients are let in and kept out. Each command may run when it has run already.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorsConfig {
    /// Run one after the other once this node is writer.
    pub open: Vec<CommandLine>,
    /// Run one after the other before it ceases to be, and when the agent starts as standby. All are run, even if one fails.
    pub close: Vec<CommandLine>,
    /// Limit of each command.
    #[serde(default = "doors_limit")]
    pub limit: Span,
}

fn doors_limit() -> Span {
    seconds(30)
}

/// What the commit proxy does while the peer does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Acknowledge what Dovecot has synced to the local disk, and say so in the metrics.
    Accept,
    /// 4xx: the gateway keeps the mail.
    Defer,
}

/// The commit proxy: LMTP (RFC 2033) in, LMTP out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Dovecot's LMTP socket: a path.
    pub backend: PathBuf,
    /// What happens while the peer does not follow.
    pub peer_missing: Policy,
    /// Gateways have to use STARTTLS (RFC 3207); they see the certificate of `[link]`.
    #[serde(default)]
    pub tls: bool,
    /// Networks are the firewall's business; these limits are the proxy's.
    #[serde(default)]
    pub limits: CommitLimits,
}

/// Limits of the commit proxy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommitLimits {
    /// Longest message, bytes; announced as SIZE (RFC 1870).
    pub message: usize,
    /// Recipients a message.
    pub recipients: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Messages that are given to Dovecot at a time; the others wait for their turn. Twice the machine's processors by
    /// default: more of them only wait for each other's locks, and keep log-ins from the processors when the gateways bring
    /// everything that waited for a new writer.
    pub deliveries: usize,
    /// Longest wait for a turn. The gateway has to wait longer for an answer to MAIL (`lmtp_mail_timeout` in Postfix).
    pub turn: Span,
    /// A client that sends nothing for longer is hung up on (RFC 5321, 4.5.3.2).
    pub client: Span,
    /// Dovecot has to answer a command within this.
    pub backend: Span,
    /// The peer has to confirm within this, else it counts as missing.
    pub confirm: Span,
}

impl Default for CommitLimits {
    fn default() -> CommitLimits {
        CommitLimits {
            message: 100 * 1024 * 1024,
            recipients: 1000,
            connections: 500,
            deliveries: 2 * std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            turn: seconds(30),
            client: seconds(300),
            backend: seconds(120),
            confirm: seconds(20),
        }
    }
}

/// Dovecot and how mail lies on disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailConfig {
    /// The program.
    pub doveadm: PathBuf,
    /// Directories below the mountpoint that name a user, as a pattern of its first parts: `{domain}/{user}` or `{user}`.
    pub homes: String,
    /// Directory of the Maildir below a home; empty if it is the home.
    pub maildir: String,
    /// How folders lie in the Maildir (`mailbox_list_layout` of Dovecot), such as `fs`; unstated, as Dovecot does by itself,
    /// `maildir++`. A tail's folders are not seen under the wrong one.
    pub layout: Option<String>,
    /// Host names by which gateways name themselves in `Received` lines; mail is known again by their queue id.
    pub gateways: Vec<String>,
    /// Mailboxes that changed within this before a take-over get their UIDs lifted.
    pub active: Span,
    /// By how much.
    pub lift: u32,
    /// Run one after the other in a take-over, once the store can be written and before Dovecot is asked for anything:
    /// what the former writer's processes left comes away, such as locks, which came with the mailboxes.
    pub prepare: Vec<CommandLine>,
    /// Limit of each doveadm command, and of each command of `prepare`.
    pub limit: Span,
    /// How long `promote` prepares and tries to lift UIDs, before it fails and the node is standby again: doors never open
    /// without.
    pub lift_limit: Span,
    /// File with the process id of Dovecot, by which is checked before the doors open that it can write to the store.
    pub pid_file: PathBuf,
    /// Where a tail is mounted for its merge.
    pub tail_mountpoint: PathBuf,
}

impl Default for MailConfig {
    fn default() -> MailConfig {
        MailConfig {
            doveadm: PathBuf::from("doveadm"),
            homes: "{domain}/{user}".to_owned(),
            maildir: String::new(),
            layout: None,
            gateways: Vec::new(),
            active: seconds(3600),
            lift: 1000,
            prepare: Vec::new(),
            limit: seconds(300),
            lift_limit: seconds(45),
            pid_file: PathBuf::from("/run/dovecot/master.pid"),
            tail_mountpoint: PathBuf::from("/var/lib/cluster-store/tail"),
        }
    }
}

/// Figures for Prometheus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where they are served, over HTTP.
    pub listen: SocketAddr,
}

/// Releases of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReleasesConfig {
    /// The dataset in which each has its own; unstated, `config` of the mail dataset's pool. It has to exist.
    pub dataset: Option<String>,
    /// So many stay, the newest; what is in place, and what was before it, stay however old.
    pub keep: usize,
    /// Below which they are mounted while they are looked at, and where it is noted how an installation went.
    pub folder: PathBuf,
    /// Limit of an installation on one node.
    pub limit: Span,
}

impl Default for ReleasesConfig {
    fn default() -> ReleasesConfig {
        ReleasesConfig {
            dataset: None,
            keep: 10,
            folder: PathBuf::from("/var/lib/cluster-store/releases"),
            limit: seconds(15 * 60),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// It cannot be used; the error says where and why.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Config = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check().map_err(|what| ConfigError::Values {
            path: path.to_owned(),
            what,
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !self.dataset.contains('/') {
            return Err(format!(
                "dataset {:?} is a pool; name a file system in it, as in \"tank/mail\"",
                self.dataset
            ));
        }
        if self.dataset.contains(['@', '#', ' ']) {
            return Err(format!("dataset {:?} is no name of a file system", self.dataset));
        }
        if self.replication.keep < 2 {
            return Err("replication.keep below 2 leaves moments without a common snapshot".to_owned());
        }
        if self.commit.as_ref().is_some_and(|commit| commit.limits.deliveries == 0) {
            return Err("commit.limits.deliveries is 0: no mail could be taken".to_owned());
        }
        if self.releases.keep < 2 {
            return Err("releases.keep below 2 leaves nothing to go back to".to_owned());
        }
        if self.mail.lift_limit.0 >= self.replication.role_limit.0 {
            return Err(
                "mail.lift_limit has to be shorter than replication.role_limit: promote says what came of it"
                    .to_owned(),
            );
        }
        if self.name == self.peer.name {
            return Err(format!("name and peer.name are both {:?}", self.name));
        }
        if self.link.heartbeat.0 >= self.link.silence_limit.0 {
            return Err("link.heartbeat has to be shorter than link.silence_limit".to_owned());
        }
        let empty = |commands: &[CommandLine]| commands.iter().any(Vec::is_empty);
        if empty(&self.doors.open) || empty(&self.doors.close) {
            return Err("a command of doors is empty".to_owned());
        }
        if empty(&self.mail.prepare) {
            return Err("a command of mail.prepare is empty".to_owned());
        }
        Ok(())
    }

    /// The dataset in which each release of the configuration has its own.
    pub fn releases_dataset(&self) -> String {
        let pool = self.dataset.split('/').next().unwrap_or(&self.dataset);
        let stated = self.releases.dataset.clone();
        stated.unwrap_or_else(|| format!("{pool}/config"))
    }

    /// What the core needs of it.
    pub fn layout(&self) -> Layout {
        Layout {
            dataset: self.dataset.clone(),
            mountpoint: self.mountpoint.to_string_lossy().into_owned(),
            keep: self.replication.keep,
            retention: self.replication.retention.0,
        }
    }
}

#[cfg(test)]
mod tests;

//! The mail store: one ZFS dataset that both mail nodes have, written on one of them and followed by the other, and every
//! time limit of the agent that keeps it so. Times are lengths with a unit: `250ms`, `10s`, `14d`.

use std::time::Duration;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{CheckProfile, Span};

/// The mail store on ZFS. One mail node is the writer, the other follows; `[role]` says who decides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The pool's name, the same on both mail nodes.
    #[serde(default = "pool")]
    pub pool: String,
    /// Each mail node's disks for the pool, by names that stay: `/dev/disk/by-id/...`. A node whose disks have other names
    /// states its own under `[[node]]`.
    #[serde(default)]
    pub disks: Vec<String>,
    /// How the disks are put together.
    pub layout: Layout,
    /// What becomes of mail while the other node does not follow.
    pub peer_missing: PeerMissing,
    /// Hosts or networks that read the agents' figures (TCP 9420, Prometheus); empty: this machine only.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub metrics_from: Vec<Ipv4Net>,
    /// A change is in a snapshot after this at the latest.
    #[serde(default = "one_second")]
    pub interval: Span,
    /// Confirmed snapshots that stay on each node; at least 2.
    #[serde(default = "three")]
    pub keep: u32,
    /// How long datasets that were set aside stay.
    #[serde(default = "fortnight")]
    pub retention: Span,
    /// The other node has to confirm a message within this, else it counts as missing.
    #[serde(default = "twenty_seconds")]
    pub confirm: Span,
    /// Dovecot has to answer a delivery within this.
    #[serde(default = "thirty_seconds")]
    pub deliver: Span,
    /// Limit of a command that opens or closes the doors.
    #[serde(default = "thirty_seconds")]
    pub doors: Span,
    /// How long a change of role may take before `promote` and `demote` give up waiting.
    #[serde(default = "minute")]
    pub role: Span,
    /// How long a writer that is demoted waits for the other node to take its last changes.
    #[serde(default = "ten_seconds")]
    pub drain: Span,
    /// How long a load balancer keeps a client waiting while no node is the writer, before it says that there is none; whole
    /// seconds.
    #[serde(default = "thirty_seconds")]
    pub hold: Span,
    /// How long before its doors close as planned a writer says so at its health address; whole seconds. Unstated: as long as
    /// the load balancer may need to ask, and three seconds for what is under way.
    pub notice: Option<Span>,
    /// Limit of a command of ZFS.
    #[serde(default = "minute")]
    pub command: Span,
    /// Limit of one stream, a first copy of all mail included.
    #[serde(default = "one_day")]
    pub stream: Span,
    /// Limit of a connect to the other agent, its TLS handshake included.
    #[serde(default = "three_seconds")]
    pub connect: Span,
    /// How often the other agent is asked how it stands.
    #[serde(default = "one_second")]
    pub heartbeat: Span,
    /// The other agent has to say how it stands within this, else it counts as lost.
    #[serde(default = "three_seconds")]
    pub answer: Span,
    /// An agent that is silent for longer in the middle of a stream is lost.
    #[serde(default = "ten_seconds")]
    pub silence: Span,
    /// Mailboxes that changed within this before a take-over get their UIDs lifted, so that none is given twice.
    #[serde(default = "hour")]
    pub active: Span,
    /// Limit of each command of doveadm, the merge of one user's mail included.
    #[serde(default = "five_minutes")]
    pub doveadm: Span,
    /// Configuration releases that stay on each node, the newest; what is in place and what was before it stay besides; at least
    /// 2.
    #[serde(default = "ten")]
    pub releases: u32,
    /// Limit of the installation of a configuration release on one node.
    #[serde(default = "quarter")]
    pub install: Span,
}

impl Store {
    /// How long before its doors close as planned a writer says so. Unstated it follows from how often the load balancer asks
    /// (`inter` of the profile, and a second for the answer), and has three seconds for requests that are under way.
    pub fn notice(&self, check: CheckProfile) -> Duration {
        let unstated = match check {
            CheckProfile::Classic => Duration::from_secs(7),
            CheckProfile::Fast => Duration::from_secs(5),
        };
        self.notice.as_ref().map_or(unstated, Span::length)
    }
}

/// How a pool's disks are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One disk.
    Single,
    /// Two or more disks with the same contents.
    Mirror,
}

impl Layout {
    /// The word of zpool-create(8) before the disks; none for one disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Single => "",
            Layout::Mirror => "mirror",
        }
    }
}

/// What becomes of mail while the other node does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMissing {
    /// It is taken in once it is on this node's disk.
    Accept,
    /// It stays in the gateway's queue.
    Defer,
}

impl PeerMissing {
    /// The word of the agent's file.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerMissing::Accept => "accept",
            PeerMissing::Defer => "defer",
        }
    }
}

fn pool() -> String {
    "mail".to_owned()
}

fn three() -> u32 {
    3
}

fn ten() -> u32 {
    10
}

fn one_second() -> Span {
    Span::seconds(1)
}

fn three_seconds() -> Span {
    Span::seconds(3)
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

fn twenty_seconds() -> Span {
    Span::seconds(20)
}

fn thirty_seconds() -> Span {
    Span::seconds(30)
}

fn minute() -> Span {
    Span::seconds(60)
}

fn five_minutes() -> Span {
    Span::seconds(300)
}

fn quarter() -> Span {
    Span::seconds(900)
}

fn hour() -> Span {
    Span::seconds(3600)
}

fn one_day() -> Span {
    Span::days(1)
}

fn fortnight() -> Span {
    Span::days(14)
}

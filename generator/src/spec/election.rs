//! Who decides which mail node is the writer of the mail store, and how soon. Times are lengths with a unit: `500ms`, `3s`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Cluster, Node, Role, Span};

/// Who decides which mail node is the writer. The time limits are those of `engine = "pacemaker"`; a person has none.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Election {
    /// What decides.
    pub engine: Engine,
    /// The machine that has the third vote, beside both mail nodes; unstated, the first load balancer, else the first
    /// gateway.
    pub third: Option<String>,
    /// Kernel module of the mail nodes' watchdog, which resets a node that hangs or has no majority: that of the hardware
    /// (`iTCO_wdt`, `ipmi_watchdog`, `i6300esb`), or `softdog`, which a kernel that hangs takes along.
    pub watchdog: String,
    /// A mail node without a sign of life for this is lost (`token` of corosync.conf(5); `consensus` is 1.2 times it).
    pub token: Span,
    /// The third vote counts a mail node as gone that is silent for about this (`quorum.device.timeout`).
    pub device_timeout: Span,
    /// When somebody is lost, the third vote has to say within this who goes on (`quorum.device.sync_timeout`); shorter
    /// than `watchdog_timeout`.
    pub sync_timeout: Span,
    /// A node without a majority, or that hangs, is reset after this; whole seconds (`SBD_WATCHDOG_TIMEOUT` of sbd(8)).
    pub watchdog_timeout: Span,
    /// The majority counts a node that it does not see as reset after this: at least twice `watchdog_timeout`
    /// (`stonith-watchdog-timeout`).
    pub stonith_watchdog_timeout: Span,
    /// Limit of `cluster-store promote`.
    pub promote: Span,
    /// Limit of `cluster-store demote`; a node that has not given up the role within this is reset.
    pub demote: Span,
    /// Limit of `cluster-store status`.
    pub monitor: Span,
    /// How often the writer is asked how it stands.
    pub interval: Span,
    /// A node that failed as the writer is not asked again for this.
    pub failure_timeout: Span,
    /// A writer that has not served webmail, mail programs or submission for this gives the role to the other node, if that one
    /// can; whole seconds. Longer than a restart of any of them takes.
    pub service_timeout: Span,
}

/// What decides which mail node is the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A person: `cluster-store demote` on one node, `cluster-store promote` on the other.
    #[default]
    Manual,
    /// Pacemaker with corosync, a third vote (quorum device) and a watchdog in each mail node (sbd without a disk).
    Pacemaker,
}

impl Default for Election {
    /// As measured: short enough for a take-over within half a minute, long enough for a busy network.
    fn default() -> Self {
        Election {
            engine: Engine::default(),
            third: None,
            watchdog: SOFTWARE_WATCHDOG.to_owned(),
            token: Span::seconds(3),
            device_timeout: Span::seconds(3),
            sync_timeout: Span::seconds(4),
            watchdog_timeout: Span::seconds(6),
            stonith_watchdog_timeout: Span::seconds(12),
            promote: Span::seconds(60),
            demote: Span::seconds(30),
            monitor: Span::seconds(20),
            interval: Span::seconds(5),
            failure_timeout: Span::seconds(120),
            service_timeout: Span::seconds(60),
        }
    }
}

/// A mail node is looked at so often within `service_timeout`, each time after whole seconds.
pub const LOOKS: u64 = 3;

/// The watchdog that needs no hardware.
pub const SOFTWARE_WATCHDOG: &str = "softdog";

impl Election {
    /// How long the nodes that are left may need to agree on who is left: 1.2 times `token`, as corosync.conf(5) advises.
    pub fn consensus(&self) -> Duration {
        self.token.length().saturating_mul(6) / 5
    }

    /// How long it takes by these limits, after the writer's death, until the other node is asked to be the writer: the death is
    /// noticed (`token`) and agreed on (`consensus`), the third vote says who goes on (`sync_timeout`), and the watchdog of
    /// the unseen node has had its time (`stonith_watchdog_timeout`).
    pub fn takeover(&self) -> Duration {
        [
            self.consensus(),
            self.sync_timeout.length(),
            self.stonith_watchdog_timeout.length(),
        ]
        .into_iter()
        .fold(self.token.length(), Duration::saturating_add)
    }
}

impl Cluster {
    /// Whether a program decides who is the writer.
    pub fn decides_itself(&self) -> bool {
        self.store.is_some() && self.election.engine == Engine::Pacemaker
    }

    /// The machine with the third vote: the one that is named, else the first load balancer, else the first gateway.
    pub fn third_vote(&self) -> Option<&Node> {
        match &self.election.third {
            Some(name) => self.node(name).filter(|node| node.role != Role::Mail),
            None => self
                .of_role(Role::LoadBalancer)
                .next()
                .or_else(|| self.of_role(Role::Gateway).next()),
        }
    }

    /// Whether a program decides, and this machine has the third vote.
    pub fn has_third_vote(&self, node: &Node) -> bool {
        self.decides_itself() && self.third_vote().is_some_and(|third| third.name == node.name)
    }

    /// The name that the certificates of the mail nodes carry and no other: by it the third vote knows who may ask.
    pub fn voting_name(&self) -> String {
        format!("store.{}", self.cluster.domain)
    }

    /// The disks of a mail node's pool: its own, else those that `[store]` names for both.
    pub fn disks<'a>(&'a self, node: &'a Node) -> &'a [String] {
        match &self.store {
            Some(store) if node.disks.is_empty() => &store.disks,
            _ => &node.disks,
        }
    }
}

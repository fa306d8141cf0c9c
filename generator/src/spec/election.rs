//! Who decides which mail node is the writer of the mail store.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Cluster, Node, Role};

/// Who decides which mail node is the writer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Election {
    /// What decides.
    pub engine: Engine,
    /// The machine that has the third vote, beside both mail nodes; unstated, the first load balancer, else the first
    /// gateway.
    pub third: Option<String>,
}

/// What decides which mail node is the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A person: `cluster-store demote` on one node, `cluster-store promote` on the other.
    #[default]
    Manual,
}

impl Cluster {
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

    /// The disks of a mail node's pool: its own, else those that `[store]` names for both.
    pub fn disks<'a>(&'a self, node: &'a Node) -> &'a [String] {
        match &self.store {
            Some(store) if node.disks.is_empty() => &store.disks,
            _ => &node.disks,
        }
    }
}

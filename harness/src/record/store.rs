//! The mail store as the record has it: whether there is one, and what the agent on a node says.

use serde::{Deserialize, Serialize};

/// Where mail lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// In mailboxes of whichever node a message was handed to.
    #[default]
    PerNode,
    /// In one store: all of it on the writer, and a copy on the standby.
    Store,
}

/// What `cluster-store status --json` says on a node, as far as it is needed here; figures that an agent adds are fine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `empty`, `writer`, `standby` or `unsettled`.
    pub standing: String,
    /// `open`, `closed` or `unknown`.
    pub doors: String,
    /// Raised by one at each take-over.
    pub epoch: u64,
    /// Newest snapshot here.
    pub newest: Option<u64>,
    /// How the peer stands; none if it cannot be reached.
    pub peer: Option<String>,
    /// Newest snapshot there.
    pub peer_newest: Option<u64>,
    /// True if the peer confirms what this node writes.
    pub follows: bool,
    /// What is being done, or why nothing is.
    pub doing: String,
    /// What failed last, since something succeeded.
    pub trouble: Option<String>,
    /// Tails that wait to be merged.
    pub unmerged: usize,
    /// Messages that wait for a confirmation.
    pub waiting: usize,
}

impl StoreStatus {
    /// Reads what the agent printed.
    ///
    /// # Errors
    /// It is no status; the text says why.
    pub fn parse(json: &str) -> Result<StoreStatus, String> {
        serde_json::from_str(json).map_err(|error| format!("no status of the store: {error}"))
    }

    /// True if clients reach the writer there.
    pub fn serves(&self) -> bool {
        self.standing == "writer" && self.doors == "open"
    }

    /// True if it follows the writer, and no client reaches it.
    pub fn stands_by(&self) -> bool {
        self.standing == "standby" && self.doors == "closed"
    }

    /// True if the other node has everything that this writer has, and nothing is left to be merged.
    pub fn in_step(&self) -> bool {
        let equal = self.newest.is_some() && self.newest == self.peer_newest;
        self.serves() && self.peer.as_deref() == Some("standby") && self.follows && equal && self.unmerged == 0
    }

    /// In words: `writer, doors open, epoch 3`.
    pub fn words(&self) -> String {
        let mut words = format!("{}, doors {}, epoch {}", self.standing, self.doors, self.epoch);
        if let Some(trouble) = &self.trouble {
            words.push_str(&format!(", trouble: {trouble}"));
        }
        words
    }
}

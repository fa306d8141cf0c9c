//! What to do next, decided from what is seen: no input or output, no clock. Everything that has to outlive a crash lies in
//! the pool itself (snapshots, holds, user properties), so a node that starts again looks and goes on from there.

mod accept;
mod decide;
mod promote;
mod tidy;
mod waiters;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::accept::{Accepted, Offer, Refusal, Target, accept};
pub use self::decide::{Action, Decision, decide};
pub use self::promote::{may_promote, may_promote_by_force};
pub use self::tidy::Tidy;
pub use self::waiters::Waiters;
use crate::zfs::{Dataset, Guid, Role};

/// Names and numbers that are the same for the life of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The mail dataset, in a pool: `tank/mail`.
    pub dataset: String,
    /// Where it is mounted.
    pub mountpoint: String,
    /// Confirmed snapshots that stay on each side; at least two.
    pub keep: usize,
    /// How long datasets that were set aside stay.
    pub retention: Duration,
}

impl Layout {
    /// Where the data of an old writer goes whose newest snapshot is this one.
    pub fn old(&self, newest: Guid) -> String {
        format!("{}-old-{newest}", self.dataset)
    }

    /// Where the writer keeps the tail that ends in this snapshot.
    pub fn tail(&self, newest: Guid) -> String {
        format!("{}-tail-{newest}", self.dataset)
    }
}

/// What lies in a node's pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    /// The mail dataset.
    pub live: Option<Dataset>,
    /// What was live on this node before it was replaced.
    pub olds: Vec<Dataset>,
    /// What the other node had written before it came back.
    pub tails: Vec<Dataset>,
}

impl Pool {
    /// Sorts what [`crate::zfs::Zfs::look`] found.
    pub fn new(layout: &Layout, found: Vec<Dataset>) -> Pool {
        let (old, tail) = (format!("{}-old-", layout.dataset), format!("{}-tail-", layout.dataset));
        let mut pool = Pool::default();
        for dataset in found {
            if dataset.name == layout.dataset {
                pool.live = Some(dataset);
            } else if dataset.name.starts_with(&old) {
                pool.olds.push(dataset);
            } else if dataset.name.starts_with(&tail) {
                pool.tails.push(dataset);
            }
        }
        pool
    }
}

/// Whether clients reach this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Doors {
    /// They do.
    Open,
    /// They do not.
    Closed,
    /// Nobody has looked since the agent started.
    Unknown,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has no mail dataset.
    Empty,
    /// It is the writer.
    Writer,
    /// It is standby.
    Standby,
    /// It was the writer and has not yet found out what it has.
    Unsettled,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Standing::Empty => "empty",
            Standing::Writer => "writer",
            Standing::Standby => "standby",
            Standing::Unsettled => "unsettled",
        })
    }
}

/// A tail as the other node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailView {
    /// Snapshot in which it ends; `None` if it has not come whole.
    pub guid: Option<Guid>,
    /// True if it has not come whole.
    pub partial: bool,
    /// True once everything in it is live.
    pub merged: bool,
}

/// What a node tells the other of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// How it stands.
    pub standing: Standing,
    /// Its epoch.
    pub epoch: u64,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Guid>,
    /// Those of them that it holds.
    pub held: Vec<Guid>,
    /// Of a receive that was cut off.
    pub resume_token: Option<String>,
    /// Tails it has taken in.
    pub tails: Vec<TailView>,
    /// True if it has acknowledged mail that it alone has.
    pub alone: bool,
}

impl PeerView {
    /// Of a node that has not looked yet, or cannot: the other one may conclude nothing from it.
    pub fn unknown() -> PeerView {
        PeerView {
            standing: Standing::Unsettled,
            epoch: 0,
            snapshots: Vec::new(),
            held: Vec::new(),
            resume_token: None,
            tails: Vec::new(),
            alone: false,
        }
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Option<Guid> {
        self.snapshots.last().copied()
    }
}

/// All that a decision depends on.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// Names and numbers.
    pub layout: &'a Layout,
    /// Boot id of this machine.
    pub boot: &'a str,
    /// What this node shall be. Standby until the engine has said otherwise.
    pub goal: Role,
    /// Whether clients reach it.
    pub doors: Doors,
    /// What lies in its pool.
    pub pool: &'a Pool,
    /// What the other node said last; `None` while it cannot be reached.
    pub peer: Option<&'a PeerView>,
    /// True if something was written since the newest snapshot, or somebody waits for a confirmation.
    pub changed: bool,
    /// True if mail was acknowledged, or may have been, that the other node lacks.
    pub alone: bool,
    /// True if it may be writer although UIDs have not been lifted: a person has said so.
    pub unlifted: bool,
    /// True while a tail is being merged.
    pub merging: bool,
    /// True if the rest of a receive that was cut off could not be sent.
    pub resume_failed: bool,
    /// True if ZFS refused a stream because the dataset is not as its newest snapshot.
    pub modified: bool,
    /// True if closing the doors has failed.
    pub doors_stuck: bool,
    /// True if it is time to tidy snapshots.
    pub tidy_due: bool,
    /// True while snapshots are being tidied.
    pub tidying: bool,
}

impl Situation<'_> {
    /// True if this node holds a snapshot that the other one is known to hold. Without one nothing else is more urgent than
    /// to place the holds; with one they move on when there is time.
    pub fn is_anchored(&self) -> bool {
        let (Some(live), Some(peer)) = (&self.pool.live, self.peer) else {
            return false;
        };
        live.snapshots.iter().any(|s| s.held && peer.held.contains(&s.guid))
    }

    /// How this node stands.
    pub fn standing(&self) -> Standing {
        match &self.pool.live {
            None => Standing::Empty,
            Some(live) if live.marks.role == Role::Standby => Standing::Standby,
            Some(live) if self.goal == Role::Writer && live.marks.boot.as_deref() == Some(self.boot) => {
                Standing::Writer
            }
            Some(_) => Standing::Unsettled,
        }
    }

    /// What the other node is told.
    pub fn view(&self) -> PeerView {
        let live = self.pool.live.as_ref();
        let replaced = live.is_none() && self.pool.olds.iter().any(|old| old.marks.rebase.is_some());
        PeerView {
            // A dataset that is being replaced is not missing.
            standing: if replaced { Standing::Unsettled } else { self.standing() },
            epoch: live.map_or(0, |live| live.marks.epoch),
            snapshots: live.map_or_else(Vec::new, |live| live.snapshots.iter().map(|s| s.guid).collect()),
            held: live.map_or_else(Vec::new, |live| {
                live.snapshots.iter().filter(|s| s.held).map(|s| s.guid).collect()
            }),
            resume_token: live.and_then(|live| live.resume_token.clone()),
            tails: self.pool.tails.iter().map(tail_view).collect(),
            alone: self.alone,
        }
    }
}

fn tail_view(tail: &Dataset) -> TailView {
    TailView {
        guid: tail.newest().map(|newest| newest.guid),
        partial: tail.resume_token.is_some() || tail.snapshots.is_empty(),
        merged: tail.marks.merged,
    }
}

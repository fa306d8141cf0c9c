//! What `cluster-store status` says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Figures;
use crate::core::{Doors, Pool, Situation, Standing};
use crate::zfs::{Guid, Role};

/// How long things took lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lags {
    /// A message was confirmed by the peer so long after Dovecot had taken it.
    pub confirmation: Figures,
    /// A snapshot took so long.
    pub snapshot: Figures,
    /// A stream took so long until the peer confirmed it.
    pub send: Figures,
}

/// How a node stands, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it stands.
    pub standing: Standing,
    /// What the engine wants it to be.
    pub goal: Role,
    /// Whether clients reach it.
    pub doors: Doors,
    /// Raised by one at each take-over.
    pub epoch: u64,
    /// Newest snapshot here.
    pub newest: Option<Guid>,
    /// How the peer stands; none if it cannot be reached.
    pub peer: Option<Standing>,
    /// Newest snapshot there.
    pub peer_newest: Option<Guid>,
    /// True if the peer confirms what this node writes.
    pub follows: bool,
    /// What is being done, or why nothing is.
    pub doing: String,
    /// What failed last, since something succeeded.
    pub trouble: Option<String>,
    /// Tails that wait to be merged.
    pub unmerged: usize,
    /// True if the peer has acknowledged mail that is not here.
    pub behind: bool,
    /// Files that both nodes had changed when a tail was merged last: paths from the mountpoint, beside the live ones.
    pub conflicts: Vec<String>,
    /// Datasets that are kept for their retention.
    pub kept: Vec<String>,
    /// Messages that wait for a confirmation.
    pub waiting: usize,
    /// How long things took lately.
    pub lag: Lags,
}

impl Status {
    /// Of an agent that has not looked yet.
    pub fn unknown() -> Status {
        Status {
            standing: Standing::Empty,
            goal: Role::Standby,
            doors: Doors::Unknown,
            epoch: 0,
            newest: None,
            peer: None,
            peer_newest: None,
            follows: false,
            doing: "starting".to_owned(),
            trouble: None,
            unmerged: 0,
            behind: false,
            conflicts: Vec::new(),
            kept: Vec::new(),
            waiting: 0,
            lag: Lags::default(),
        }
    }

    /// Of a situation; what only the agent knows is still to be set.
    pub fn of(situation: &Situation, follows: bool, doing: String) -> Status {
        let Pool { live, olds, tails } = situation.pool;
        let live = live.as_ref();
        Status {
            standing: situation.standing(),
            goal: situation.goal,
            doors: situation.doors,
            epoch: live.map_or(0, |live| live.marks.epoch),
            newest: live.and_then(|live| live.newest()).map(|newest| newest.guid),
            peer: situation.peer.map(|peer| peer.standing),
            peer_newest: situation.peer.and_then(crate::core::PeerView::newest),
            follows,
            doing,
            behind: live.is_some_and(|live| live.marks.behind),
            unmerged: tails.iter().filter(|tail| !tail.marks.merged).count(),
            kept: olds.iter().chain(tails).map(|dataset| dataset.name.clone()).collect(),
            ..Status::unknown()
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = match self.doors {
            Doors::Open => "open",
            Doors::Closed => "closed",
            Doors::Unknown => "in an unknown state",
        };
        writeln!(
            f,
            "This node is {}, epoch {}; its doors are {doors}.",
            self.standing, self.epoch
        )?;
        if (self.standing == Standing::Writer) != (self.goal == Role::Writer) {
            writeln!(f, "It shall be {}.", self.goal)?;
        }
        match (self.peer, self.newest == self.peer_newest) {
            (None, _) => writeln!(f, "The peer cannot be reached.")?,
            (Some(peer), true) => writeln!(f, "The peer is {peer} and has the same newest snapshot.")?,
            (Some(peer), false) => writeln!(f, "The peer is {peer} and has another newest snapshot.")?,
        }
        writeln!(f, "Now: {}.", self.doing)?;
        if let Some(trouble) = &self.trouble {
            writeln!(f, "Trouble: {trouble}")?;
        }
        if self.unmerged > 0 {
            writeln!(f, "{} tail(s) of the other node wait to be merged.", self.unmerged)?;
        }
        if self.waiting > 0 {
            writeln!(f, "{} message(s) wait for the peer's confirmation.", self.waiting)?;
        }
        for dataset in &self.kept {
            writeln!(f, "Kept: {dataset}")?;
        }
        Ok(())
    }
}

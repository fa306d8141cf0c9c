//! What `cluster-store status` says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Figures;
use crate::core::{Doors, Pool, Situation, Standing};
use crate::zfs::{Disk, Guid, Role};

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
    /// Disks of the pool that do not work, or have counted errors since these were cleared.
    pub disks: Vec<Disk>,
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
            disks: Vec::new(),
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
        self.this_node(f)?;
        self.other_node(f)?;
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
        self.lags(f)?;
        for disk in &self.disks {
            writeln!(f, "Disk: {disk}")?;
        }
        for file in &self.conflicts {
            writeln!(f, "Changed on both nodes, kept beside the live one: {file}")?;
        }
        for dataset in &self.kept {
            writeln!(f, "Kept: {dataset}")?;
        }
        Ok(())
    }
}

impl Status {
    fn this_node(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doors = match self.doors {
            Doors::Open => "open",
            Doors::Closed => "closed",
            Doors::Unknown => "in an unknown state",
        };
        let epoch = self.epoch;
        match self.standing {
            Standing::Empty => writeln!(f, "This node has no mail store; its doors are {doors}.")?,
            Standing::Writer => writeln!(f, "This node is the writer, epoch {epoch}; its doors are {doors}.")?,
            Standing::Standby => writeln!(f, "This node is standby, epoch {epoch}; its doors are {doors}.")?,
            Standing::Unsettled => writeln!(
                f,
                "This node was the writer, epoch {epoch}, and finds out what it has; its doors are {doors}."
            )?,
        }
        if self.standing == Standing::Empty && self.goal == Role::Standby {
            writeln!(
                f,
                "It takes a copy of the peer's store by itself as soon as the peer is the writer."
            )?;
        }
        if (self.standing == Standing::Writer) != (self.goal == Role::Writer) {
            writeln!(f, "It shall be {}.", self.goal)?;
        }
        if self.behind {
            writeln!(
                f,
                "It lacks mail that the peer has acknowledged, and becomes writer only once it has it."
            )?;
        }
        Ok(())
    }

    fn other_node(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = match self.peer {
            None => return writeln!(f, "The peer cannot be reached."),
            Some(Standing::Empty) => return writeln!(f, "The peer has no mail store."),
            Some(Standing::Writer) => "the writer",
            Some(Standing::Standby) => "standby",
            Some(Standing::Unsettled) => "finding out what it has",
        };
        let step = match self.newest == self.peer_newest {
            true => "has the same newest snapshot",
            false => "has another newest snapshot",
        };
        writeln!(f, "The peer is {peer} and {step}.")
    }

    fn lags(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lags {
            confirmation,
            snapshot,
            send,
        } = self.lag;
        if confirmation.count == 0 {
            return Ok(());
        }
        writeln!(
            f,
            "The last {} message(s) were confirmed within {confirmation}; a snapshot took {snapshot}, its way to the peer {send}.",
            confirmation.count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer whose peer is late.
    fn writer() -> Status {
        Status {
            standing: Standing::Writer,
            goal: Role::Writer,
            doors: Doors::Open,
            epoch: 3,
            newest: Some(Guid(0x2a)),
            peer: Some(Standing::Standby),
            peer_newest: Some(Guid(0x29)),
            follows: true,
            doing: "Snapshot".to_owned(),
            trouble: Some("the peer is lost".to_owned()),
            unmerged: 1,
            behind: false,
            conflicts: vec!["example.org/anna/sieve/main.sieve.conflict-2".to_owned()],
            kept: vec!["tank/mail-tail-0000000000000007".to_owned()],
            waiting: 2,
            lag: Lags {
                confirmation: Figures {
                    count: 500,
                    p50_ms: 640,
                    p99_ms: 1210,
                    max_ms: 2300,
                },
                ..Lags::default()
            },
            disks: vec![Disk {
                name: "/dev/disk/by-id/virtio-pool1-part1".to_owned(),
                state: "ONLINE".to_owned(),
                read: 0,
                write: 0,
                checksum: 2,
            }],
        }
    }

    #[test]
    fn a_writer_in_words() {
        insta::assert_snapshot!(writer());
    }

    #[test]
    fn a_node_with_a_new_disk_in_words() {
        let status = Status {
            peer: Some(Standing::Writer),
            peer_newest: Some(Guid(1)),
            doors: Doors::Closed,
            doing: "waiting for the first copy of the mail dataset".to_owned(),
            ..Status::unknown()
        };
        insta::assert_snapshot!(status);
    }

    #[test]
    fn a_standby_that_lacks_mail_in_words() {
        let status = Status {
            standing: Standing::Standby,
            behind: true,
            epoch: 3,
            doors: Doors::Closed,
            doing: "the peer cannot be reached".to_owned(),
            ..Status::unknown()
        };
        insta::assert_snapshot!(status);
    }

    #[test]
    fn programs_find_the_same_fields_in_every_version() {
        insta::assert_json_snapshot!(writer());
    }
}

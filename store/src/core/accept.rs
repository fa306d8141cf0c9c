//! Whether a stream that the other node offers is taken. All that could hurt is refused here, before a byte has come; that
//! ZFS itself would refuse most of it (zfs-receive(8) without `-F`) is the second line.

use serde::{Deserialize, Serialize};

use super::{Situation, Standing};
use crate::zfs::{Dataset, Guid, Role};

/// Where a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// On top of the mail dataset.
    Live,
    /// Beside it, to be merged.
    Tail,
}

/// A stream that one node would like to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Where it goes.
    pub target: Target,
    /// How the sender stands.
    pub standing: Standing,
    /// Epoch of the sender.
    pub epoch: u64,
    /// Snapshot from which it goes on.
    pub base: Option<Guid>,
    /// Snapshot in which it ends.
    pub snapshot: Guid,
    /// Token of the receive of which it is the rest.
    pub resume: Option<String>,
}

/// An offer that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The snapshot is here already: nothing has to be sent.
    Already,
    /// Into this dataset.
    Into {
        /// Full name.
        dataset: String,
        /// Snapshot to clone first.
        origin: Option<String>,
        /// True if the dataset does not exist yet.
        new: bool,
    },
}

/// Why an offer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Only a standby follows.
    #[error("this node is {0}, not a standby")]
    NotStandby(Standing),
    /// Only the writer merges.
    #[error("this node is {0}, not the writer")]
    NotWriter(Standing),
    /// The sender has missed a take-over.
    #[error("the sender's epoch {sender} is older than {own}")]
    OldEpoch {
        /// Of the sender.
        sender: u64,
        /// Of this node.
        own: u64,
    },
    /// The stream does not go on from the newest snapshot here.
    #[error("the stream does not go on from the newest snapshot here")]
    WrongBase,
    /// A receive was cut off and has to be finished or aborted first.
    #[error("a receive that was cut off has to be finished or aborted first")]
    Partial,
    /// The dataset is just being replaced.
    #[error("the dataset is being replaced")]
    Replacing,
    /// The agent is at something else.
    #[error("the agent is busy")]
    Busy,
    /// ZFS did not take it.
    #[error("ZFS did not take it: {0}")]
    Zfs(String),
}

/// Judges an offer.
///
/// # Errors
/// It is not taken.
pub fn accept(situation: &Situation, offer: &Offer) -> Result<Accepted, Refusal> {
    match offer.target {
        Target::Live => live(situation, offer),
        Target::Tail => tail(situation, offer),
    }
}

fn live(situation: &Situation, offer: &Offer) -> Result<Accepted, Refusal> {
    let standing = situation.standing();
    if situation.goal == Role::Writer || !matches!(standing, Standing::Standby | Standing::Empty) {
        return Err(Refusal::NotStandby(standing));
    }
    if situation.pool.olds.iter().any(|old| old.marks.rebase.is_some()) {
        return Err(Refusal::Replacing);
    }
    let dataset = situation.layout.dataset.clone();
    let Some(found) = &situation.pool.live else {
        return match offer.base {
            None => Ok(into(dataset, None, true)),
            Some(_) => Err(Refusal::WrongBase),
        };
    };
    if found.by_guid(offer.snapshot).is_some() {
        return Ok(Accepted::Already);
    }
    // A standby that is ahead may have missed a take-over in which nothing was written; a writer that has missed one is
    // none any more.
    if offer.standing == Standing::Writer && offer.epoch < found.marks.epoch {
        return Err(Refusal::OldEpoch {
            sender: offer.epoch,
            own: found.marks.epoch,
        });
    }
    goes_on(found, offer)?;
    Ok(into(dataset, None, false))
}

fn goes_on(found: &Dataset, offer: &Offer) -> Result<(), Refusal> {
    if found.marks.rebase.is_some() || !found.readonly {
        return Err(Refusal::Replacing);
    }
    match (&found.resume_token, &offer.resume) {
        (Some(here), Some(offered)) if here == offered => Ok(()),
        (Some(_), _) => Err(Refusal::Partial),
        (None, Some(_)) => Err(Refusal::WrongBase),
        (None, None) if offer.base.is_some() && found.newest().map(|s| s.guid) == offer.base => Ok(()),
        (None, None) => Err(Refusal::WrongBase),
    }
}

fn tail(situation: &Situation, offer: &Offer) -> Result<Accepted, Refusal> {
    let standing = situation.standing();
    let (Standing::Writer, Some(live)) = (standing, &situation.pool.live) else {
        return Err(Refusal::NotWriter(standing));
    };
    let base = offer
        .base
        .and_then(|base| live.by_guid(base))
        .ok_or(Refusal::WrongBase)?;
    let dataset = situation.layout.tail(offer.snapshot);
    let origin = format!("{}@{}", live.name, base.name);
    match situation.pool.tails.iter().find(|tail| tail.name == dataset) {
        None => Ok(into(dataset, Some(origin), true)),
        Some(tail) if tail.newest().is_some_and(|s| s.guid == offer.snapshot) => Ok(Accepted::Already),
        Some(_) => Err(Refusal::Partial),
    }
}

fn into(dataset: String, origin: Option<String>, new: bool) -> Accepted {
    Accepted::Into { dataset, origin, new }
}

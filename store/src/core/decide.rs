//! One situation, one next action. An action that was cut short leaves a situation from which the same decision, or the
//! next, follows: this is how a node goes on after a crash at any point.

use super::{Doors, PeerView, Situation, Standing, Target, Tidy};
use crate::zfs::{Dataset, Guid, Role};

/// Something to do. Each is carried out by [`crate::act`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nobody may reach this node.
    CloseDoors,
    /// Clients may come.
    OpenDoors,
    /// Make the first mail dataset of a new cluster.
    Create,
    /// Mount the mail dataset, by which the intent log replays.
    Mount,
    /// Make it read-only. A read-only mount replays the intent log too: ZFS lifts the flag for as long as that takes
    /// (`zfsvfs_setup`), so this comes before the mount, and nothing can write in between.
    MakeReadonly,
    /// Sync, take a snapshot of what has none, and note that it is standby.
    Settle,
    /// Abort what is half received, hold what is common, note role, epoch and boot.
    TakeOver {
        /// The new epoch.
        epoch: u64,
    },
    /// Make it writable.
    MakeWritable,
    /// Lift the next UIDs of mailboxes that were active lately.
    LiftUids {
        /// The epoch this is for.
        epoch: u64,
    },
    /// Take a snapshot.
    Snapshot,
    /// Send a snapshot to the other node.
    Send {
        /// Where it goes there.
        target: Target,
        /// Snapshot that both have; `None` for everything.
        base: Option<Guid>,
        /// What to send.
        snapshot: Guid,
    },
    /// Send the rest of what was cut off.
    Resume {
        /// The other node's token.
        token: String,
    },
    /// Ask the other node to throw away what is half received.
    AskAbort {
        /// Where.
        target: Target,
        /// Snapshot that names the tail.
        snapshot: Guid,
    },
    /// Move holds on and drop old snapshots.
    Tidy(Tidy),
    /// Put the mail dataset aside and go on from a snapshot of it.
    Replace {
        /// Name of that snapshot.
        base: String,
    },
    /// The second half of [`Action::Replace`].
    CloneBack {
        /// Dataset that was put aside.
        old: String,
        /// Name of the snapshot.
        base: String,
    },
    /// The last part: snapshots move from the old dataset to the new one.
    PromoteClone {
        /// Dataset that was put aside.
        old: String,
    },
    /// All done: the old dataset is only kept.
    EndReplace {
        /// Dataset that was put aside.
        old: String,
    },
    /// Merge a tail into the live store.
    Merge {
        /// The tail's dataset.
        tail: String,
    },
    /// Note whether the other node has acknowledged mail that is not here.
    NoteBehind(bool),
    /// Remove a dataset whose retention is over.
    Discard {
        /// Full name.
        dataset: String,
    },
}

/// What follows from a situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Do this, look again.
    Do(Action),
    /// Another node took over: this one has to become standby.
    StepDown,
    /// Nothing to do, or nothing that can be done, for this reason.
    Rest(&'static str),
}

use Action::{
    AskAbort, CloneBack, CloseDoors, Create, Discard, EndReplace, LiftUids, MakeReadonly, MakeWritable, Merge, Mount,
    NoteBehind, OpenDoors, PromoteClone, Replace, Resume, Send, Settle, Snapshot, TakeOver,
};
use Decision::{Do, Rest};

/// Decides.
pub fn decide(situation: &Situation) -> Decision {
    if situation.goal != Role::Writer && situation.doors != Doors::Closed {
        // Doors that do not close may not keep the store open.
        let writable = situation.pool.live.as_ref().is_some_and(|live| !live.readonly);
        return Do(if situation.doors_stuck && writable {
            MakeReadonly
        } else {
            CloseDoors
        });
    }
    if let Some(action) = replacing(situation) {
        return Do(action);
    }
    match (&situation.pool.live, situation.goal) {
        (None, Role::Writer) => Do(Create),
        (None, Role::Standby) => Rest("waiting for the first copy of the mail dataset"),
        (Some(live), Role::Writer) => writer(situation, live),
        (Some(live), Role::Standby) => standby(situation, live),
    }
}

/// A replacement that was begun is finished first, whatever this node shall be.
fn replacing(situation: &Situation) -> Option<Action> {
    let old = situation.pool.olds.iter().find(|old| old.marks.rebase.is_some());
    match (&situation.pool.live, old) {
        (None, Some(old)) => Some(CloneBack {
            old: old.name.clone(),
            base: old.marks.rebase.clone()?,
        }),
        (Some(live), Some(old)) => {
            let inside = format!("{}@", old.name);
            let old = old.name.clone();
            let is_clone = live.origin.as_deref().is_some_and(|origin| origin.starts_with(&inside));
            Some(if is_clone {
                PromoteClone { old }
            } else {
                EndReplace { old }
            })
        }
        (Some(live), None) => live.marks.rebase.clone().map(|base| Replace { base }),
        (None, None) => None,
    }
}

fn writer(situation: &Situation, live: &Dataset) -> Decision {
    let marks = &live.marks;
    if let Some(peer) = situation.peer
        && peer.standing == Standing::Writer
        && peer.epoch > marks.epoch
    {
        return Decision::StepDown;
    }
    // A machine that was writer and crashed settles what it has before it may be writer again.
    if situation.standing() == Standing::Unsettled {
        return Do(settle(live));
    }
    let seen = situation.peer.map_or(0, |peer| peer.epoch);
    if marks.role != Role::Writer || seen > marks.epoch {
        return Do(TakeOver {
            epoch: marks.epoch.max(seen) + 1,
        });
    }
    if !live.mounted {
        return Do(Mount);
    }
    if live.readonly {
        return Do(MakeWritable);
    }
    if marks.lifted != marks.epoch && !situation.unlifted {
        return Do(LiftUids { epoch: marks.epoch });
    }
    if situation.doors != Doors::Open {
        return Do(OpenDoors);
    }
    steady(situation, live)
}

fn settle(live: &Dataset) -> Action {
    match (live.readonly, live.mounted) {
        (false, _) => MakeReadonly,
        (true, false) => Mount,
        (true, true) => Settle,
    }
}

fn steady(situation: &Situation, live: &Dataset) -> Decision {
    let whole = |tail: &&Dataset| tail.resume_token.is_none() && !tail.snapshots.is_empty();
    if let Some(tail) = situation
        .pool
        .tails
        .iter()
        .filter(whole)
        .find(|tail| !tail.marks.merged)
        && !situation.merging
    {
        return Do(Merge {
            tail: tail.name.clone(),
        });
    }
    let Some(peer) = situation.peer else {
        return housekeeping(situation, "the peer cannot be reached");
    };
    match peer.standing {
        Standing::Standby | Standing::Empty => {}
        Standing::Unsettled => return Rest("the peer finds out what it has"),
        Standing::Writer => return Rest("the peer is writer too: the engine has to demote one"),
    }
    if let Some(action) = tidy(situation, live, peer) {
        return Do(action);
    }
    let Some(newest) = live.newest() else {
        return Do(Snapshot);
    };
    if let Some(token) = &peer.resume_token {
        return Do(rest_of(situation, token, newest.guid));
    }
    match peer.newest() {
        None if peer.standing == Standing::Standby => Rest("the peer has a mail dataset of its own: it needs a reseed"),
        Some(have) if live.base(have).is_none() => Rest("the peer has mail of its own, which comes first"),
        base if base == Some(newest.guid) => match situation.changed {
            true => Do(Snapshot),
            false => housekeeping(situation, "in step"),
        },
        base => Do(Send {
            target: Target::Live,
            base,
            snapshot: newest.guid,
        }),
    }
}

fn rest_of(situation: &Situation, token: &str, snapshot: Guid) -> Action {
    if situation.resume_failed {
        return AskAbort {
            target: Target::Live,
            snapshot,
        };
    }
    Resume {
        token: token.to_owned(),
    }
}

fn newest_common<'a>(live: &'a Dataset, peer: &PeerView) -> Option<&'a crate::zfs::Snapshot> {
    live.snapshots
        .iter()
        .rev()
        .find(|snapshot| peer.snapshots.contains(&snapshot.guid))
}

fn tidy(situation: &Situation, live: &Dataset, peer: &PeerView) -> Option<Action> {
    if situation.tidying || (situation.is_anchored() && !situation.tidy_due) {
        return None;
    }
    let common = newest_common(live, peer)?;
    Tidy::of(live, common.guid, peer, situation.layout.keep).map(Action::Tidy)
}

fn standby(situation: &Situation, live: &Dataset) -> Decision {
    if live.marks.role == Role::Writer || !live.readonly {
        return Do(settle(live));
    }
    // What has only half come for the first time cannot be mounted.
    if !live.mounted && (!live.snapshots.is_empty() || live.resume_token.is_none()) {
        return Do(Mount);
    }
    if situation.modified
        && let Some(newest) = live.newest()
    {
        // What is in it but in no snapshot becomes a tail like any other.
        return Do(if live.written > 0 {
            Settle
        } else {
            Replace {
                base: newest.name.clone(),
            }
        });
    }
    let Some(peer) = situation.peer else {
        return housekeeping(situation, "the peer cannot be reached");
    };
    if let Some(behind) = is_behind(live, peer).filter(|behind| *behind != live.marks.behind) {
        return Do(NoteBehind(behind));
    }
    if let Some(action) = tidy(situation, live, peer) {
        return Do(action);
    }
    let (Some(base), Some(newest)) = (newest_common(live, peer), live.newest()) else {
        return Rest("no common snapshot with the peer");
    };
    if base.guid == newest.guid {
        return housekeeping(situation, "following the peer");
    }
    // What follows the common snapshot exists here only.
    match peer.standing {
        Standing::Writer => tail(situation, live, peer, base.guid, newest.guid),
        Standing::Standby if peer.newest() == Some(base.guid) => match &peer.resume_token {
            Some(token) => Do(rest_of(situation, token, newest.guid)),
            None => Do(Send {
                target: Target::Live,
                base: Some(base.guid),
                snapshot: newest.guid,
            }),
        },
        _ => Rest("both nodes have mail that the other lacks; it is merged once one is writer"),
    }
}

/// Whether the peer has acknowledged mail that is not here, so that this node may not take over; `None` if what it says does
/// not tell. A snapshot that is on its way is nothing: mail waits for it.
fn is_behind(live: &Dataset, peer: &PeerView) -> Option<bool> {
    let in_step = peer.newest().is_some() && peer.newest() == live.newest().map(|newest| newest.guid);
    let ahead = live.newest().is_some_and(|own| peer.snapshots.contains(&own.guid)) && !in_step;
    match (peer.standing, peer.alone) {
        (Standing::Writer, alone) => Some(alone && (live.marks.behind || ahead)),
        (Standing::Standby, _) if ahead => Some(true),
        (Standing::Standby, _) if in_step => Some(false),
        _ => None,
    }
}

fn tail(situation: &Situation, live: &Dataset, peer: &PeerView, base: Guid, newest: Guid) -> Decision {
    let after = live
        .snapshots
        .iter()
        .skip_while(|snapshot| snapshot.guid != base)
        .skip(1);
    let nothing_in_it = after.map(|snapshot| snapshot.written).all(|written| written == Some(0));
    let there = peer
        .tails
        .iter()
        .find(|tail| tail.guid == Some(newest) && !tail.partial);
    if nothing_in_it || there.is_some_and(|tail| tail.merged) {
        let base = live.by_guid(base).map(|base| base.name.clone()).unwrap_or_default();
        return Do(Replace { base });
    }
    if there.is_some() {
        return Rest("the peer merges what only this node had");
    }
    if peer.tails.iter().any(|tail| tail.partial) && situation.resume_failed {
        return Do(AskAbort {
            target: Target::Tail,
            snapshot: newest,
        });
    }
    Do(Send {
        target: Target::Tail,
        base: Some(base),
        snapshot: newest,
    })
}

fn housekeeping(situation: &Situation, otherwise: &'static str) -> Decision {
    let aside = situation
        .pool
        .olds
        .iter()
        .chain(situation.pool.tails.iter().filter(|tail| tail.marks.merged));
    let over = aside
        .filter(|old| old.age > situation.layout.retention)
        .min_by(|a, b| a.name.cmp(&b.name));
    match over {
        Some(old) => Do(Discard {
            dataset: old.name.clone(),
        }),
        None => Rest(otherwise),
    }
}

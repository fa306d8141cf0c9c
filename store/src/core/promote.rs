//! Whether this node may become writer. Two things are certain only in the pool, and outlive a crash: that the first copy has
//! not come whole, and that the other node was heard to have acknowledged mail which is not here.

use super::{Situation, Standing};

/// Why this node cannot become writer now; the engine may ask again.
///
/// # Errors
/// A sentence that says what is in the way.
pub fn may_promote(situation: &Situation) -> Result<(), &'static str> {
    let replaced = situation.pool.olds.iter().any(|old| old.marks.rebase.is_some());
    let Some(live) = &situation.pool.live else {
        return match situation.peer {
            _ if replaced => Ok(()),
            Some(peer) if peer.standing == Standing::Empty => Ok(()),
            Some(_) => Err("there is no mail dataset here, and the peer has one: it has to be copied first"),
            None => Err("there is no mail dataset here, and the peer cannot be asked whether it has one"),
        };
    };
    if live.snapshots.is_empty() && live.resume_token.is_some() {
        return Err("the first copy of the mail dataset has not come whole");
    }
    if live.marks.behind && situation.standing() == Standing::Standby {
        return Err(BEHIND);
    }
    let Some(peer) = situation.peer else {
        return Ok(());
    };
    if peer.standing == Standing::Writer && situation.standing() != Standing::Writer {
        return Err("the peer is the writer: demote it first");
    }
    let own_newest = live.newest().map(|newest| newest.guid);
    let peer_is_ahead = peer.newest() != own_newest && own_newest.is_some_and(|own| peer.snapshots.contains(&own));
    if peer.standing == Standing::Standby && peer_is_ahead && situation.standing() == Standing::Standby {
        return Err("the peer has newer mail, which is on its way");
    }
    Ok(())
}

/// What the pool itself remembers of the other node, through crashes of this one.
const BEHIND: &str = "the peer has acknowledged mail that is not here: it has to come back first (or, if it is lost for \
good, `cluster-store promote --force`)";

/// Why this node cannot become writer even if a person says that the other one is lost for good.
///
/// # Errors
/// A sentence that says what is in the way.
pub fn may_promote_by_force(situation: &Situation) -> Result<(), &'static str> {
    if situation.peer.is_some() {
        // It is not lost, and knows better than a person.
        return may_promote(situation);
    }
    match &situation.pool.live {
        Some(live) if live.snapshots.is_empty() && live.resume_token.is_some() => {
            Err("the first copy of the mail dataset has not come whole: there is nothing to go on from")
        }
        _ => Ok(()),
    }
}

//! Which snapshots are held, released, bookmarked and removed. Those up to the newest common one are history; of these the
//! last few stay, held, on both sides. Later ones are still to be sent, or are a tail: they are never touched.
//!
//! Mail does not wait for any of it, so each side tidies when it has time, by what it last heard of the other. A snapshot
//! that both hold is there at any moment all the same, because a side lets go only of snapshots that are older than the
//! newest one it holds and has heard of as held on the other side (its anchor). Let `a` and `b` be the anchors of the two
//! sides. If `a` is older than `b`, the side of `b` still holds `b`, and the other, which held `b` once, lets go of nothing
//! that is not older than `a`: both hold `b`. Nothing in this depends on how old the news is.

use std::collections::BTreeSet;

use super::PeerView;
use crate::zfs::{Dataset, Guid};

/// What to change, in the order of the fields, so that a crash in between never leaves a moment without a hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tidy {
    /// Snapshots to hold.
    pub hold: Vec<String>,
    /// Snapshot to bookmark: a second base if all snapshots should be lost.
    pub bookmark: Option<String>,
    /// Snapshots to release.
    pub release: Vec<String>,
    /// Snapshots to remove.
    pub destroy: Vec<String>,
    /// Bookmarks to remove.
    pub unmark: Vec<String>,
}

impl Tidy {
    /// What a dataset needs whose newest snapshot that the other side has too is this one; `None` if nothing.
    pub fn of(dataset: &Dataset, common: Guid, peer: &PeerView, keep: usize) -> Option<Tidy> {
        let at = dataset.snapshots.iter().position(|snapshot| snapshot.guid == common)?;
        let on_both = |snapshot: &crate::zfs::Snapshot| snapshot.held && peer.held.contains(&snapshot.guid);
        let anchor = dataset.snapshots.iter().rposition(on_both).unwrap_or(0);
        let kept = (at + 1).saturating_sub(keep)..=at;
        let mut tidy = Tidy::default();
        let mut bookmarks = BTreeSet::new();
        for (index, snapshot) in dataset.snapshots.iter().enumerate().take(at + 1) {
            let name = snapshot.name.clone();
            if kept.contains(&index) {
                bookmarks.insert(name.clone());
                if !snapshot.held {
                    tidy.hold.push(name);
                }
            } else if index < anchor && !snapshot.cloned {
                // A snapshot that a tail or an old dataset grows from stays, held, for as long as they do.
                if snapshot.held {
                    tidy.release.push(name.clone());
                }
                tidy.destroy.push(name);
            }
        }
        let newest = &dataset.snapshots[at].name;
        tidy.bookmark = (!dataset.bookmarks.contains_key(newest)).then(|| newest.clone());
        let old = dataset.bookmarks.keys().filter(|name| !bookmarks.contains(*name));
        tidy.unmark = old.cloned().collect();
        (tidy != Tidy::default()).then_some(tidy)
    }
}

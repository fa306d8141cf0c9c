//! Which snapshots are held, released, bookmarked and removed. Those up to the newest common one are history; of these the
//! last few stay, held, on both sides. Later ones are still to be sent, or are a tail: they are never touched.

use std::collections::BTreeSet;

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
    pub fn of(dataset: &Dataset, common: Guid, keep: usize) -> Option<Tidy> {
        let at = dataset.snapshots.iter().position(|snapshot| snapshot.guid == common)?;
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
            } else if !snapshot.cloned {
                // A snapshot that a tail or an old dataset grows from stays, held, for as long as they do.
                if snapshot.held {
                    tidy.release.push(name.clone());
                }
                tidy.destroy.push(name);
            }
        }
        let newest = &dataset.snapshots[at].name;
        tidy.bookmark = (!dataset.bookmarks.contains(newest)).then(|| newest.clone());
        tidy.unmark = dataset.bookmarks.difference(&bookmarks).cloned().collect();
        (tidy != Tidy::default()).then_some(tidy)
    }
}

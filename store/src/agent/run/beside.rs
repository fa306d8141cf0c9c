//! What runs beside the loop, because mail would wait for it otherwise: tidying snapshots, looking for changes that nobody
//! waits for, asking how the disks are, and merges. Each tells the loop when it has ended.

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Agent, Owned};
use crate::act::{Conflicts, Outcome};
use crate::core::{Action, Tidy};
use crate::zfs::{Disk, Guid};

/// What ended.
pub(super) enum Ended {
    Tidied(Tidy, Result<(), String>),
    /// Bytes written since this snapshot.
    Written(Option<Guid>, Result<u64, String>),
    Merged(Result<Conflicts, String>),
    /// How the pool's disks are.
    Disks(Result<Vec<Disk>, String>),
}

impl Agent {
    fn owned(&self) -> Owned {
        Owned::of(&self.parts)
    }

    /// Only what stands still while snapshots are tidied waits for the end of it: what they are counted by stays.
    pub(super) fn begin_tidy(&mut self, tidy: Tidy) {
        let Some(pool) = self.pool.clone() else { return };
        self.tidying = true;
        let (owned, ends) = (self.owned(), self.ends.clone());
        tokio::spawn(async move {
            let done = owned.hands().perform(&Action::Tidy(tidy.clone()), &pool).await;
            let done = done.map(drop).map_err(|error| error.to_string());
            let _ = ends.send(Ended::Tidied(tidy, done)).await;
        });
    }

    /// Looks whether anything was written since the newest snapshot.
    pub(super) fn begin_poll(&mut self) {
        self.polling = true;
        let newest = self.newest();
        let (zfs, dataset, ends) = (
            self.parts.zfs.clone(),
            self.parts.layout.dataset.clone(),
            self.ends.clone(),
        );
        tokio::spawn(async move {
            // `written` counts only what a transaction group has brought to the pool.
            let written = match zfs.sync(&dataset).await {
                Ok(()) => zfs.written(&dataset).await,
                Err(error) => Err(error),
            };
            let written = written.map_err(|error| error.to_string());
            let _ = ends.send(Ended::Written(newest, written)).await;
        });
    }

    /// Asks at times how the disks are. ZFS mends what it finds on one side of a mirror without a word to anybody; somebody has
    /// to hear of it before the other side goes as well.
    pub(super) fn ask_after_disks(&mut self) {
        if self.pool.is_none() || self.asking_disks || Instant::now() < self.next_disks {
            return;
        }
        self.asking_disks = true;
        let (zfs, dataset, ends) = (
            self.parts.zfs.clone(),
            self.parts.layout.dataset.clone(),
            self.ends.clone(),
        );
        tokio::spawn(async move {
            let disks = zfs.disks(&dataset).await.map_err(|error| error.to_string());
            let _ = ends.send(Ended::Disks(disks)).await;
        });
    }

    fn end_disks(&mut self, disks: Result<Vec<Disk>, String>) {
        self.asking_disks = false;
        self.next_disks = Instant::now() + self.parts.timing.disks;
        match disks {
            Ok(mut disks) => {
                disks.retain(|disk| !disk.is_well());
                for disk in disks.iter().filter(|disk| !self.unwell.contains(disk)) {
                    warn!("a disk is not well: {disk}");
                }
                self.unwell = disks;
            }
            Err(why) => warn!("how the disks are cannot be told: {why}"),
        }
    }

    pub(super) fn begin_merge(&mut self, tail: String) {
        let Some(pool) = self.pool.clone() else { return };
        info!("merging {tail}");
        self.merging = true;
        let (owned, ends) = (self.owned(), self.ends.clone());
        tokio::spawn(async move {
            let done = match owned.hands().perform(&Action::Merge { tail }, &pool).await {
                Ok(Outcome::Merged(conflicts)) => Ok(conflicts),
                Ok(_) => Ok(Conflicts::new()),
                Err(error) => Err(error.to_string()),
            };
            let _ = ends.send(Ended::Merged(done)).await;
        });
    }

    /// Takes over what has ended so far.
    pub(super) fn take_ended(&mut self) {
        while let Ok(ended) = self.ended.try_recv() {
            self.ended(ended);
        }
    }

    /// Waits until nobody tidies.
    pub(super) async fn until_tidied(&mut self) {
        while self.tidying
            && let Some(ended) = self.ended.recv().await
        {
            self.ended(ended);
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Tidied(tidy, done) => self.end_tidy(tidy, done),
            Ended::Written(since, written) => self.end_poll(since, written),
            Ended::Merged(done) => self.end_merge(done),
            Ended::Disks(disks) => self.end_disks(disks),
        }
    }

    fn end_tidy(&mut self, tidy: Tidy, done: Result<(), String>) {
        self.tidying = false;
        self.next_tidy = Instant::now() + self.parts.timing.tidy;
        match done {
            Ok(()) => {
                if let Some(pool) = &mut self.pool {
                    pool.after(&Action::Tidy(tidy), &Outcome::Tidied);
                }
            }
            Err(why) => self.fail(&why),
        }
    }

    fn end_poll(&mut self, since: Option<Guid>, written: Result<u64, String>) {
        self.polling = false;
        match written {
            // A snapshot that was taken meanwhile may hold all of it: the next poll tells.
            Ok(written) => self.changed |= written > 0 && since == self.newest(),
            Err(why) => self.fail(&why),
        }
    }

    fn end_merge(&mut self, merged: Result<Conflicts, String>) {
        self.pool = None;
        match merged {
            Ok(conflicts) => {
                self.merging = false;
                info!(
                    "the tail is merged; {} file(s) were changed on both nodes",
                    conflicts.len()
                );
                self.parts.metrics.conflicts.inc_by(conflicts.len() as u64);
                self.conflicts = conflicts;
            }
            Err(why) => {
                error!("the tail is not merged, and is kept: {why}");
                self.parts.metrics.failures.inc();
                self.trouble = Some(why);
                // It counts as being merged until the next try, so that nothing else waits for it.
                self.merge_again = Some(Instant::now() + self.parts.timing.role);
            }
        }
    }
}

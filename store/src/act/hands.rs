//! Each action, step by step.

use std::time::Instant;

use tracing::info;

use super::{ActError, Conflicts, Hands, MergeJob, Outcome};
use crate::core::{Action, Offer, Pool, Standing, Target, Tidy};
use crate::zfs::{Dataset, Guid, Mark, NewProperties, Role, Sending, Since};

fn live(pool: &Pool) -> Result<&Dataset, ActError> {
    pool.live
        .as_ref()
        .ok_or_else(|| ActError::Gone("the mail dataset".to_owned()))
}

fn standing(live: &Dataset) -> Standing {
    match live.marks.role {
        Role::Writer => Standing::Writer,
        Role::Standby => Standing::Standby,
    }
}

fn name_of(dataset: &Dataset, guid: Guid) -> Result<String, ActError> {
    let found = dataset.by_guid(guid).map(|snapshot| snapshot.name.clone());
    found.ok_or_else(|| ActError::Gone(format!("snapshot {guid} of {}", dataset.name)))
}

fn names(of: &[String]) -> Vec<&str> {
    of.iter().map(String::as_str).collect()
}

/// The name of the next snapshot: `cs-EPOCH-NUMBER`.
fn next_name(dataset: &Dataset) -> String {
    let prefix = format!("cs-{}-", dataset.marks.epoch);
    let numbers = dataset
        .snapshots
        .iter()
        .filter_map(|s| s.name.strip_prefix(&prefix)?.parse::<u64>().ok());
    format!("{prefix}{}", numbers.max().unwrap_or(0) + 1)
}

/// How often writers are ended before what they are in the way of is given up for now.
const ROUNDS: usize = 5;

impl Hands<'_> {
    /// Carries an action out.
    ///
    /// # Errors
    /// It is done in part or not at all; looking again and deciding again goes on.
    pub async fn perform(&self, action: &Action, pool: &Pool) -> Result<Outcome, ActError> {
        let dataset = &self.layout.dataset;
        match action {
            Action::CloseDoors => {
                self.outside.close_doors().await?;
                return Ok(Outcome::Doors);
            }
            Action::OpenDoors => {
                self.outside.open_doors().await?;
                return Ok(Outcome::Doors);
            }
            Action::Create => self.zfs.create(dataset, &self.properties(0)).await?,
            Action::Mount => {
                // A replacement that was cut short may have taken it away.
                self.zfs.set_mountpoint(dataset, Some(&self.layout.mountpoint)).await?;
                self.zfs.mount(dataset).await?;
            }
            Action::MakeReadonly => self.make_readonly(dataset).await?,
            Action::Settle => self.settle(live(pool)?).await?,
            Action::TakeOver { epoch } => self.take_over(live(pool)?, *epoch).await?,
            Action::MakeWritable => self.zfs.set_readonly(dataset, false).await?,
            Action::LiftUids { epoch } => {
                self.outside.lift_uids().await?;
                self.zfs.mark(dataset, &[Mark::Lifted(*epoch)]).await?;
            }
            Action::Snapshot => {
                let name = next_name(live(pool)?);
                return Ok(Outcome::Taken(self.zfs.snapshot(dataset, &name).await?));
            }
            Action::Send { target, base, snapshot } => return self.send(live(pool)?, *target, *base, *snapshot).await,
            Action::Resume { token } => return self.resume(live(pool)?, token).await,
            Action::AskAbort { target, snapshot } => {
                return Ok(Outcome::Peer(self.peer.abort(*target, *snapshot).await?));
            }
            Action::Tidy(tidy) => {
                self.tidy(tidy).await?;
                return Ok(Outcome::Tidied);
            }
            Action::Replace { base } => self.put_aside(live(pool)?, base).await?,
            Action::CloneBack { old, base } => self.clone_back(pool, old, base).await?,
            Action::PromoteClone { .. } => self.zfs.promote(dataset).await?,
            Action::EndReplace { old } => self.zfs.mark(old, &[Mark::Rebase(None)]).await?,
            Action::Merge { tail } => return Ok(Outcome::Merged(self.merge(pool, tail).await?)),
            Action::NoteBehind(behind) => self.zfs.mark(dataset, &[Mark::Behind(*behind)]).await?,
            Action::Discard { dataset } => self.discard(pool, dataset).await?,
        }
        Ok(Outcome::Look)
    }

    /// A file that is open for writing is in the way. Whoever has it writes for a client that is gone since the doors closed;
    /// where many log-ins to webmail wait for PHP, one follows the other.
    async fn make_readonly(&self, dataset: &str) -> Result<(), ActError> {
        for _ in 0..ROUNDS {
            if self.zfs.set_readonly(dataset, true).await.is_ok() {
                return Ok(());
            }
            self.outside.end_writers().await?;
        }
        Ok(self.zfs.set_readonly(dataset, true).await?)
    }

    pub(super) fn properties(&self, epoch: u64) -> NewProperties {
        NewProperties {
            mountpoint: Some(self.layout.mountpoint.clone()),
            readonly: true,
            marks: vec![Mark::Epoch(epoch), Mark::Role(Role::Standby)],
        }
    }

    async fn settle(&self, live: &Dataset) -> Result<(), ActError> {
        // `written` counts only what a transaction group has brought to the pool.
        self.zfs.sync(&live.name).await?;
        if self.zfs.written(&live.name).await? > 0 {
            self.zfs.snapshot(&live.name, &next_name(live)).await?;
        }
        self.zfs.mark(&live.name, &[Mark::Role(Role::Standby)]).await?;
        Ok(())
    }

    async fn take_over(&self, live: &Dataset, epoch: u64) -> Result<(), ActError> {
        if live.resume_token.is_some() {
            self.zfs.abort_receive(&live.name).await?;
        }
        if let Some(newest) = live.newest() {
            self.zfs.hold(&live.name, &[&newest.name]).await?;
        }
        let marks = [
            Mark::Epoch(epoch),
            Mark::Role(Role::Writer),
            Mark::Boot(self.boot.to_owned()),
            // Whoever is writer decides what there is.
            Mark::Behind(false),
        ];
        self.zfs.mark(&live.name, &marks).await?;
        Ok(())
    }

    async fn send(
        &self,
        live: &Dataset,
        target: Target,
        base: Option<Guid>,
        snapshot: Guid,
    ) -> Result<Outcome, ActError> {
        let gone = |base| ActError::Gone(format!("snapshot {base} of {}, and every bookmark of it,", live.name));
        let from = match base {
            Some(base) => live.base(base).ok_or_else(|| gone(base))?,
            None => Since::Nothing,
        };
        let what = Sending::Snapshot {
            dataset: live.name.clone(),
            from,
            snapshot: name_of(live, snapshot)?,
        };
        let offer = Offer {
            target,
            standing: standing(live),
            epoch: live.marks.epoch,
            base,
            snapshot,
            resume: None,
        };
        let stream = self.zfs.send(&what).await?;
        Ok(Outcome::Peer(self.peer.offer(offer, stream).await?))
    }

    async fn resume(&self, live: &Dataset, token: &str) -> Result<Outcome, ActError> {
        let stream = self
            .zfs
            .send(&Sending::Resume {
                token: token.to_owned(),
            })
            .await?;
        let newest = live
            .newest()
            .ok_or_else(|| ActError::Gone("the snapshot to resume".to_owned()))?;
        let offer = Offer {
            target: Target::Live,
            standing: standing(live),
            epoch: live.marks.epoch,
            base: None,
            // The token knows which snapshot it is; this one only must not be there yet.
            snapshot: newest.guid,
            resume: Some(token.to_owned()),
        };
        Ok(Outcome::Peer(self.peer.offer(offer, stream).await?))
    }

    async fn tidy(&self, tidy: &Tidy) -> Result<(), ActError> {
        let dataset = &self.layout.dataset;
        if !tidy.hold.is_empty() {
            self.zfs.hold(dataset, &names(&tidy.hold)).await?;
        }
        if let Some(name) = &tidy.bookmark {
            self.zfs.bookmark(dataset, name).await?;
        }
        if !tidy.release.is_empty() {
            self.zfs.release(dataset, &names(&tidy.release)).await?;
        }
        if !tidy.destroy.is_empty() {
            self.zfs.destroy_snapshots(dataset, &names(&tidy.destroy)).await?;
        }
        for name in &tidy.unmark {
            self.zfs.destroy_bookmark(dataset, name).await?;
        }
        Ok(())
    }

    async fn put_aside(&self, live: &Dataset, base: &str) -> Result<(), ActError> {
        let newest = live
            .newest()
            .ok_or_else(|| ActError::Gone("the snapshot to go on from".to_owned()))?;
        self.zfs.hold(&live.name, &[&newest.name]).await?;
        self.zfs
            .mark(&live.name, &[Mark::Rebase(Some(base.to_owned()))])
            .await?;
        self.zfs.unmount(&live.name).await?;
        self.zfs.set_mountpoint(&live.name, None).await?;
        self.zfs.rename(&live.name, &self.layout.old(newest.guid)).await?;
        Ok(())
    }

    /// Puts the whole mail dataset aside for a new copy, and says where it is.
    ///
    /// # Errors
    /// It is still in its place, or nothing is.
    pub async fn put_aside_whole(&self, pool: &Pool) -> Result<String, ActError> {
        let live = live(pool)?;
        if live.resume_token.is_some() {
            self.zfs.abort_receive(&live.name).await?;
        }
        let newest = match live.newest() {
            Some(newest) => newest.clone(),
            // What came half for the first time is gone with the abort.
            None if live.resume_token.is_some() => return Ok("nothing: it had not come whole".to_owned()),
            None => self.zfs.snapshot(&live.name, &next_name(live)).await?,
        };
        self.zfs.hold(&live.name, &[&newest.name]).await?;
        self.zfs.unmount(&live.name).await?;
        self.zfs.set_mountpoint(&live.name, None).await?;
        let old = self.layout.old(newest.guid);
        self.zfs.rename(&live.name, &old).await?;
        Ok(old)
    }

    async fn clone_back(&self, pool: &Pool, old: &str, base: &str) -> Result<(), ActError> {
        let found = pool.olds.iter().find(|found| found.name == old);
        let epoch = found.ok_or_else(|| ActError::Gone(old.to_owned()))?.marks.epoch;
        let origin = format!("{old}@{base}");
        self.zfs
            .clone_from(&origin, &self.layout.dataset, &self.properties(epoch))
            .await?;
        Ok(())
    }

    async fn merge(&self, pool: &Pool, tail: &str) -> Result<Conflicts, ActError> {
        let gone = || ActError::Gone(tail.to_owned());
        let found = pool.tails.iter().find(|found| found.name == tail).ok_or_else(gone)?;
        let (Some(newest), Some(base)) = (found.newest(), &found.origin) else {
            return Err(gone());
        };
        let live = &self.layout.dataset;
        let tail_root = self.outside.tail_mountpoint();
        self.zfs.hold(tail, &[&newest.name]).await?;
        if !found.mounted {
            self.zfs.set_mountpoint(tail, Some(&tail_root)).await?;
            // Dovecot writes indexes and locks even where it only reads.
            self.zfs.set_readonly(tail, false).await?;
            self.zfs.mount(tail).await?;
        }
        let begun = Instant::now();
        let stage = |what: &str| info!("merging {tail}: {what} after {:.1} s", begun.elapsed().as_secs_f64());
        let tail_changes = self.zfs.diff(base, &format!("{tail}@{}", newest.name)).await?;
        stage("its changes are known");
        // What is delivered before that is seen in the live store afterwards.
        self.outside.announce(tail, &tail_changes).await?;
        let job = MergeJob {
            live: live.clone(),
            live_root: self.layout.mountpoint.clone(),
            tail: tail.to_owned(),
            tail_root,
            epoch: found.marks.epoch,
            tail_changes,
            live_changes: self.zfs.diff(base, live).await?,
        };
        stage("the live store's changes are known");
        let conflicts = self.outside.merge(&job).await?;
        stage("everything is brought");
        // The old writer gives up its own copy once it sees the mark: all of it has to be in the pool by then.
        self.zfs.sync(live).await?;
        stage("the pool is synced");
        self.zfs.unmount(tail).await?;
        stage("it is unmounted");
        self.zfs.mark(tail, &[Mark::Merged]).await?;
        Ok(conflicts)
    }

    async fn discard(&self, pool: &Pool, name: &str) -> Result<(), ActError> {
        let found = pool.olds.iter().chain(&pool.tails).find(|found| found.name == name);
        let found = found.ok_or_else(|| ActError::Gone(name.to_owned()))?;
        if found.mounted {
            self.zfs.unmount(name).await?;
        }
        let held = found.snapshots.iter().filter(|snapshot| snapshot.held);
        let held: Vec<&str> = held.map(|snapshot| snapshot.name.as_str()).collect();
        if !held.is_empty() {
            self.zfs.release(name, &held).await?;
        }
        self.zfs.destroy(name).await?;
        Ok(())
    }
}

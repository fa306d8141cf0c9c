//! Merges a tail, user by user: what is live already under the same gateway id is taken out of the copy, `doveadm sync`
//! (doveadm-sync(1)) brings the rest over, and every message of the tail is looked for in the live store afterwards. One that
//! is missing (its owner may have removed it meanwhile) is put back: a removed message may come back, a delivered one may not
//! be lost. A user for whom anything is missing even so makes the whole merge fail: the tail is kept, and it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use tracing::{info, warn};

use super::stash::{self, Kept};
use super::{Ended, maildir, run, run_well};
use crate::act::{MergeJob, OutsideError};
use crate::config::MailConfig;
use crate::zfs::Change;

/// What there is to merge for one user.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    home: String,
    /// Paths of messages that the tail has added.
    added: Vec<String>,
}

/// Merges.
pub async fn merge(mail: &MailConfig, job: &MergeJob) -> Result<(), OutsideError> {
    for (user, share) in shares(&job.tail_changes, &mail.homes) {
        let failed = |error: io::Error| OutsideError(format!("the tail of {user} cannot be sorted out: {error}"));
        let wanted = sort_out(mail, job, &user, &share).map_err(failed)?;
        info!(
            "{user}: {} message(s) of the tail, {} live already",
            share.added.len(),
            share.added.len().saturating_sub(wanted.len())
        );
        sync(mail, job, &user, &share.home).await?;
        put_back(mail, &user, &missing(mail, &user, &wanted).await?).await?;
        let lost = missing(mail, &user, &wanted).await?;
        if !lost.is_empty() {
            let names: Vec<&str> = lost.iter().map(|kept| kept.guid.as_str()).collect();
            return Err(OutsideError(format!(
                "{user} lacks {} message(s) of the tail after the merge: {}",
                lost.len(),
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// Changed users. Any change of a file counts, so that flags and folders are merged too.
fn shares(changes: &[Change], homes: &str) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for change in changes {
        let (path, is_new) = match change {
            Change::Added(path) => (path, true),
            Change::Changed(path) | Change::Removed(path) | Change::Renamed { to: path, .. } => (path, false),
        };
        let Some((user, home)) = maildir::user_of(path, homes) else {
            continue;
        };
        let share = shares.entry(user).or_default();
        home.clone_into(&mut share.home);
        if is_new && maildir::message(path).is_some() {
            share.added.push(path.clone());
        }
    }
    shares
}

/// Gateway ids of what the live store has got for a user since the common snapshot.
fn live_ids(mail: &MailConfig, job: &MergeJob, user: &str) -> BTreeSet<String> {
    let added = shares(&job.live_changes, &mail.homes)
        .remove(user)
        .unwrap_or_default()
        .added;
    let paths = added.iter().map(|path| Path::new(&job.live_root).join(path));
    paths
        .filter_map(|path| maildir::gateway_id_of(&path, &mail.gateways))
        .collect()
}

/// Takes out of the copy what is live already, and gives the rest. What it finds is the same at each try.
fn sort_out(mail: &MailConfig, job: &MergeJob, user: &str, share: &Share) -> io::Result<Vec<Kept>> {
    let tail_root = Path::new(&job.tail_root);
    let live = live_ids(mail, job, user);
    let is_live = |path: &str| {
        let id = maildir::gateway_id_of(&tail_root.join(path), &mail.gateways);
        id.is_some_and(|id| live.contains(&id))
    };
    let wanted: Vec<&str> = share
        .added
        .iter()
        .map(String::as_str)
        .filter(|path| !is_live(path))
        .collect();
    stash::keep(tail_root, user, &wanted)?;
    let kept = stash::kept_paths(tail_root, user)?;
    for path in share.added.iter().filter(|path| !kept.contains(*path)) {
        // In a Maildir this is how mail is removed; it may be gone from an earlier try.
        match std::fs::remove_file(tail_root.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    stash::kept(tail_root, user, mail)
}

/// Tries of one user's sync: status 2 says that something changed meanwhile (Dovecot 2.4, doveadm exit codes).
const TRIES: u32 = 5;

async fn sync(mail: &MailConfig, job: &MergeJob, user: &str, home: &str) -> Result<(), OutsideError> {
    let place = Path::new(&job.tail_root).join(home).join(&mail.maildir);
    let lock = mail.limit.0.as_secs().clamp(1, 60).to_string();
    let place = format!("maildir:{}", place.display());
    let doveadm = mail.doveadm.to_string_lossy();
    let mut line: Vec<String> = [&*doveadm, "sync", "-u", user, "-f", "-l", &lock]
        .map(str::to_owned)
        .into();
    if let Some(layout) = &mail.layout {
        // The other side begins with Dovecot's own settings, not with those of its configuration.
        line.extend(["-p".to_owned(), format!("mailbox_list_layout={layout}")]);
    }
    line.push(place);
    let mut said = String::new();
    for _ in 0..TRIES {
        match run(&line, mail.limit.0).await? {
            Ended { status: Some(0), .. } => return Ok(()),
            Ended {
                status: Some(2),
                stderr,
                ..
            } => said = stderr,
            Ended { status, stderr, .. } => {
                return Err(OutsideError(format!(
                    "`{}` ended with {status:?}: {stderr}",
                    line.join(" ")
                )));
            }
        }
    }
    Err(OutsideError(format!(
        "{user} is still not in step after {TRIES} tries of doveadm sync: {said}"
    )))
}

/// What is in none of the user's folders.
async fn missing(mail: &MailConfig, user: &str, wanted: &[Kept]) -> Result<Vec<Kept>, OutsideError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let doveadm = mail.doveadm.to_string_lossy();
    let line = [&*doveadm, "-f", "tab", "fetch", "-u", user, "guid", "mailbox", "*"].map(str::to_owned);
    let table = run_well(&line, mail.limit.0).await?;
    let live: BTreeSet<&str> = table.lines().skip(1).map(str::trim).collect();
    Ok(wanted
        .iter()
        .filter(|kept| !live.contains(kept.guid.as_str()))
        .cloned()
        .collect())
}

/// Stores messages anew, each in its folder and under its GUID.
async fn put_back(mail: &MailConfig, user: &str, lost: &[Kept]) -> Result<(), OutsideError> {
    let doveadm = mail.doveadm.to_string_lossy();
    for Kept { guid, mailbox, file } in lost {
        warn!("{user}: {guid} of the tail is in no folder after the merge, and is put back into {mailbox}");
        let file = file.to_string_lossy();
        let line = [&*doveadm, "save", "-u", user, "-m", mailbox, "-g", guid, &*file].map(str::to_owned);
        run_well(&line, mail.limit.0).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Merges a tail, user by user: what is live already under the same gateway id is taken out of the copy, `doveadm sync`
//! (doveadm-sync(1)) brings the rest over, and every message of the tail is looked for in the live store afterwards. A
//! user for whom anything is missing makes the whole merge fail: the tail is kept, and it is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracing::info;

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
        let live = live_ids(mail, job, &user);
        let (repeated, wanted) = sort_out(mail, job, &share, &live);
        for path in &repeated {
            // In a Maildir this is how mail is removed; it may be gone from an earlier try.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(OutsideError(format!(
                        "{} cannot be removed from the copy: {error}",
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        info!(
            "{user}: {} message(s) of the tail, {} live already",
            share.added.len(),
            repeated.len()
        );
        sync(mail, job, &user, &share.home).await?;
        verify(mail, &user, &wanted).await?;
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

/// Messages that are live already, and the GUIDs of the others.
fn sort_out(
    mail: &MailConfig,
    job: &MergeJob,
    share: &Share,
    live: &BTreeSet<String>,
) -> (Vec<PathBuf>, BTreeSet<String>) {
    let (mut repeated, mut wanted) = (Vec::new(), BTreeSet::new());
    for path in &share.added {
        let file = Path::new(&job.tail_root).join(path);
        match maildir::gateway_id_of(&file, &mail.gateways) {
            Some(id) if live.contains(&id) => repeated.push(file),
            _ => wanted.extend(maildir::message(path).map(str::to_owned)),
        }
    }
    (repeated, wanted)
}

/// Tries of one user's sync: status 2 says that something changed meanwhile (Dovecot 2.4, doveadm exit codes).
const TRIES: u32 = 5;

async fn sync(mail: &MailConfig, job: &MergeJob, user: &str, home: &str) -> Result<(), OutsideError> {
    let place = Path::new(&job.tail_root).join(home).join(&mail.maildir);
    let lock = mail.limit.0.as_secs().clamp(1, 60).to_string();
    let place = format!("maildir:{}", place.display());
    let doveadm = mail.doveadm.to_string_lossy();
    let line = [&*doveadm, "sync", "-u", user, "-f", "-l", &lock, &place].map(str::to_owned);
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

async fn verify(mail: &MailConfig, user: &str, wanted: &BTreeSet<String>) -> Result<(), OutsideError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let line = [
        &mail.doveadm.to_string_lossy(),
        "-f",
        "tab",
        "fetch",
        "-u",
        user,
        "guid",
        "mailbox",
        "*",
    ];
    let table = run_well(&line.map(str::to_owned), mail.limit.0).await?;
    let live: BTreeSet<&str> = table.lines().skip(1).map(str::trim).collect();
    let missing: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|guid| !live.contains(guid))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(OutsideError(format!(
            "{user} lacks {} message(s) of the tail after the merge: {}",
            missing.len(),
            missing.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests;

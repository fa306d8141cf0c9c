//! Merges a tail: user by user its new messages are copied into the live store by `doveadm import` (doveadm-import(1)), but for
//! those that the gateway has delivered here again; then moves, flags and removals of older mail are done again. Nothing
//! of it depends on UIDs, which both nodes have given out independently: while mail comes in, `doveadm sync` doubled a message
//! now and then, and it renumbers what clients have seen.
//!
//! Every message of the tail is looked for in the live store afterwards. One that is missing (its owner may have removed it
//! meanwhile) is put back: a removed message may come back, a delivered one may not be lost. A user for whom anything is
//! missing even so makes the whole merge fail: the tail is kept, and it is tried again. A change of older mail that cannot be
//! done is only told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use tracing::{info, warn};

use super::changes::Changes;
use super::share::{self, Share};
use super::stash::{self, Kept};
use super::{maildir, run, run_well};
use crate::act::{MergeJob, OutsideError};
use crate::config::MailConfig;
use crate::deliveries::{Deliveries, Ids};
use crate::zfs::Change;

/// Queue ids of the messages that a tail has added.
pub fn ids(mail: &MailConfig, tail_root: &str, changes: &[Change]) -> Ids {
    let mut ids = Ids::new();
    for (user, share) in share::shares(changes, &mail.homes) {
        let paths = share.added.iter().map(|path| Path::new(tail_root).join(path));
        let of_user: BTreeSet<String> = paths
            .filter_map(|path| maildir::gateway_id_of(&path, &mail.gateways))
            .collect();
        if !of_user.is_empty() {
            ids.insert(user, of_user);
        }
    }
    ids
}

/// Merges.
pub async fn merge(mail: &MailConfig, job: &MergeJob, deliveries: &Deliveries) -> Result<(), OutsideError> {
    let live = share::shares(&job.live_changes, &mail.homes);
    let mut brought = Vec::new();
    for (user, share) in share::shares(&job.tail_changes, &mail.homes) {
        let mut known = deliveries.delivered(&user);
        known.extend(
            live.get(&user)
                .map(|live| live_ids(mail, job, live))
                .unwrap_or_default(),
        );
        let failed = |error: io::Error| OutsideError(format!("the tail of {user} cannot be sorted out: {error}"));
        let (wanted, is_first) = keep(mail, job, &user, &share, &known).map_err(failed)?;
        info!(
            "{user}: {} message(s) of the tail, {} live already",
            share.added.len(),
            share.added.len().saturating_sub(wanted.len())
        );
        let lacking = match is_first {
            true => unmoved(&share, &wanted),
            false => {
                let users = [(user.as_str(), wanted.as_slice())];
                missing(mail, job, &users)
                    .await?
                    .into_iter()
                    .flat_map(|(_, kept)| kept)
                    .collect()
            }
        };
        for some in lacking.chunks(TOGETHER) {
            import(mail, job, &user, &share.home, some).await?;
        }
        brought.push(Brought { user, share, wanted });
    }
    for some in brought.chunks(USERS) {
        see(mail, job, some).await?;
    }
    for Brought { user, share, .. } in &brought {
        Changes::of(mail, job, user).again(share).await;
    }
    Ok(())
}

/// What a merge has brought for one user.
struct Brought {
    user: String,
    share: Share,
    wanted: Vec<Kept>,
}

/// Queue ids of what a user's live mailbox has got since the common snapshot. Its owner renames and moves files all the time,
/// but a message keeps the first part of its name.
fn live_ids(mail: &MailConfig, job: &MergeJob, live: &Share) -> BTreeSet<String> {
    let root = Path::new(&job.live_root);
    let id = |path: &Path| maildir::gateway_id_of(path, &mail.gateways);
    let (mut ids, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for path in &live.added {
        match id(&root.join(path)) {
            Some(id) => drop(ids.insert(id)),
            None => elsewhere.extend(maildir::message(path)),
        }
    }
    // A file that is renamed while the folders are read may be missed in one look.
    for _ in 0..2 {
        if !elsewhere.is_empty() {
            let home = root.join(&live.home);
            let found = maildir::messages(&home);
            let found = found.iter().filter(|(base, _)| elsewhere.contains(base.as_str()));
            ids.extend(found.filter_map(|(_, path)| id(path)));
        }
    }
    ids
}

/// Keeps what has to be brought, and gives it; true if this is the first try. What it finds is the same at each try.
fn keep(
    mail: &MailConfig,
    job: &MergeJob,
    user: &str,
    share: &Share,
    known: &BTreeSet<String>,
) -> io::Result<(Vec<Kept>, bool)> {
    let tail_root = Path::new(&job.tail_root);
    let is_known = |path: &str| {
        let id = maildir::gateway_id_of(&tail_root.join(path), &mail.gateways);
        id.is_some_and(|id| known.contains(&id))
    };
    let wanted: Vec<&str> = share
        .added
        .iter()
        .map(String::as_str)
        .filter(|path| !is_known(path))
        .collect();
    let is_first = stash::keep(tail_root, user, &wanted)?;
    Ok((stash::kept(tail_root, user, mail)?, is_first))
}

/// What the live store cannot have before anything was brought: all but older mail in a new place.
fn unmoved(share: &Share, wanted: &[Kept]) -> Vec<Kept> {
    let moved = share.moved.iter().filter_map(|moved| maildir::message(&moved.to));
    let moved: BTreeSet<&str> = moved.collect();
    wanted
        .iter()
        .filter(|kept| !moved.contains(kept.guid.as_str()))
        .cloned()
        .collect()
}

/// Sees that messages are in the live store, and puts back what is not.
async fn see(mail: &MailConfig, job: &MergeJob, brought: &[Brought]) -> Result<(), OutsideError> {
    let users: Vec<(&str, &[Kept])> = brought
        .iter()
        .map(|brought| (brought.user.as_str(), brought.wanted.as_slice()))
        .collect();
    // A message that its owner moves is in none of the folders for one look that goes from folder to folder.
    let moving = missing(mail, job, &users).await?;
    for (user, lost) in missing(mail, job, &refs(&moving)).await? {
        put_back(mail, user, &lost).await?;
    }
    let lost = missing(mail, job, &refs(&moving)).await?;
    let Some((user, lost)) = lost.first() else {
        return Ok(());
    };
    let names: Vec<&str> = lost.iter().map(|kept| kept.guid.as_str()).collect();
    Err(OutsideError(format!(
        "{user} lacks {} message(s) of the tail after the merge: {}",
        lost.len(),
        names.join(", ")
    )))
}

fn refs<'a>(users: &'a [(&'a str, Vec<Kept>)]) -> Vec<(&'a str, &'a [Kept])> {
    users.iter().map(|(user, kept)| (*user, kept.as_slice())).collect()
}

/// Users of one command: it has to be done within its limit.
const USERS: usize = 50;

/// Messages of one command: its line has to stay short enough.
pub(super) const TOGETHER: usize = 500;

/// A query for these messages (doveadm-search-query(7)).
pub(super) fn any_of<'a>(guids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut query = vec!["(".to_owned()];
    for guid in guids {
        if query.len() > 1 {
            query.push("OR".to_owned());
        }
        query.extend(["guid".to_owned(), guid.to_owned()]);
    }
    query.push(")".to_owned());
    query
}

/// Copies messages, each into its folder and under its GUID.
async fn import(mail: &MailConfig, job: &MergeJob, user: &str, home: &str, some: &[Kept]) -> Result<(), OutsideError> {
    let place = stash::place(Path::new(&job.tail_root), user)
        .join(home)
        .join(&mail.maildir);
    let doveadm = mail.doveadm.to_string_lossy();
    // The pool is synced as a whole before the tail counts as merged.
    let mut line = [&*doveadm, "-o", "mail_fsync=never", "import", "-u", user, "-s"]
        .map(str::to_owned)
        .to_vec();
    if let Some(layout) = &mail.layout {
        // The source begins with Dovecot's own settings, not with those of its configuration.
        line.extend(["-p".to_owned(), format!("mailbox_list_layout={layout}")]);
    }
    line.extend([format!("maildir:{}", place.display()), String::new()]);
    line.extend(any_of(some.iter().map(|kept| kept.guid.as_str())));
    let shown = format!("{} of {} message(s)", line[..7].join(" "), some.len());
    let ended = run(&line, mail.limit.0).await?;
    match ended.status {
        Some(0) => Ok(()),
        status => Err(OutsideError(format!(
            "`{shown}` ended with {status:?}: {}",
            ended.stderr
        ))),
    }
}

/// What is in none of its user's folders, by user; users who lack nothing are left out. One command for all: it takes longer to
/// begin than to look into a mailbox.
async fn missing<'a>(
    mail: &MailConfig,
    job: &MergeJob,
    users: &[(&'a str, &[Kept])],
) -> Result<Vec<(&'a str, Vec<Kept>)>, OutsideError> {
    let names: Vec<&str> = users
        .iter()
        .filter(|(_, wanted)| !wanted.is_empty())
        .map(|(user, _)| *user)
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let list = stash::place(Path::new(&job.tail_root), "users");
    fs::write(&list, names.join("\n") + "\n").map_err(|error| OutsideError(format!("{}: {error}", list.display())))?;
    let (doveadm, list) = (mail.doveadm.to_string_lossy(), list.to_string_lossy());
    let line = [
        &*doveadm,
        "-f",
        "tab",
        "fetch",
        "-F",
        &*list,
        "user guid",
        "mailbox",
        "*",
    ]
    .map(str::to_owned);
    let table = run_well(&line, mail.limit.0).await?;
    let live = guids(&table);
    let lacks = |(user, wanted): &(&'a str, &[Kept])| {
        let live = live.get(user);
        let is_there = |kept: &&Kept| live.is_some_and(|live| live.contains(kept.guid.as_str()));
        let lost: Vec<Kept> = wanted.iter().filter(|kept| !is_there(kept)).cloned().collect();
        (!lost.is_empty()).then_some((*user, lost))
    };
    Ok(users.iter().filter_map(lacks).collect())
}

/// GUIDs by user, of a table with columns `user` and `guid`, in whichever order.
fn guids(table: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut lines = table
        .lines()
        .map(|line| line.split('\t').map(str::trim).collect::<Vec<_>>());
    let titles = lines.next().unwrap_or_default();
    let column = |name: &str| titles.iter().position(|title| *title == name);
    let (Some(user), Some(guid)) = (column("user"), column("guid")) else {
        return BTreeMap::new();
    };
    let mut guids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines {
        if let (Some(user), Some(guid)) = (line.get(user), line.get(guid)) {
            guids.entry(user).or_default().insert(guid);
        }
    }
    guids
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

/// Things in groups, by what they have in common.
pub(super) fn grouped<K: Ord, T>(things: impl IntoIterator<Item = (K, T)>) -> BTreeMap<K, Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for (key, thing) in things {
        groups.entry(key).or_default().push(thing);
    }
    groups
}

#[cfg(test)]
mod tests;

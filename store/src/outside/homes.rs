//! Files of a home that are no mail, sieve scripts before all: a merge of mail leaves them alone. What only the tail has
//! changed is taken over; what both sides have changed stays as it is live, and the tail's version is kept beside it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::maildir;
use crate::act::{MergeJob, OutsideError};
use crate::config::MailConfig;
use crate::zfs::Change;

/// What was a file, in one of the two stores.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Link(PathBuf),
    Nothing,
}

/// Merges; gives the files that are kept beside a live one, by their path from the root of the store. May be repeated.
///
/// # Errors
/// A file cannot be read or written; the text says which.
pub fn merge(mail: &MailConfig, job: &MergeJob) -> Result<Vec<String>, OutsideError> {
    let live_changed = paths(&job.live_changes);
    let mut kept = Vec::new();
    for path in paths(&job.tail_changes).into_iter().filter(|path| is_own(path, mail)) {
        let failed = |error: io::Error| OutsideError(format!("{path} of the tail cannot be merged: {error}"));
        let (from, to) = (
            Path::new(&job.tail_root).join(path),
            Path::new(&job.live_root).join(path),
        );
        let (tail, live) = (read(&from).map_err(failed)?, read(&to).map_err(failed)?);
        if tail == live {
            continue;
        }
        if !live_changed.contains(path) {
            info!("{path} is taken over from the tail");
            put(&tail, &from, &to).map_err(failed)?;
        } else if tail != Content::Nothing {
            let beside = format!("{path}.conflict-{}", job.epoch);
            warn!("{path} was changed on both nodes: the live one stays, the other is kept as {beside}");
            put(&tail, &from, &Path::new(&job.live_root).join(&beside)).map_err(failed)?;
            kept.push(beside);
        }
    }
    Ok(kept)
}

/// Everything that is or was there under a changed name.
fn paths(changes: &[Change]) -> BTreeSet<&str> {
    let names = changes.iter().flat_map(|change| match change {
        Change::Added(path) | Change::Changed(path) | Change::Removed(path) => vec![path.as_str()],
        Change::Renamed { from, to } => vec![from.as_str(), to.as_str()],
    });
    names.collect()
}

/// True for a file of the user's own: not in the Maildir, and nothing that Dovecot writes for itself.
fn is_own(path: &str, mail: &MailConfig) -> bool {
    let Some((_, home)) = maildir::user_of(path, &mail.homes) else {
        return false;
    };
    let inside = path[home.len()..].trim_start_matches('/');
    let parts: Vec<&str> = inside.split('/').collect();
    let mut place = mail.maildir.split('/').filter(|part| !part.is_empty()).peekable();
    let is_mail = match place.peek() {
        Some(_) => Path::new(inside).starts_with(mail.maildir.trim_matches('/')),
        None => parts.iter().any(|part| matches!(*part, "cur" | "new" | "tmp")),
    };
    let name = parts.last().copied().unwrap_or_default();
    // Compiled scripts are made anew; the rest are indexes, lists, locks and temporary files (of ours as well).
    let of_dovecot = name.starts_with("dovecot")
        || parts.iter().any(|part| part.starts_with(".dovecot.lda-dupes"))
        || matches!(name, "maildirfolder" | "maildirsize" | "subscriptions")
        || [".svbin", ".lock", ".tmp", TEMPORARY]
            .iter()
            .any(|end| name.ends_with(end));
    !is_mail && !of_dovecot
}

fn read(path: &Path) -> io::Result<Content> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Content::Nothing);
        }
        other => other?,
    };
    if metadata.is_symlink() {
        return fs::read_link(path).map(Content::Link);
    }
    if metadata.is_dir() {
        return Err(io::Error::other("it is a folder on one of the nodes"));
    }
    fs::read(path).map(Content::File)
}

const TEMPORARY: &str = ".cluster-store";

/// Puts something in its place, whole or not at all, with owner and mode that it had.
fn put(content: &Content, from: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_file_name(format!(
        "{}{TEMPORARY}",
        to.file_name().unwrap_or_default().to_string_lossy()
    ));
    if *content == Content::Nothing {
        return gone(to);
    }
    folders(from, to)?;
    gone(&temporary)?;
    let like = fs::symlink_metadata(from)?;
    match content {
        Content::File(bytes) => {
            let mut file = File::create_new(&temporary)?;
            io::Write::write_all(&mut file, bytes)?;
            file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
            file.set_modified(like.modified()?)?;
            file.sync_all()?;
        }
        Content::Link(target) => symlink(target, &temporary)?,
        Content::Nothing => {}
    }
    own(&temporary, &like)?;
    fs::rename(&temporary, to)
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn own(path: &Path, like: &Metadata) -> io::Result<()> {
    lchown(path, Some(like.uid()), Some(like.gid()))
}

/// Makes the folders that are missing above a file, like those of the tail.
fn folders(from: &Path, to: &Path) -> io::Result<()> {
    let (Some(from), Some(to)) = (from.parent(), to.parent()) else {
        return Ok(());
    };
    if to.is_dir() {
        return Ok(());
    }
    folders(from, to)?;
    let like = fs::metadata(from)?;
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(like.mode() & 0o7777))?;
    own(to, &like)
}

#[cfg(test)]
mod tests;

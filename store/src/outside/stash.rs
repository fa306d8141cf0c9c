//! Messages that a merge has to bring into the live store, kept in the tail as a Maildir of their own, from which `doveadm
//! import` copies: a merge that was cut short has to find the same messages again, whatever became of the live ones since.
//! They are links, below `.merge/USER` in the tail, each under its path in the store.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::maildir;
use crate::config::MailConfig;

/// Where messages are kept, below the root of the tail.
const FOLDER: &str = ".merge";

/// Dovecot's file for the names of keywords.
const KEYWORDS: &str = "dovecot-keywords";

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What Dovecot knows it by in every folder.
    pub guid: String,
    /// Folder it lies in.
    pub mailbox: String,
    /// The file.
    pub file: PathBuf,
}

/// Keeps these files of the tail, paths from its root, unless an earlier try has kept its own: then those it is. True if this
/// is the first try.
///
/// # Errors
/// A file cannot be linked; nothing is kept.
pub fn keep(tail_root: &Path, user: &str, paths: &[&str]) -> io::Result<bool> {
    let done = place(tail_root, user);
    if done.exists() {
        return Ok(false);
    }
    let new = place(tail_root, &format!("{user}.new"));
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    // Dovecot reads as the user.
    fs::set_permissions(tail_root.join(FOLDER), fs::Permissions::from_mode(0o711))?;
    for path in paths {
        let from = tail_root.join(path);
        let like = fs::metadata(&from)?;
        lchown(&new, Some(like.uid()), Some(like.gid()))?;
        let folder = maildir::place(path);
        for part in ["cur", "new", "tmp"] {
            folders(&new, &Path::new(folder).join(part), &like)?;
        }
        fs::hard_link(&from, new.join(path))?;
        keywords(&tail_root.join(folder), &new.join(folder), &like)?;
    }
    fs::rename(&new, &done)?;
    Ok(true)
}

/// Makes directories below one that is there, each for the owner of a message: Dovecot writes its lists into them.
fn folders(root: &Path, inside: &Path, like: &Metadata) -> io::Result<()> {
    let mut path = root.to_owned();
    for part in inside {
        path.push(part);
        if !path.exists() {
            fs::create_dir(&path)?;
            lchown(&path, Some(like.uid()), Some(like.gid()))?;
        }
    }
    Ok(())
}

/// Copies the names of a folder's keywords: the letters in its messages' names mean nothing without.
fn keywords(from: &Path, to: &Path, like: &Metadata) -> io::Result<()> {
    let to = to.join(KEYWORDS);
    if to.exists() || !from.join(KEYWORDS).exists() {
        return Ok(());
    }
    fs::copy(from.join(KEYWORDS), &to)?;
    lchown(&to, Some(like.uid()), Some(like.gid()))
}

/// Where a user's messages are kept.
pub fn place(tail_root: &Path, user: &str) -> PathBuf {
    tail_root.join(FOLDER).join(user)
}

/// What is kept for a user.
///
/// # Errors
/// The folder cannot be read.
pub fn kept(tail_root: &Path, user: &str, mail: &MailConfig) -> io::Result<Vec<Kept>> {
    let root = place(tail_root, user);
    let found = paths(&root)?;
    Ok(found
        .iter()
        .filter_map(|path| {
            Some(Kept {
                guid: maildir::message(path)?.to_owned(),
                mailbox: maildir::mailbox_of(path, mail)?,
                file: root.join(path),
            })
        })
        .collect())
}

fn paths(root: &Path) -> io::Result<BTreeSet<String>> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Some(inside) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) {
                found.insert(inside.to_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "example.org/anna/Maildir/Drafts/cur/1.M2.h,S=3:2,S";

    fn tail() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join(PATH);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, "one").expect("written");
        root
    }

    fn mail() -> MailConfig {
        MailConfig {
            maildir: "Maildir".to_owned(),
            layout: Some("fs".to_owned()),
            ..MailConfig::default()
        }
    }

    #[test]
    fn what_is_kept_outlives_its_removal_and_knows_its_folder() {
        let root = tail();
        keep(root.path(), "anna@example.org", &[PATH]).expect("kept");
        fs::remove_file(root.path().join(PATH)).expect("removed");
        let found = kept(root.path(), "anna@example.org", &mail()).expect("read");
        assert_eq!(
            (found[0].guid.as_str(), found[0].mailbox.as_str()),
            ("1.M2.h,S=3", "Drafts")
        );
        assert_eq!(fs::read(&found[0].file).expect("there"), b"one");
    }

    #[test]
    fn a_second_try_goes_by_what_the_first_has_kept() {
        let root = tail();
        keep(root.path(), "anna@example.org", &[]).expect("kept");
        keep(root.path(), "anna@example.org", &[PATH]).expect("kept before");
        assert_eq!(kept(root.path(), "anna@example.org", &mail()).expect("read"), []);
    }

    #[test]
    fn a_try_that_was_cut_short_is_begun_anew() {
        let root = tail();
        fs::create_dir_all(root.path().join(".merge/anna@example.org.new/half")).expect("made");
        keep(root.path(), "anna@example.org", &[PATH]).expect("kept");
        let found = kept(root.path(), "anna@example.org", &mail()).expect("read");
        assert!(found[0].file.ends_with(PATH), "{found:?}");
    }
}

//! At a take-over, folders that were active lately get a higher next UID (doveadm-mailbox(1), `update --min-next-uid`):
//! clients may have seen UIDs for mail that only the other node has, and they must not come again. All folders of one name
//! are lifted by one command, above the highest next UID among them: starting a command for each would keep the doors of a
//! large cluster closed for minutes. As many names as there are processors are lifted at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use tracing::warn;

use super::{maildir, run, run_well, well};
use crate::act::OutsideError;
use crate::config::MailConfig;

/// Where Dovecot keeps a Maildir's UIDs.
const LIST: &str = "dovecot-uidlist";

/// How doveadm ends for a user whom it does not know (doveadm(1), EX_NOUSER).
const NO_USER: i32 = 67;

/// What to lift.
#[derive(Debug, Default, PartialEq, Eq)]
struct Active {
    /// Folders of a name: who has one, and the highest next UID.
    folders: BTreeMap<String, Folder>,
    /// Users with a folder whose name or next UID only Dovecot can tell.
    asked: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Folder {
    users: BTreeSet<String>,
    next: u32,
}

/// Lifts all, and gives the users; the error is the first of those that did not work.
pub async fn lift(mail: &MailConfig, mountpoint: &Path) -> Result<Vec<String>, OutsideError> {
    let since = SystemTime::now() - mail.active.0;
    let (root, config) = (mountpoint.to_owned(), mail.clone());
    let active = tokio::task::spawn_blocking(move || active(&root, &config, since))
        .await
        .map_err(|error| OutsideError(error.to_string()))?;
    let at_a_time = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut folders = Vec::new();
    for (name, folder) in &active.folders {
        folders.push(lift_folder(mail, name, folder));
    }
    let lifted: Vec<_> = stream::iter(folders).buffered(at_a_time).collect().await;
    let mut first = lifted.into_iter().collect::<Result<(), _>>();
    for user in &active.asked {
        let done = lift_user(mail, user).await;
        first = first.and(done);
    }
    first.map(|()| active.users())
}

/// Whoever is listed and unknown to Dovecot is passed over by it.
async fn lift_folder(mail: &MailConfig, name: &str, folder: &Folder) -> Result<(), OutsideError> {
    let failed = |error: std::io::Error| OutsideError(format!("a list of users cannot be written: {error}"));
    let mut users = tempfile::NamedTempFile::new().map_err(failed)?;
    for user in &folder.users {
        writeln!(users, "{user}").map_err(failed)?;
    }
    users.flush().map_err(failed)?;
    let next = folder.next.saturating_add(mail.lift).to_string();
    let (doveadm, list) = (mail.doveadm.to_string_lossy(), users.path().to_string_lossy());
    let line = [
        &*doveadm,
        "mailbox",
        "update",
        "-F",
        &*list,
        "--min-next-uid",
        &next,
        name,
    ];
    run_well(&line.map(str::to_owned), mail.limit.0).await.map(drop)
}

async fn lift_user(mail: &MailConfig, user: &str) -> Result<(), OutsideError> {
    let doveadm = mail.doveadm.to_string_lossy().into_owned();
    let line = |words: &[&str]| -> Vec<String> {
        std::iter::once(doveadm.clone())
            .chain(words.iter().map(|word| (*word).to_owned()))
            .collect()
    };
    let status = line(&["-f", "tab", "mailbox", "status", "-u", user, "uidnext", "*"]);
    let ended = run(&status, mail.limit.0).await?;
    if ended.status == Some(NO_USER) {
        // Nobody can log in to a home that was left over.
        warn!("{user} has mail, and Dovecot does not know the user: UIDs stay as they are");
        return Ok(());
    }
    let list = well(&status, ended)?;
    for (mailbox, next) in next_uids(&list) {
        let next = next.saturating_add(mail.lift).to_string();
        let update = line(&["mailbox", "update", "-u", user, "--min-next-uid", &next, &mailbox]);
        run_well(&update, mail.limit.0).await?;
    }
    Ok(())
}

/// Mailboxes and their next UIDs, of a table whose first line names the columns.
fn next_uids(table: &str) -> Vec<(String, u32)> {
    let mut lines = table.lines();
    let Some(head) = lines.next() else { return Vec::new() };
    let columns: Vec<&str> = head.split('\t').collect();
    let at = |name: &str| columns.iter().position(|column| *column == name);
    let (Some(mailbox), Some(next)) = (at("mailbox"), at("uidnext")) else {
        return Vec::new();
    };
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            Some((fields.get(mailbox)?.to_string(), fields.get(next)?.parse().ok()?))
        })
        .collect()
}

/// A folder's list of UIDs, or the log of its index, which is there first: a folder that had no message yet has a UIDVALIDITY
/// that programs have seen.
fn is_list(name: &OsStr) -> bool {
    name == LIST || name == "dovecot.index.log"
}

/// Folders whose list of UIDs or index changed since then. Directories that cannot be read are passed over.
fn active(root: &Path, mail: &MailConfig, since: SystemTime) -> Active {
    let mut found = Active::default();
    let mut directories: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !matches!(name.to_str(), Some("new" | "cur" | "tmp")) {
                    directories.push(entry.path());
                }
            } else if is_list(&name) && changed_since(&entry, since) {
                found.add(root, &entry.path(), mail);
            }
        }
    }
    found
}

fn changed_since(entry: &DirEntry, since: SystemTime) -> bool {
    let changed = entry.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed >= since)
}

impl Active {
    fn users(&self) -> Vec<String> {
        let owners = self.folders.values().flat_map(|folder| &folder.users);
        let all: BTreeSet<&String> = owners.chain(&self.asked).collect();
        all.into_iter().cloned().collect()
    }

    fn add(&mut self, root: &Path, file: &Path, mail: &MailConfig) {
        let list = file.with_file_name(LIST);
        let Some(inside) = list.strip_prefix(root).ok().and_then(Path::to_str) else {
            return;
        };
        let Some((user, _)) = maildir::user_of(inside, &mail.homes) else {
            return;
        };
        match (maildir::folder_of(inside, mail), next_uid(&list)) {
            (Some(name), Some(next)) => {
                let folder = self.folders.entry(name).or_default();
                folder.users.insert(user);
                folder.next = folder.next.max(next);
            }
            _ => {
                self.asked.insert(user);
            }
        }
    }
}

/// The next UID by the first line of a list: `3 V1795628812 N2029 G...` (Dovecot's Maildir format, version 3); 1 where there
/// is none.
fn next_uid(list: &Path) -> Option<u32> {
    let mut head = String::new();
    match std::fs::File::open(list) {
        Ok(file) => BufReader::new(file).read_line(&mut head).ok()?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(1),
        Err(_) => return None,
    };
    let mut words = head.split_whitespace();
    words.next().filter(|version| *version == "3")?;
    words.find_map(|word| word.strip_prefix('N'))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_doveadm_gives_mailboxes_and_next_uids() {
        let table = "mailbox\tuidnext\nINBOX\t17\nSent Items\t3\n";
        assert_eq!(
            next_uids(table),
            [("INBOX".to_owned(), 17), ("Sent Items".to_owned(), 3)]
        );
    }

    fn store(lists: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (folder, head) in lists {
            let home = root.path().join("example.org").join(folder);
            std::fs::create_dir_all(&home).expect("a home");
            std::fs::write(home.join("dovecot-uidlist"), head).expect("a list");
        }
        root
    }

    fn mail() -> MailConfig {
        MailConfig {
            maildir: "Maildir".to_owned(),
            layout: Some("fs".to_owned()),
            ..MailConfig::default()
        }
    }

    fn folder(users: &[&str], next: u32) -> Folder {
        Folder {
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            next,
        }
    }

    #[test]
    fn folders_of_a_name_are_lifted_together_above_the_highest_of_them() {
        let root = store(&[
            ("anna/Maildir", "3 V1 N7 Gabc\n1 :1.M2.h\n"),
            ("ben/Maildir", "3 V1 N90\n"),
            ("ben/Maildir/Lists/One", "3 V1 N4\n"),
            ("ben/Maildir/Entw&APw-rfe", "3 V1 N3\n"),
        ]);
        let found = active(root.path(), &mail(), SystemTime::UNIX_EPOCH);
        let expected = BTreeMap::from([
            ("INBOX".to_owned(), folder(&["anna@example.org", "ben@example.org"], 90)),
            ("Lists/One".to_owned(), folder(&["ben@example.org"], 4)),
            ("Entwürfe".to_owned(), folder(&["ben@example.org"], 3)),
        ]);
        assert_eq!((found.folders, found.asked), (expected, BTreeSet::new()));
    }

    #[test]
    fn a_folder_that_had_no_message_yet_is_lifted_as_well() {
        let root = store(&[]);
        let trash = root.path().join("example.org/anna/Maildir/Trash");
        std::fs::create_dir_all(&trash).expect("a folder");
        std::fs::write(trash.join("dovecot.index.log"), "log").expect("an index");
        let found = active(root.path(), &mail(), SystemTime::UNIX_EPOCH);
        assert_eq!(found.folders["Trash"], folder(&["anna@example.org"], 1));
    }

    #[test]
    fn of_a_list_or_a_name_that_is_not_understood_dovecot_is_asked() {
        let root = store(&[("anna/Maildir", "1 1795628812 7\n"), ("ben/Maildir/R&D", "3 V1 N4\n")]);
        let found = active(root.path(), &mail(), SystemTime::UNIX_EPOCH);
        let both = ["anna@example.org", "ben@example.org"].map(str::to_owned);
        assert_eq!((found.folders, found.asked), (BTreeMap::new(), BTreeSet::from(both)));
    }

    #[test]
    fn only_users_whose_mail_changed_lately_are_active() {
        let root = store(&[("anna/Maildir", "3 V1 N1\n"), ("ben/Maildir", "3 V1 N1\n")]);
        let old = std::fs::File::options()
            .write(true)
            .open(root.path().join("example.org/ben/Maildir/dovecot-uidlist"));
        old.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("an old list");
        let since = SystemTime::now() - std::time::Duration::from_secs(3600);
        let found = active(root.path(), &mail(), since);
        assert_eq!(found.folders["INBOX"], folder(&["anna@example.org"], 1));
    }
}

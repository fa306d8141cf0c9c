//! At a take-over, mailboxes that were active lately get a higher next UID (doveadm-mailbox(1), `update
//! --min-next-uid`): clients may have seen UIDs for mail that only the other node has, and they must not come again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tracing::warn;

use super::{maildir, run, run_well, well};
use crate::act::OutsideError;
use crate::config::MailConfig;

/// How doveadm ends for a user whom it does not know (doveadm(1), EX_NOUSER).
const NO_USER: i32 = 67;

/// Lifts all; the error is the first of those that did not work.
pub async fn lift(mail: &MailConfig, mountpoint: &Path) -> Result<(), OutsideError> {
    let (root, homes, since) = (
        mountpoint.to_owned(),
        mail.homes.clone(),
        SystemTime::now() - mail.active.0,
    );
    let users = tokio::task::spawn_blocking(move || active(&root, &homes, since))
        .await
        .map_err(|error| OutsideError(error.to_string()))?;
    let mut first = Ok(());
    for user in users {
        let done = lift_user(mail, &user).await;
        first = first.and(done);
    }
    first
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

/// Users with a list of UIDs that changed since then. Folders that cannot be read are passed over.
fn active(root: &Path, homes: &str, since: SystemTime) -> BTreeSet<String> {
    let mut users = BTreeSet::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name();
            if kind.is_dir() && !matches!(name.to_str(), Some("new" | "cur" | "tmp")) {
                folders.push(entry.path());
            }
            if name != "dovecot-uidlist" {
                continue;
            }
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let path = entry.path();
            let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
            if changed.is_ok_and(|changed| changed >= since)
                && let Some((user, _)) = inside.and_then(|inside| maildir::user_of(inside, homes))
            {
                users.insert(user);
            }
        }
    }
    users
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

    #[test]
    fn only_users_whose_mail_changed_lately_are_active() {
        let root = tempfile::tempdir().expect("a folder");
        for user in ["anna", "ben"] {
            let home = root.path().join("example.org").join(user);
            std::fs::create_dir_all(&home).expect("a home");
            std::fs::write(home.join("dovecot-uidlist"), "3 V1 N1\n").expect("a list");
        }
        let old = std::fs::File::options()
            .write(true)
            .open(root.path().join("example.org/ben/dovecot-uidlist"));
        old.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("an old list");
        let since = SystemTime::now() - std::time::Duration::from_secs(3600);
        let found: Vec<String> = active(root.path(), "{domain}/{user}", since).into_iter().collect();
        assert_eq!(found, ["anna@example.org"]);
    }
}

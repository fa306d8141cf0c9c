//! What a tail has changed in one user's mailbox, read from what `zfs diff` says of its files. In a Maildir a flag is a letter
//! in a file's name, and a folder is a directory: a rename within a folder changes flags, one into another folder is a move.

use std::collections::{BTreeMap, BTreeSet};

use super::maildir;
use crate::zfs::Change;

/// Changes of one user. All paths are from the root of the store; a GUID is what Dovecot knows a message by in every folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The user's home.
    pub home: String,
    /// Paths of messages that are new.
    pub added: Vec<String>,
    /// Messages of before that went into another folder.
    pub moved: Vec<Moved>,
    /// Messages of before with other flags.
    pub flagged: Vec<Flagged>,
    /// Paths of messages that were there before.
    pub removed: Vec<String>,
}

/// A move.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    /// Path before.
    pub from: String,
    /// Path after.
    pub to: String,
}

/// A change of flags.
#[derive(Debug, PartialEq, Eq)]
pub struct Flagged {
    /// Path after.
    pub path: String,
    /// Letters that came.
    pub set: BTreeSet<char>,
    /// Letters that went.
    pub cleared: BTreeSet<char>,
}

/// Shares of all users of whom anything changed.
pub fn shares(changes: &[Change], homes: &str) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for change in changes {
        let path = match change {
            Change::Added(path) | Change::Changed(path) | Change::Removed(path) | Change::Renamed { to: path, .. } => {
                path
            }
        };
        let Some((user, home)) = maildir::user_of(path, homes) else {
            continue;
        };
        let share = shares.entry(user).or_default();
        home.clone_into(&mut share.home);
        share.take(change);
    }
    shares.values_mut().for_each(Share::pair);
    shares
}

impl Share {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Added(path) if maildir::message(path).is_some() => self.added.push(path.clone()),
            Change::Removed(path) if maildir::message(path).is_some() => self.removed.push(path.clone()),
            Change::Renamed { from, to } => match (maildir::message(from), maildir::message(to)) {
                (Some(before), Some(after)) if before == after => self.renamed(from, to),
                // It was on its way into the folder, in `tmp`, when the common snapshot was taken.
                (_, Some(_)) => self.added.push(to.clone()),
                (Some(_), None) => self.removed.push(from.clone()),
                (None, None) => {}
            },
            _ => {}
        }
    }

    fn renamed(&mut self, from: &str, to: &str) {
        if maildir::place(from) != maildir::place(to) {
            let (from, to) = (from.to_owned(), to.to_owned());
            self.moved.push(Moved { from, to });
        }
        let (before, after) = (maildir::flags(from), maildir::flags(to));
        if before != after {
            self.flagged.push(Flagged {
                path: to.to_owned(),
                set: after.difference(&before).copied().collect(),
                cleared: before.difference(&after).copied().collect(),
            });
        }
    }

    /// A message that is gone from one place and new in another is moved too: a move may be a copy and a removal.
    fn pair(&mut self) {
        let mut places: BTreeMap<&str, &String> = BTreeMap::new();
        for path in &self.added {
            places.extend(maildir::message(path).map(|guid| (guid, path)));
        }
        let (mut moved, mut removed) = (Vec::new(), Vec::new());
        for from in std::mem::take(&mut self.removed) {
            match maildir::message(&from).and_then(|guid| places.get(guid)) {
                Some(to) => moved.push(Moved {
                    from,
                    to: (*to).clone(),
                }),
                None => removed.push(from),
            }
        }
        self.removed = removed;
        self.moved.extend(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(changes: &[Change]) -> Share {
        shares(changes, "{domain}/{user}")
            .remove("a@x")
            .expect("changes of hers")
    }

    fn renamed(from: &str, to: &str) -> Change {
        let (from, to) = (from.to_owned(), to.to_owned());
        Change::Renamed { from, to }
    }

    #[test]
    fn a_letter_in_the_name_is_a_flag() {
        let found = share(&[renamed("x/a/cur/1.M:2,FT", "x/a/cur/1.M:2,FS")]);
        let flagged = Flagged {
            path: "x/a/cur/1.M:2,FS".to_owned(),
            set: BTreeSet::from(['S']),
            cleared: BTreeSet::from(['T']),
        };
        assert_eq!((found.flagged, found.moved), (vec![flagged], vec![]));
    }

    #[test]
    fn a_message_that_is_only_looked_at_has_not_changed() {
        assert_eq!(
            share(&[renamed("x/a/new/1.M", "x/a/cur/1.M:2,")]),
            Share {
                home: "x/a".to_owned(),
                ..Share::default()
            }
        );
    }

    #[test]
    fn another_folder_is_a_move_however_it_was_made() {
        let paths = ("x/a/cur/1.M:2,S", "x/a/Trash/cur/1.M:2,S");
        let moved = || Moved {
            from: paths.0.to_owned(),
            to: paths.1.to_owned(),
        };
        assert_eq!(share(&[renamed(paths.0, paths.1)]).moved, [moved()]);
        let copied = share(&[Change::Removed(paths.0.to_owned()), Change::Added(paths.1.to_owned())]);
        assert_eq!((copied.moved, copied.removed), (vec![moved()], vec![]));
        assert_eq!(copied.added, [paths.1]);
    }

    #[test]
    fn what_was_being_delivered_at_the_common_snapshot_is_new() {
        assert_eq!(share(&[renamed("x/a/tmp/1.M", "x/a/new/1.M")]).added, ["x/a/new/1.M"]);
    }

    #[test]
    fn what_is_gone_was_removed() {
        assert_eq!(
            share(&[Change::Removed("x/a/cur/1.M:2,S".to_owned())]).removed,
            ["x/a/cur/1.M:2,S"]
        );
    }
}

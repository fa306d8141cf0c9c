//! Does again in the live store what the users of a tail did to older mail: moves, flags, removals. What cannot be done is
//! told and left: a flag or a move that stays undone is no reason to keep a tail.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tracing::{info, warn};

use super::merge::{TOGETHER, any_of, grouped};
use super::share::{Flagged, Share};
use super::{maildir, run, run_well};
use crate::act::{MergeJob, OutsideError};
use crate::config::MailConfig;

/// Of one user.
pub struct Changes<'a> {
    mail: &'a MailConfig,
    tail_root: &'a Path,
    user: &'a str,
}

impl<'a> Changes<'a> {
    /// Of a user, by a tail.
    pub fn of(mail: &'a MailConfig, job: &'a MergeJob, user: &'a str) -> Changes<'a> {
        Changes {
            mail,
            tail_root: Path::new(&job.tail_root),
            user,
        }
    }

    /// Does them again.
    pub async fn again(&self, share: &Share) {
        let numbers = (share.moved.len(), share.flagged.len(), share.removed.len());
        if numbers != (0, 0, 0) {
            let user = self.user;
            info!(
                "{user}: {} move(s), {} change(s) of flags, {} removal(s) of the tail",
                numbers.0, numbers.1, numbers.2
            );
        }
        self.moves(share).await;
        self.flags(share).await;
        self.removals(share).await;
    }

    async fn moves(&self, share: &Share) {
        let moves = grouped(
            share
                .moved
                .iter()
                .map(|moved| ((maildir::place(&moved.from), maildir::place(&moved.to)), moved)),
        );
        for ((from, to), moved) in moves {
            let guids = moved.iter().filter_map(|moved| maildir::message(&moved.to)).collect();
            let (Some(folder), Some(to)) = (self.folder(from), maildir::folder_of(&format!("{to}/cur"), self.mail))
            else {
                warn!(
                    "{}: moves from {from} to {to} stay undone: Dovecot's names of these folders are not known",
                    self.user
                );
                continue;
            };
            self.told("moves", self.move_to(&to, &folder, guids).await);
        }
    }

    async fn move_to(&self, to: &str, folder: &[String; 2], guids: Vec<&str>) -> Result<(), OutsideError> {
        for some in guids.chunks(TOGETHER) {
            let query = query(folder, some);
            let mut line = self.line(&["move"], &[to]);
            line.extend(query);
            if run(&line, self.mail.limit.0).await?.status == Some(0) {
                continue;
            }
            // The folder may be one that the tail has made.
            let create = self.line(&["mailbox", "create"], &["-s", to]);
            run(&create, self.mail.limit.0).await?;
            run_well(&line, self.mail.limit.0).await?;
        }
        Ok(())
    }

    async fn flags(&self, share: &Share) {
        let changed = share.flagged.iter().flat_map(|flagged| {
            let guid = maildir::message(&flagged.path);
            [
                (("add", self.names(flagged, &flagged.set)), guid),
                (("remove", self.names(flagged, &flagged.cleared)), guid),
            ]
        });
        for ((verb, names), guids) in grouped(changed.filter(|((_, names), _)| !names.is_empty())) {
            let guids: Vec<&str> = guids.into_iter().flatten().collect();
            // In whichever folder its owner has put it meanwhile.
            let anywhere = ["mailbox".to_owned(), "*".to_owned()];
            self.told("flags", self.each(&["flags", verb], &[&names], &anywhere, &guids).await);
        }
    }

    /// What its owner has marked since the take-over is not removed any more: he found it there, and goes by it.
    async fn removals(&self, share: &Share) {
        let places = share
            .removed
            .iter()
            .map(|path| ((maildir::place(path), as_marked(path)), path));
        for ((place, marks), paths) in grouped(places) {
            let guids: Vec<&str> = paths.iter().filter_map(|path| maildir::message(path)).collect();
            match self.folder(place) {
                Some(folder) => {
                    let unchanged = [folder.as_slice(), &marks].concat();
                    self.told("removals", self.each(&["expunge"], &[], &unchanged, &guids).await);
                }
                None => warn!(
                    "{}: removals from {place} stay undone: Dovecot does not know the folder",
                    self.user
                ),
            }
        }
    }

    async fn each(&self, verb: &[&str], words: &[&str], folder: &[String], guids: &[&str]) -> Result<(), OutsideError> {
        for some in guids.chunks(TOGETHER) {
            let mut line = self.line(verb, words);
            line.extend(query(folder, some));
            run_well(&line, self.mail.limit.0).await?;
        }
        Ok(())
    }

    fn line(&self, verb: &[&str], words: &[&str]) -> Vec<String> {
        let doveadm = self.mail.doveadm.to_string_lossy();
        let mut line = vec![doveadm.into_owned()];
        line.extend(verb.iter().map(|word| (*word).to_owned()));
        line.extend(["-u".to_owned(), self.user.to_owned()]);
        line.extend(words.iter().map(|word| (*word).to_owned()));
        line
    }

    fn told(&self, what: &str, done: Result<(), OutsideError>) {
        if let Err(why) = done {
            warn!("{}: {what} of the tail stay undone: {why}", self.user);
        }
    }

    /// A folder as a query names it: by the GUID in its uidlist, which names with other letters than ASCII have too.
    fn folder(&self, place: &str) -> Option<[String; 2]> {
        let list = fs::read_to_string(self.tail_root.join(place).join("dovecot-uidlist")).ok()?;
        let header = list.lines().next()?;
        let guid = header.split_whitespace().find_map(|word| word.strip_prefix('G'))?;
        Some(["mailbox-guid".to_owned(), guid.to_owned()])
    }

    /// Names of flags by their letters in a file's name; a folder names its keywords in `dovecot-keywords`.
    fn names(&self, flagged: &Flagged, letters: &BTreeSet<char>) -> String {
        let place = self.tail_root.join(maildir::place(&flagged.path));
        let keywords = fs::read_to_string(place.join("dovecot-keywords")).unwrap_or_default();
        let keyword = |letter: char| {
            let number = (u32::from(letter) - u32::from('a')).to_string();
            let line = keywords
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{number} ")));
            line.map(str::to_owned)
        };
        let names = letters.iter().filter_map(|letter| match letter {
            'D' => Some("\\Draft".to_owned()),
            'F' => Some("\\Flagged".to_owned()),
            'R' => Some("\\Answered".to_owned()),
            'S' => Some("\\Seen".to_owned()),
            'T' => Some("\\Deleted".to_owned()),
            'a'..='z' => keyword(*letter),
            _ => None,
        });
        names.collect::<Vec<String>>().join(" ")
    }
}

/// A query for messages with the flags that this one has in its name and no others, keywords aside.
fn as_marked(path: &str) -> Vec<String> {
    let set = maildir::flags(path);
    let all = [
        ('D', "DRAFT"),
        ('F', "FLAGGED"),
        ('R', "ANSWERED"),
        ('S', "SEEN"),
        ('T', "DELETED"),
    ];
    let not = |letter| if set.contains(&letter) { "" } else { "UN" };
    all.map(|(letter, flag)| format!("{}{flag}", not(letter))).to_vec()
}

fn query(folder: &[String], guids: &[&str]) -> Vec<String> {
    let mut query = folder.to_vec();
    query.extend(any_of(guids.iter().copied()));
    query
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::config::Span;
    use crate::outside::share::Moved;

    const HOME: &str = "example.org/anna";

    /// What `doveadm` is asked for, a line each; `fails` is its first words for which it fails the first time.
    async fn asked(share: &Share, fails: &str) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        let place = root.path().join(HOME);
        fs::create_dir_all(&place).expect("made");
        fs::write(place.join("dovecot-uidlist"), "3 V1 N4 Gabc\n1 :1.M\n").expect("written");
        fs::write(place.join("dovecot-keywords"), "0 $Forwarded\n1 Work\n").expect("written");
        let program = root.path().join("doveadm");
        let base = root.path().display();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>{base}/asked\ncase \"$*\" in '{fails}'*) \
             [ -e {base}/once ] || {{ touch {base}/once; exit 68; }} ;; esac\n"
        );
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can run");
        let mail = MailConfig {
            doveadm: program,
            limit: Span(Duration::from_secs(20)),
            ..MailConfig::default()
        };
        let changes = Changes {
            mail: &mail,
            tail_root: root.path(),
            user: "anna@example.org",
        };
        changes.again(share).await;
        let asked = fs::read_to_string(root.path().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    /// A message of INBOX went into this folder.
    fn moved_to(folder: &str) -> Share {
        let moved = Moved {
            from: format!("{HOME}/cur/1.M:2,S"),
            to: format!("{HOME}/{folder}/cur/1.M:2,S"),
        };
        Share {
            moved: vec![moved],
            ..Share::default()
        }
    }

    #[tokio::test]
    async fn flags_are_set_wherever_the_message_lies_now() {
        let flagged = |name: &str| Flagged {
            path: format!("{HOME}/cur/{name}:2,Sb"),
            set: BTreeSet::from(['S', 'b']),
            cleared: BTreeSet::from(['F']),
        };
        let share = Share {
            flagged: vec![flagged("1.M"), flagged("2.M")],
            ..Share::default()
        };
        assert_eq!(
            asked(&share, "nothing").await,
            [
                "flags add -u anna@example.org \\Seen Work mailbox * ( guid 1.M OR guid 2.M )",
                "flags remove -u anna@example.org \\Flagged mailbox * ( guid 1.M OR guid 2.M )"
            ]
        );
    }

    #[tokio::test]
    async fn a_move_makes_the_folder_that_is_not_there() {
        let share = moved_to(".Lists.One");
        let moved = "move -u anna@example.org Lists/One mailbox-guid abc ( guid 1.M )";
        let create = "mailbox create -u anna@example.org -s Lists/One";
        assert_eq!(asked(&share, "move").await, [moved, create, moved]);
    }

    #[tokio::test]
    async fn a_move_into_a_folder_of_any_name_is_done_again() {
        let share = moved_to(".G&APY-nderilmi&AV8-");
        let moved = "move -u anna@example.org Gönderilmiş mailbox-guid abc ( guid 1.M )";
        assert_eq!(asked(&share, "nothing").await, [moved]);
    }

    #[tokio::test]
    async fn a_message_is_removed_only_where_it_was_and_as_it_was() {
        let share = Share {
            removed: ["cur/1.M:2,FS", "cur/2.M:2,S", "cur/3.M:2,FSa", ".Unknown/cur/4.M:2,S"]
                .map(|path| format!("{HOME}/{path}"))
                .to_vec(),
            ..Share::default()
        };
        let anna = "expunge -u anna@example.org mailbox-guid abc UNDRAFT";
        let removals = [
            format!("{anna} FLAGGED UNANSWERED SEEN UNDELETED ( guid 1.M OR guid 3.M )"),
            format!("{anna} UNFLAGGED UNANSWERED SEEN UNDELETED ( guid 2.M )"),
        ];
        assert_eq!(asked(&share, "nothing").await, removals);
    }
}

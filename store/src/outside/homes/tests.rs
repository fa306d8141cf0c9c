//! Merges of homes, in folders.

use super::*;

const HOME: &str = "example.org/anna";

struct Stage {
    root: tempfile::TempDir,
    tail: Vec<Change>,
    live: Vec<Change>,
}

impl Stage {
    fn new() -> Stage {
        let root = tempfile::tempdir().expect("a folder");
        for side in ["live", "tail"] {
            fs::create_dir_all(root.path().join(side).join(HOME)).expect("a home");
        }
        Stage {
            root,
            tail: Vec::new(),
            live: Vec::new(),
        }
    }

    fn place(&self, side: &str, name: &str) -> PathBuf {
        self.root.path().join(side).join(HOME).join(name)
    }

    fn write(&self, side: &str, name: &str, text: &str) {
        let place = self.place(side, name);
        fs::create_dir_all(place.parent().expect("a parent")).expect("folders");
        fs::write(place, text).expect("written");
    }

    /// A file that a side has changed since the common snapshot.
    fn changed(&mut self, side: &str, name: &str, text: &str) {
        self.write(side, name, text);
        let change = Change::Changed(format!("{HOME}/{name}"));
        match side {
            "tail" => self.tail.push(change),
            _ => self.live.push(change),
        }
    }

    fn merge(&self) -> Result<Vec<String>, OutsideError> {
        let mail = MailConfig {
            maildir: "Maildir".to_owned(),
            ..MailConfig::default()
        };
        self.merge_as(&mail)
    }

    fn merge_as(&self, mail: &MailConfig) -> Result<Vec<String>, OutsideError> {
        let place = |side: &str| self.root.path().join(side).display().to_string();
        let job = MergeJob {
            live: "tank/mail".to_owned(),
            live_root: place("live"),
            tail: "tank/mail-tail-1".to_owned(),
            tail_root: place("tail"),
            epoch: 7,
            tail_changes: self.tail.clone(),
            live_changes: self.live.clone(),
        };
        merge(mail, &job)
    }

    fn live(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place("live", name)).ok()
    }
}

#[test]
fn a_script_that_only_the_tail_has_changed_is_live_afterwards() {
    let mut stage = Stage::new();
    stage.write("live", "sieve/main.sieve", "old");
    stage.changed("tail", "sieve/main.sieve", "new");
    assert_eq!(stage.merge().expect("merged"), Vec::<String>::new());
    assert_eq!(stage.live("sieve/main.sieve").as_deref(), Some("new"));
}

#[test]
fn a_new_script_in_a_new_folder_comes_with_its_mode() {
    let mut stage = Stage::new();
    stage.changed("tail", "sieve/away.sieve", "vacation");
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(stage.place("tail", "sieve/away.sieve"), private).expect("a mode");
    stage.merge().expect("merged");
    let mode = fs::metadata(stage.place("live", "sieve/away.sieve"))
        .expect("it is there")
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn where_both_have_changed_it_live_stays_and_the_other_is_kept_beside() {
    let mut stage = Stage::new();
    stage.changed("live", "sieve/main.sieve", "live");
    stage.changed("tail", "sieve/main.sieve", "tail");
    for _ in 0..2 {
        let kept = stage.merge().expect("merged");
        assert_eq!(kept, [format!("{HOME}/sieve/main.sieve.conflict-7")]);
    }
    assert_eq!(stage.live("sieve/main.sieve").as_deref(), Some("live"));
    assert_eq!(stage.live("sieve/main.sieve.conflict-7").as_deref(), Some("tail"));
}

#[test]
fn the_same_change_on_both_is_no_conflict() {
    let mut stage = Stage::new();
    stage.changed("live", "sieve/main.sieve", "same");
    stage.changed("tail", "sieve/main.sieve", "same");
    assert!(stage.merge().expect("merged").is_empty());
}

#[test]
fn what_the_tail_has_removed_is_gone_unless_it_was_changed_live() {
    let mut stage = Stage::new();
    stage.write("live", "sieve/old.sieve", "old");
    stage.changed("live", "sieve/kept.sieve", "new");
    for name in ["old", "kept"] {
        stage.tail.push(Change::Removed(format!("{HOME}/sieve/{name}.sieve")));
    }
    assert!(stage.merge().expect("merged").is_empty());
    assert_eq!(stage.live("sieve/old.sieve"), None);
    assert_eq!(stage.live("sieve/kept.sieve").as_deref(), Some("new"));
}

#[test]
fn the_link_to_the_active_script_is_merged_as_a_link() {
    let mut stage = Stage::new();
    symlink("sieve/main.sieve", stage.place("live", ".dovecot.sieve")).expect("a link");
    symlink("sieve/away.sieve", stage.place("tail", ".dovecot.sieve")).expect("a link");
    stage.tail.push(Change::Changed(format!("{HOME}/.dovecot.sieve")));
    stage.merge().expect("merged");
    let target = fs::read_link(stage.place("live", ".dovecot.sieve")).expect("a link");
    assert_eq!(target, Path::new("sieve/away.sieve"));
}

#[test]
fn mail_and_what_dovecot_writes_for_itself_is_left_to_it() {
    let mut stage = Stage::new();
    for name in [
        "Maildir/new/1.tail",
        "Maildir/dovecot-uidlist",
        "dovecot.list.index.log",
        "sieve/main.svbin",
        ".dovecot.lda-dupes",
        ".dovecot.lda-dupes.locks/duplicate.lock.8c",
    ] {
        stage.changed("tail", name, "tail");
    }
    stage.merge().expect("merged");
    let home = fs::read_dir(stage.place("live", "")).expect("a home");
    assert_eq!(home.count(), 0);
}

#[test]
fn in_a_home_that_is_a_maildir_only_mail_is_left_out() {
    let mut stage = Stage::new();
    for name in [".Sent/cur/1.M2:2,S", "new/1.tail", ".dovecot.sieve", "sieve/main.sieve"] {
        stage.changed("tail", name, "tail");
    }
    stage.merge_as(&MailConfig::default()).expect("merged");
    assert_eq!(stage.live("sieve/main.sieve").as_deref(), Some("tail"));
    assert_eq!(stage.live(".dovecot.sieve").as_deref(), Some("tail"));
    assert_eq!(
        (stage.live("new/1.tail"), stage.live(".Sent/cur/1.M2:2,S")),
        (None, None)
    );
}

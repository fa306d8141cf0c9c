//! Merges with a `doveadm` made of shell, over folders that are Maildirs.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::Span;

struct Stage {
    root: tempfile::TempDir,
    mail: MailConfig,
    deliveries: Arc<Deliveries>,
}

const FOLDER: &str = "example.org/anna";

impl Stage {
    /// `import` of the shell copies from the stash into the live store, unless told to lose it.
    fn new(import: &str) -> Stage {
        Stage::that_saves(import, "exit 0")
    }

    fn that_saves(import: &str, save: &str) -> Stage {
        let root = tempfile::tempdir().expect("a folder");
        let base = root.path().display().to_string();
        for side in ["live", "tail"] {
            std::fs::create_dir_all(root.path().join(side).join(FOLDER).join("new")).expect("a Maildir");
        }
        let program = root.path().join("doveadm");
        let script = format!(
            "#!/bin/sh\nL={base}/live/{FOLDER}/new T={base}/tail/.merge/anna@example.org/{FOLDER}/new\n\
             case \"$*\" in\n*import*) {import} ;;\n*fetch*) printf 'user\\tguid\\n'; ls $L | sed 's/^/anna@example.org\\t/' ;;\nsave*) {save} ;;\nesac\n"
        );
        std::fs::write(&program, script).expect("a script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can run");
        let mail = MailConfig {
            doveadm: program,
            gateways: vec!["gw.test".to_owned()],
            limit: Span(Duration::from_secs(20)),
            ..MailConfig::default()
        };
        let deliveries = Arc::new(Deliveries::new(
            &root.path().join("live"),
            Duration::from_secs(3600),
            &mail,
        ));
        Stage { root, mail, deliveries }
    }

    fn message(&self, side: &str, name: &str, id: &str) {
        let text = format!("Received: from x\n\tby gw.test (Postfix) with ESMTP id {id};\n\tMon\nSubject: s\n\nbody\n");
        std::fs::write(self.root.path().join(side).join(FOLDER).join("new").join(name), text).expect("a message");
    }

    fn live(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.root.path().join("live").join(FOLDER).join("new")).expect("a folder");
        let mut names: Vec<String> = folder
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    async fn merge(&self, tail: &[&str], live: &[&str]) -> Result<(), OutsideError> {
        let added = |names: &[&str]| {
            names
                .iter()
                .map(|name| Change::Added(format!("{FOLDER}/new/{name}")))
                .collect()
        };
        let place = |side: &str| self.root.path().join(side).display().to_string();
        let job = MergeJob {
            live: "tank/mail".to_owned(),
            live_root: place("live"),
            tail: "tank/mail-tail-1".to_owned(),
            tail_root: place("tail"),
            epoch: 1,
            tail_changes: added(tail),
            live_changes: added(live),
        };
        merge(&self.mail, &job, &self.deliveries).await
    }
}

const COPY: &str = "cp $T/* $L/ 2>/dev/null; exit 0";

#[tokio::test]
async fn what_only_the_tail_has_is_live_afterwards_and_a_second_merge_changes_nothing() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    for _ in 0..2 {
        stage.merge(&["1.tail"], &[]).await.expect("merged");
        assert_eq!(stage.live(), ["1.tail"]);
    }
}

#[tokio::test]
async fn what_the_gateway_delivered_again_is_not_doubled() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    stage.message("live", "2.live", "A1");
    stage.message("tail", "3.tail", "A3");
    stage.merge(&["1.tail", "3.tail"], &["2.live"]).await.expect("merged");
    assert_eq!(stage.live(), ["2.live", "3.tail"]);
}

#[tokio::test]
async fn a_second_try_knows_what_the_first_one_took_out_of_the_copy() {
    let stage = Stage::new("[ -e $L/../once ] || { touch $L/../once; exit 75; }; cp $T/* $L/ 2>/dev/null; exit 0");
    stage.message("tail", "1.tail", "A1");
    stage.message("live", "2.live", "A1");
    stage.message("tail", "3.tail", "A3");
    let (tail, live) = (["1.tail", "3.tail"], ["2.live"]);
    stage.merge(&tail, &live).await.expect_err("doveadm failed");
    stage.merge(&tail, &live).await.expect("merged");
    assert_eq!(stage.live(), ["2.live", "3.tail"]);
}

#[tokio::test]
async fn a_message_that_its_owner_removed_while_it_was_merged_comes_back() {
    let stage = Stage::that_saves("exit 0", "shift 6; cp \"$2\" $L/$1");
    stage.message("tail", "1.tail", "A1");
    stage.merge(&["1.tail"], &[]).await.expect("merged");
    assert_eq!(stage.live(), ["1.tail"]);
}

#[tokio::test]
async fn folders_are_looked_for_where_the_layout_has_them() {
    let mut stage = Stage::new("case \"$*\" in *'-p mailbox_list_layout=fs'*) cp $T/* $L/; exit 0 ;; esac; exit 64");
    stage.mail.layout = Some("fs".to_owned());
    stage.message("tail", "1.tail", "A1");
    stage.merge(&["1.tail"], &[]).await.expect("merged");
    assert_eq!(stage.live(), ["1.tail"]);
}

#[tokio::test]
async fn a_message_that_does_not_arrive_fails_the_merge_by_name() {
    let stage = Stage::new("exit 0");
    stage.message("tail", "1.tail", "A1");
    let error = stage.merge(&["1.tail"], &[]).await.unwrap_err().to_string();
    assert!(
        error.contains("anna@example.org") && error.contains("1.tail"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_delivered_again_is_known_under_the_name_that_it_has_now() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    stage.message("live", "2.live:2,S", "A1");
    stage.merge(&["1.tail"], &["2.live"]).await.expect("merged");
    assert_eq!(stage.live(), ["2.live:2,S"]);
}

#[tokio::test]
async fn what_was_delivered_again_and_removed_does_not_come_back() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    let delivery = stage
        .deliveries
        .begin(&["anna@example.org".to_owned()], "A1")
        .expect("begun");
    delivery.delivered(&[true]);
    stage.merge(&["1.tail"], &[]).await.expect("merged");
    assert_eq!(stage.live(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_try_brings_only_what_the_first_one_has_not() {
    let stage = Stage::new("case \"$*\" in *1.tail*) cp $T/1.tail $L/; exit 75 ;; esac; cp $T/3.tail $L/; exit 0");
    stage.message("tail", "1.tail", "A1");
    stage.message("tail", "3.tail", "A3");
    let tail = ["1.tail", "3.tail"];
    stage.merge(&tail, &[]).await.expect_err("doveadm failed");
    stage.merge(&tail, &[]).await.expect("merged");
    assert_eq!(stage.live(), tail);
}

#[tokio::test]
async fn older_mail_in_a_new_place_is_not_brought_a_second_time() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    stage.message("live", "1.tail", "A1");
    let moved = [
        Change::Removed(format!("{FOLDER}/cur/1.tail")),
        Change::Added(format!("{FOLDER}/new/1.tail")),
    ];
    let shares = share::shares(&moved, &stage.mail.homes);
    let share = &shares["anna@example.org"];
    let kept = Kept {
        guid: "1.tail".to_owned(),
        mailbox: "INBOX".to_owned(),
        file: stage.root.path().to_owned(),
    };
    assert_eq!(unmoved(share, &[kept]), []);
}

#[test]
fn queue_ids_of_a_tail_are_those_of_its_new_messages() {
    let stage = Stage::new(COPY);
    stage.message("tail", "1.tail", "A1");
    let changes = [Change::Added(format!("{FOLDER}/new/1.tail"))];
    let tail = stage.root.path().join("tail").display().to_string();
    let ids = ids(&stage.mail, &tail, &changes);
    assert_eq!(ids["anna@example.org"], BTreeSet::from(["A1".to_owned()]));
}

#[tokio::test]
async fn an_import_that_fails_says_what_doveadm_said() {
    let stage = Stage::new("echo no such user >&2; exit 67");
    stage.message("tail", "1.tail", "A1");
    let error = stage.merge(&["1.tail"], &[]).await.unwrap_err().to_string();
    assert!(error.contains("67") && error.contains("no such user"), "{error}");
}

#[test]
fn a_table_of_many_users_is_read_by_its_titles() {
    let table = "username\tguid\tuser\na@x\t1.M\ta@x\na@x\t2.M\ta@x\nb@x\t1.M\tb@x\n";
    let read = guids(table);
    assert_eq!(read["a@x"], BTreeSet::from(["1.M", "2.M"]));
    assert_eq!(read["b@x"], BTreeSet::from(["1.M"]));
    assert!(guids("").is_empty());
}

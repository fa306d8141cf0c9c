//! Commands that are scripts.

use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::*;

fn sh(script: &str) -> Command {
    build("sh", &["-c", script])
}

#[tokio::test]
async fn an_error_carries_command_status_and_standard_error() {
    let error = output(sh("echo no such pool >&2; exit 3"), Duration::from_secs(10))
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("sh -c") && said.contains("exit status: 3") && said.contains("no such pool"),
        "{said}"
    );
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_at_its_limit() {
    let error = output(sh("sleep 600"), Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ZfsError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_send_that_fails_in_the_middle_is_no_whole_stream() {
    let mut child = sh("printf half; exit 1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stream = Checked {
        stdout: child.stdout.take(),
        end: None,
        child: Some(child),
        command: "zfs send".to_owned(),
    };
    let mut got = Vec::new();
    assert!(stream.read_to_end(&mut got).await.is_err());
    assert_eq!(got, b"half");
}

/// A `zfs` that keeps what it was called with and what it was fed, and prints what the script says.
struct Script(tempfile::TempDir);

impl Script {
    fn new(script: &str) -> (Script, Commands) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("zfs");
        let text = format!(
            "#!/bin/sh\ncd {}\necho \"$@\" >> called\n{script}\n",
            folder.path().display()
        );
        std::fs::write(&program, text).expect("a script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can run");
        let commands = Commands {
            zfs: program.clone(),
            zpool: program,
            limit: Duration::from_secs(20),
            stream_limit: Duration::from_secs(20),
            kstat: folder.path().join("kstat"),
        };
        (Script(folder), commands)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect("kept")
    }
}

#[tokio::test]
async fn a_receive_never_rolls_back_is_resumable_and_mounts_nothing() {
    let (script, commands) = Script::new("cat > fed");
    let stream: Stream = Box::new(std::io::Cursor::new(b"stream".to_vec()));
    let properties = NewProperties {
        mountpoint: Some("/var/vmail".to_owned()),
        readonly: true,
        marks: vec![Mark::Epoch(3)],
    };
    commands
        .receive("tank/mail", None, &properties, stream)
        .await
        .expect("received");
    let called = "receive -u -s -o mountpoint=/var/vmail -o readonly=on -o canmount=noauto -o atime=off -o xattr=sa -o cluster-store:epoch=3 tank/mail\n";
    assert_eq!(
        (script.read("called").as_str(), script.read("fed").as_str()),
        (called, "stream")
    );
}

#[tokio::test]
async fn a_tail_grows_from_its_origin() {
    let (script, commands) = Script::new("cat > fed");
    let stream: Stream = Box::new(std::io::Cursor::new(Vec::new()));
    let nothing = NewProperties::default();
    commands
        .receive("tank/mail-tail-1", Some("tank/mail@cs-1-1"), &nothing, stream)
        .await
        .expect("received");
    assert_eq!(
        script.read("called"),
        "receive -u -s -o origin=tank/mail@cs-1-1 tank/mail-tail-1\n"
    );
}

#[tokio::test]
async fn what_a_receive_says_of_itself_is_the_error_and_not_the_broken_pipe() {
    let (_script, commands) = Script::new("echo cannot receive: destination has been modified >&2; exit 1");
    let stream: Stream = Box::new(tokio::io::repeat(0));
    let error = commands
        .receive("tank/mail", None, &NewProperties::default(), stream)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("destination has been modified"), "{error}");
}

#[tokio::test]
async fn marks_are_set_by_one_command_because_that_is_one_transaction() {
    let (script, commands) = Script::new("");
    let marks = [Mark::Epoch(2), Mark::Role(crate::zfs::Role::Writer), Mark::Rebase(None)];
    commands.mark("tank/mail", &marks).await.expect("set");
    let called = "set cluster-store:epoch=2 cluster-store:role=writer cluster-store:rebase=- tank/mail\n";
    assert_eq!(script.read("called"), called);
}

#[tokio::test]
async fn what_is_there_already_is_no_error_where_an_action_may_be_repeated() {
    let (_script, commands) = Script::new("echo \"cannot hold: tag already exists on this dataset\" >&2; exit 1");
    commands.hold("tank/mail", &["cs-1-1"]).await.expect("it is held");
    assert!(commands.release("tank/mail", &["cs-1-1"]).await.is_err());
}

#[tokio::test]
async fn a_look_puts_file_systems_snapshots_and_holds_together_and_leaves_other_datasets_out() {
    let (_script, commands) = Script::new(
        "case \"$*\" in\n*filesystem*)\n\
         printf 'tank\\toff\\tyes\\t-\\t-\\t0\\t1\\t-\\t-\\t-\\t-\\t-\\t-\\t-\\n'\n\
         printf 'tank/mail\\ton\\tyes\\t-\\t-\\t0\\t1\\t4\\tstandby\\t-\\t-\\t-\\t-\\t-\\n'\n\
         printf 'tank/mailman\\toff\\tyes\\t-\\t-\\t0\\t1\\t-\\t-\\t-\\t-\\t-\\t-\\t-\\n' ;;\n\
         *snapshot,bookmark*) printf 'tank/mail@cs-4-1\\tsnapshot\\t77\\t0\\t-\\n' ;;\n\
         holds*) printf 'tank/mail@cs-4-1\\tcluster-store\\t1700000000\\n' ;;\nesac",
    );
    let found = commands.look("tank/mail").await.expect("readable");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (
            found[0].marks.epoch,
            found[0].snapshots.len(),
            found[0].snapshots[0].held
        ),
        (4, 1, true)
    );
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_told_from_a_pool_that_cannot_be_looked_at() {
    let (_script, commands) = Script::new("echo \"cannot open 'tank': dataset does not exist\" >&2; exit 1");
    let error = commands.look("tank/mail").await.unwrap_err();
    assert!(matches!(&error, ZfsError::NoPool { pool } if pool == "tank"), "{error}");
    let (_script, commands) = Script::new("echo \"cannot open 'tank': I/O error\" >&2; exit 1");
    let error = commands.look("tank/mail").await.unwrap_err();
    assert!(matches!(&error, ZfsError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn the_disks_are_asked_for_by_path_and_in_plain_numbers() {
    let (script, commands) = Script::new(
        "printf 'config:\\n\\n\\tNAME STATE READ WRITE CKSUM\\n\\ttank ONLINE 0 0 0\\n\\t  /dev/one ONLINE 0 0 3\\n\\nerrors: none\\n'",
    );
    let disks = commands.disks("tank/mail").await.expect("readable");
    assert_eq!((disks.len(), disks[0].checksum), (1, 3));
    assert_eq!(script.read("called"), "status -p -P tank\n");
}

#[tokio::test]
async fn a_change_is_sent_from_the_common_snapshot_by_the_configured_program() {
    let (script, commands) = Script::new("printf change");
    let sending = Sending::Snapshot {
        dataset: "tank/mail".to_owned(),
        from: Since::Snapshot("cs-1-1".to_owned()),
        snapshot: "cs-1-2".to_owned(),
    };
    let mut stream = commands.send(&sending).await.expect("begun");
    let mut sent = String::new();
    stream.read_to_string(&mut sent).await.expect("whole");
    let called = "send -L -e -c -i tank/mail@cs-1-1 tank/mail@cs-1-2\n";
    assert_eq!((sent.as_str(), script.read("called").as_str()), ("change", called));
}

#[tokio::test]
async fn a_snapshot_and_what_it_is_cost_one_command() {
    let (script, commands) = Script::new("cat > fed; echo '{\"return\":{\"written\":512,\"guid\":-2}}'");
    let taken = commands.snapshot("tank/mail", "cs-1-1").await.expect("taken");
    assert_eq!((taken.guid.0, taken.written), (u64::MAX - 1, Some(512)));
    assert_eq!(script.read("called"), "program -j tank - tank/mail@cs-1-1\n");
    assert!(script.read("fed").contains("zfs.sync.snapshot(name)"));
}

#[tokio::test]
async fn a_snapshot_that_is_there_already_is_an_error_that_says_so() {
    let (_script, commands) = Script::new("cat > fed; echo 'cannot snapshot tank/mail@cs-1-1: errno 17' >&2; exit 1");
    let error = commands.snapshot("tank/mail", "cs-1-1").await.unwrap_err().to_string();
    assert!(error.contains("errno 17"), "{error}");
}

#[tokio::test]
async fn many_snapshots_are_held_released_and_destroyed_by_one_command_each() {
    let (script, commands) = Script::new("");
    let both = ["a", "b"];
    commands.hold("tank/mail", &both).await.expect("held");
    commands.release("tank/mail", &both).await.expect("released");
    commands.destroy_snapshots("tank/mail", &both).await.expect("destroyed");
    let called = "hold cluster-store tank/mail@a tank/mail@b\nrelease cluster-store tank/mail@a tank/mail@b\n\
                  destroy tank/mail@a,b\n";
    assert_eq!(script.read("called"), called);
}

#[tokio::test]
async fn of_many_complaints_one_that_is_no_repetition_is_an_error() {
    let (_script, commands) = Script::new(
        "echo \"cannot hold snapshot 'a': tag already exists on this dataset\" >&2\n\
         echo \"cannot hold snapshot 'b': dataset does not exist\" >&2; exit 1",
    );
    let error = commands.hold("tank/mail", &["a", "b"]).await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_receive_says_what_has_come_by_the_head_of_the_stream() {
    let (_script, commands) = Script::new("cat > fed");
    let record = super::head::tests::record("tank/mail@cs-1-7", 77);
    let stream: Stream = Box::new(std::io::Cursor::new(record));
    let received = commands
        .receive("tank/mail", None, &NewProperties::default(), stream)
        .await
        .expect("received")
        .expect("a head");
    assert_eq!((received.name.as_str(), received.guid.0), ("cs-1-7", 77));
}

#[tokio::test]
async fn where_the_common_snapshot_is_gone_its_bookmark_is_the_base() {
    let (script, commands) = Script::new("printf change");
    let sending = Sending::Snapshot {
        dataset: "tank/mail".to_owned(),
        from: Since::Bookmark("cs-1-1".to_owned()),
        snapshot: "cs-1-2".to_owned(),
    };
    let mut stream = commands.send(&sending).await.expect("begun");
    stream.read_to_end(&mut Vec::new()).await.expect("whole");
    let called = "send -L -e -c -i tank/mail#cs-1-1 tank/mail@cs-1-2\n";
    assert_eq!(script.read("called"), called);
}

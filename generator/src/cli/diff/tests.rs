use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;

fn file(contents: &[u8], mode: u32, secret: bool) -> File {
    File {
        contents: contents.to_vec(),
        mode,
        owner: "root".into(),
        group: "root".into(),
        secret,
    }
}

/// A root whose files all belong to its own "root": the user that runs the test.
fn live_root(files: &[(&str, &[u8], u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let meta = dir.path().metadata().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), format!("root:x:{}:0::/:\n", meta.uid())).unwrap();
    std::fs::write(dir.path().join("etc/group"), format!("root:x:{}:\n", meta.gid())).unwrap();
    for (path, contents, mode) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
    dir
}

fn compared(live: &Path, path: &str, file: &File) -> Comparison {
    let root = Root::open(live).unwrap();
    let mut comparison = Comparison::default();
    comparison.add(path, file, &root.entry(path).unwrap(), &root);
    comparison
}

#[test]
fn an_equal_file_is_the_same() {
    let live = live_root(&[("/etc/a", b"one\n", 0o644)]);
    let comparison = compared(live.path(), "/etc/a", &file(b"one\n", 0o644, false));
    assert_eq!((comparison.text.as_str(), comparison.same), ("", 1));
}

#[test]
fn a_changed_file_is_shown_as_a_unified_diff() {
    let live = live_root(&[("/etc/a", b"one\ntwo\nthree\n", 0o664)]);
    let comparison = compared(live.path(), "/etc/a", &file(b"one\n2\nthree\n", 0o644, false));
    insta::assert_snapshot!(comparison.text, @"
    changed: /etc/a
    --- a/etc/a
    +++ b/etc/a
    @@ -1,3 +1,3 @@
     one
    -two
    +2
     three
    mode: /etc/a 0664 would become 0644
    ");
}

#[test]
fn a_changed_secret_is_named_but_not_shown() {
    let live = live_root(&[("/etc/a", b"old-secret", 0o600)]);
    let comparison = compared(live.path(), "/etc/a", &file(b"new-secret", 0o600, true));
    assert_eq!(comparison.text, "changed: /etc/a differs (secret, not shown)\n");
}

#[test]
fn a_missing_file_is_new() {
    let live = live_root(&[]);
    let comparison = compared(live.path(), "/etc/deep/a", &file(b"xyz", 0o640, false));
    assert_eq!(comparison.text, "new: /etc/deep/a (0640 root:root, 3 bytes)\n");
}

#[test]
fn another_owner_is_shown_by_name() {
    let live = live_root(&[("/etc/a", b"", 0o644)]);
    let owned = File {
        group: "postfix".into(),
        ..file(b"", 0o644, false)
    };
    let comparison = compared(live.path(), "/etc/a", &owned);
    assert_eq!(comparison.text, "owner: /etc/a root:root would become root:postfix\n");
}

#[test]
fn bytes_that_are_no_text_are_not_shown() {
    let live = live_root(&[("/etc/a", b"\xff\x00", 0o644)]);
    let comparison = compared(live.path(), "/etc/a", &file(b"\xfe", 0o644, false));
    assert_eq!(comparison.text, "changed: /etc/a differs (not text)\n");
}

#[test]
fn a_live_file_that_not_everybody_may_read_is_not_shown() {
    let live = live_root(&[("/etc/a", b"password of the last administrator", 0o600)]);
    let comparison = compared(live.path(), "/etc/a", &file(b"new", 0o644, false));
    assert_eq!(
        comparison.text,
        "changed: /etc/a differs (secret, not shown)\nmode: /etc/a 0600 would become 0644\n"
    );
}

#[test]
fn what_cannot_be_read_is_neither_the_same_nor_changed() {
    let live = live_root(&[]);
    let mut comparison = Comparison::default();
    let root = Root::open(live.path()).unwrap();
    comparison.add(
        "/etc/a",
        &file(b"", 0o644, false),
        &Entry::Unreadable("no permission".into()),
        &root,
    );
    assert_eq!((comparison.unknown, comparison.same, comparison.changed), (1, 0, 0));
    let args = Args {
        cluster: "c.toml".into(),
        node: "lb".into(),
        root: "/".into(),
        secrets: None,
        agent: AgentArgs::default(),
    };
    let outcome = comparison.outcome(&args, &[]);
    assert_eq!(outcome.status, Status::Environment);
    assert_eq!(
        outcome.out,
        "unknown: /etc/a: no permission\nlb on /: 0 new, 0 changed, 0 the same, 1 unknown\n"
    );
}

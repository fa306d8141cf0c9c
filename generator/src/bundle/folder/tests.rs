use std::os::unix::fs::PermissionsExt;

use super::super::File;
use super::*;

fn bundle(contents: &str) -> Bundle {
    let file = |secret| File {
        contents: contents.into(),
        mode: 0o640,
        owner: "root".into(),
        group: "root".into(),
        secret,
    };
    let files = [
        ("/etc/plain".to_owned(), file(false)),
        ("/etc/secret".to_owned(), file(true)),
    ]
    .into();
    Bundle {
        nodes: [(
            "mail1".to_owned(),
            Tree {
                files,
                install: "#!/bin/sh\n".into(),
            },
        )]
        .into(),
        monitoring: [("alerts.yml".to_owned(), "groups: []\n".to_owned())].into(),
        zones: [("example.org".to_owned(), "$ORIGIN example.org.\n".to_owned())].into(),
        ca_pem: "ca\n".into(),
        runbook: "# Runbook\n".into(),
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_folder_holds_every_node_the_zones_and_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("deep/out");
    let written = bundle("x").write_dir(&out, Layout::Folders).unwrap();
    assert_eq!(
        written,
        Written {
            files: 8,
            bytes: 10 + 2 + 11 + 21 + 3 + 10 + manifest_length()
        }
    );
    assert_eq!(std::fs::read_to_string(out.join("mail1/root/etc/plain")).unwrap(), "x");
    assert_eq!(
        std::fs::read_to_string(out.join("dns/example.org.zone")).unwrap(),
        "$ORIGIN example.org.\n"
    );
    assert_eq!(std::fs::read_to_string(out.join("ca.pem")).unwrap(), "ca\n");
    assert_eq!(
        std::fs::read_to_string(out.join("monitoring/alerts.yml")).unwrap(),
        "groups: []\n"
    );
}

fn manifest_length() -> u64 {
    bundle("x").nodes["mail1"].manifest().len() as u64
}

#[test]
fn secrets_are_for_the_owner_only_and_install_can_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    bundle("x").write_dir(&out, Layout::Folders).unwrap();
    assert_eq!(mode(&out.join("mail1/root/etc/secret")), 0o600);
    assert_eq!(mode(&out.join("mail1/install")) & 0o700, 0o700);
}

#[test]
fn a_second_rendering_replaces_the_first_and_keeps_the_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    bundle("x").write_dir(&out, Layout::Folders).unwrap();
    std::fs::write(out.join("secrets.toml"), "kept").unwrap();
    std::fs::write(out.join("mail1/root/etc/stale"), "gone").unwrap();
    bundle("y").write_dir(&out, Layout::Folders).unwrap();
    assert_eq!(std::fs::read_to_string(out.join("mail1/root/etc/plain")).unwrap(), "y");
    assert_eq!(std::fs::read_to_string(out.join("secrets.toml")).unwrap(), "kept");
    assert!(!out.join("mail1/root/etc/stale").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_is_not_ours_stays_untouched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    assert!(matches!(
        bundle("x").write_dir(dir.path(), Layout::Folders),
        Err(WriteError::NotOurs { .. })
    ));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_link_to_the_folder_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    bundle("x").write_dir(&real, Layout::Folders).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    bundle("y").write_dir(&link, Layout::Folders).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(real.join("mail1/root/etc/plain")).unwrap(), "y");
}

#[test]
fn a_node_name_cannot_leave_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let mut evil = bundle("x");
    let tree = evil.nodes["mail1"].clone();
    evil.nodes.insert("../evil".into(), tree);
    assert!(matches!(
        evil.write_dir(&dir.path().join("out"), Layout::Folders),
        Err(WriteError::Name { .. })
    ));
}

#[test]
fn archives_come_with_what_is_in_them_and_their_checksums() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    bundle("x").write_dir(&out, Layout::Archives).unwrap();
    assert_eq!(mode(&out.join("mail1.tar.gz")), 0o600);
    assert!(!out.join("mail1").exists());
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let contents: serde_json::Value = serde_json::from_str(&read("bundle.json")).unwrap();
    let archive = &contents["nodes"]["mail1"];
    assert_eq!(read("SHA256SUMS").split(' ').next(), archive["sha256"].as_str());
    insta::assert_snapshot!(format!("{:#}", archive["files"]));
    // And back to folders: one form at a time.
    bundle("x").write_dir(&out, Layout::Folders).unwrap();
    assert!(out.join("mail1").exists() && !out.join("mail1.tar.gz").exists());
}

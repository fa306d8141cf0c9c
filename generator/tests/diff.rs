//! `generator diff` against folders that stand for a machine.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::{err, folder, generator, out, status};

mod common;

#[test]
fn a_diff_against_an_empty_root_shows_new_files_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let output = generator(&["diff", "examples/pair.toml", "--node", "mail1", "--root", root]);
    let text = out(&output);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with(&format!("mail1 on {root}: ")), "{text}");
    assert_eq!(status(&output), i32::from(!last.contains(": 0 new, 0 changed")));
    assert!(!text.contains("PRIVATE KEY"));
}

/// The files of the pair's load balancer as they would lie on the machine, all for the user that runs the test.
fn installed() -> (tempfile::TempDir, String, String) {
    let (dir, files) = folder();
    let secrets = dir.path().join("secrets.toml").to_str().unwrap().to_owned();
    generator(&["secrets", "init", "examples/pair.toml", "--secrets", &secrets]);
    let output = generator(&["render", "examples/pair.toml", "--out", &files, "--secrets", &secrets]);
    assert_eq!(status(&output), 0, "{}", err(&output));
    let root = Path::new(&files).join("lb/root");
    let manifest = std::fs::read_to_string(root.with_file_name("manifest")).unwrap();
    let own = root.metadata().unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    // Both names that the manifest uses are this user's here.
    let names = |id: u32| format!("root:x:{id}:0::/:\n");
    std::fs::write(root.join("etc/passwd"), names(own.uid())).unwrap();
    std::fs::write(root.join("etc/group"), names(own.gid())).unwrap();
    for line in manifest.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let mode = u32::from_str_radix(fields[1], 8).unwrap();
        let path = root.join(&fields[4][1..]);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    (dir, root.to_str().unwrap().to_owned(), secrets)
}

#[test]
fn drift_has_its_own_status_and_names_the_services_that_would_restart() {
    let (dir, root, secrets) = installed();
    let diff = || {
        generator(&[
            "diff",
            "examples/pair.toml",
            "--node",
            "lb",
            "--root",
            &root,
            "--secrets",
            &secrets,
        ])
    };
    let plain = |text: &str| text.replace(dir.path().to_str().unwrap(), "DIR");
    let output = diff();
    let said = out(&output);
    // The key's group is another one than this user's; everything else is the same.
    assert!(
        said.contains("owner: /etc/ssl/cluster/node.key") && said.contains(": 0 new, 1 changed, 7 the same"),
        "{said}"
    );
    let edit = |path: &str, old: &str, new: &str| {
        let path = Path::new(&root).join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old));
        std::fs::write(&path, text.replacen(old, new, 1)).unwrap();
    };
    edit("etc/haproxy/haproxy.cfg", "timeout connect 1s", "timeout connect 9s");
    edit("etc/haproxy/certs/webmail.pem", "BEGIN", "begin");
    std::fs::remove_file(Path::new(&root).join("etc/nftables.conf")).unwrap();
    let output = diff();
    assert_eq!(status(&output), 1);
    let said = plain(&out(&output));
    insta::assert_snapshot!(
        said.lines()
            .filter(|l| !l.starts_with("owner: "))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn without_drift_the_status_is_0() {
    let (_dir, root, _) = installed();
    // Without the secrets the files that hold them are not compared.
    let output = generator(&["diff", "examples/pair.toml", "--node", "lb", "--root", &root]);
    assert_eq!(status(&output), 0, "{}", out(&output));
    assert!(!out(&output).contains("would restart"));
}

#[test]
fn a_diff_of_an_unknown_node_tells_the_nearest() {
    let output = generator(&["diff", "examples/pair.toml", "--node", "mial1", "--root", "/"]);
    assert_eq!(status(&output), 3);
    assert!(err(&output).contains("did you mean `mail1`?"), "{}", err(&output));
}

#[test]
fn a_root_that_is_missing_is_the_environments_fault() {
    let output = generator(&[
        "diff",
        "examples/pair.toml",
        "--node",
        "mail1",
        "--root",
        "/no/such/root",
    ]);
    assert_eq!(status(&output), 4);
}

//! The script `install` on a folder that stands for a machine: what it shows, does and takes back, twice and interrupted.

use machine::{Files, Machine, files, moments, text};
use proptest::prelude::*;

mod iredmail;
mod load_balancer;
mod machine;
mod pmg;
mod role;
mod store;

fn live() -> Files {
    files([
        ("/etc/postfix/main.cf", "myhostname = old\nbiff = no\n", 0o644),
        ("/etc/dovecot/accounts.conf", "password = old-secret\n", 0o600),
        ("/etc/nginx/nginx.conf", "same\n", 0o600),
        ("/etc/unrelated", "stays\n", 0o644),
    ])
}

fn bundle() -> Files {
    files([
        ("/etc/postfix/main.cf", "myhostname = new\nbiff = no\n", 0o644),
        ("/etc/dovecot/accounts.conf", "password = new-secret\n", 0o600),
        ("/etc/nginx/nginx.conf", "same\n", 0o644),
        ("/etc/new/deep/file", "new\n", 0o644),
    ])
}

/// A machine with a link of Debian's, and the bundle copied to it.
fn machine() -> Machine {
    let machine = Machine::new(&live());
    std::fs::create_dir_all(machine.live("/etc/nginx/sites-enabled")).unwrap();
    std::os::unix::fs::symlink(
        "../sites-available/default",
        machine.live("/etc/nginx/sites-enabled/default"),
    )
    .unwrap();
    machine.copy(&bundle());
    machine
}

/// Files, the links of units that start with the system among them, and services as they were before the first installation.
fn assert_as_before(machine: &Machine, before: &Files) {
    assert_eq!(machine.state(), *before);
    assert_eq!(machine.running(), ["postfix", "ssh", "systemd-sysctl"]);
}

fn assert_installed(machine: &Machine, bundle: &Files) {
    let state = machine.state();
    for (path, file) in bundle {
        assert_eq!(state.get(path), Some(file), "{path}");
    }
    assert!(!state.keys().any(|path| path.ends_with(".cluster-new")), "{state:?}");
    assert!(machine.running().contains(&"cluster-database".to_owned()));
}

#[test]
fn a_dry_run_shows_everything_but_secrets_and_changes_nothing() {
    let machine = machine();
    let before = machine.state();
    let said = machine.good(&["--dry-run"]);
    let user = said
        .split("0644 ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap()
        .to_owned();
    insta::assert_snapshot!(said.replace(&user, "<owner>"));
    assert!(!said.contains("secret\n-") && !said.contains("old-secret") && !said.contains("new-secret"));
    assert_as_before(&machine, &before);
    assert!(!machine.live("/var/backups").exists());
}

#[test]
fn an_installation_is_complete_and_a_second_one_does_nothing() {
    let machine = machine();
    machine.good(&[]);
    assert_installed(&machine, &bundle());
    assert!(
        machine
            .calls()
            .iter()
            .any(|call| call == "restart dovecot postfix nginx")
    );
    let said = machine.good(&[]);
    assert_eq!(said, "mail1: all files are in place\nmail1: done\n");
    let calls = machine.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("restart") || call == "unshare"),
        "{calls:?}"
    );
    assert!(
        machine
            .good(&["--dry-run"])
            .contains("would restart: nothing\nmail1: would start: nothing\n")
    );
}

#[test]
fn an_undo_leaves_what_was_there_before_and_a_second_one_does_nothing() {
    let machine = machine();
    let before = machine.state();
    machine.good(&[]);
    machine.calls();
    let said = machine.good(&["--undo"]);
    assert_as_before(&machine, &before);
    assert!(said.contains("mail1: restarting: postfix\n"), "{said}");
    let calls = machine.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("restart") && call.contains("dovecot")),
        "{calls:?}"
    );
    let said = machine.good(&["--undo"]);
    assert!(said.ends_with("is taken back already\n"), "{said}");
    assert_as_before(&machine, &before);
}

#[test]
fn an_undo_takes_back_the_last_installation_only() {
    let machine = machine();
    machine.good(&[]);
    let first = machine.state();
    let mut second = bundle();
    second.insert("/etc/postfix/main.cf".into(), ("myhostname = newer\n".into(), 0o644));
    second.insert("/srv/health/index.php".into(), ("<?php\n".into(), 0o640));
    machine.copy(&second);
    machine.good(&[]);
    assert_installed(&machine, &second);
    machine.calls();
    machine.good(&["--undo"]);
    assert_eq!(machine.state(), first);
    assert!(machine.running().contains(&"cluster-database".to_owned()));
    assert!(machine.calls().contains(&"restart php8.4-fpm postfix".to_owned()));
    // And forward again.
    machine.good(&[]);
    assert_installed(&machine, &second);
}

#[test]
fn without_an_installation_there_is_nothing_to_take_back() {
    let machine = machine();
    let before = machine.state();
    let said = machine.good(&["--undo"]);
    assert!(
        said.starts_with("mail1: nothing to take back: no installation is recorded in "),
        "{said}"
    );
    assert_as_before(&machine, &before);
}

#[test]
fn what_was_edited_after_the_installation_is_kept_when_it_is_taken_back() {
    let machine = machine();
    machine.good(&[]);
    std::fs::write(machine.live("/etc/postfix/main.cf"), "by hand\n").unwrap();
    machine.good(&["--undo"]);
    let history = machine.live("/var/backups/cluster/last");
    let kept = history.join(".record/undone/etc/postfix/main.cf");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "by hand\n");
}

#[test]
fn an_installation_cut_short_while_switching_is_completed_by_the_next_and_taken_back_whole() {
    let machine = machine();
    let before = machine.state();
    machine.tell("power-cut", "");
    assert_eq!(machine.run(&[]).status.code(), Some(1));
    assert_ne!(machine.state(), before);
    machine.good(&[]);
    assert_installed(&machine, &bundle());
    machine.good(&["--undo"]);
    assert_as_before(&machine, &before);
}

#[test]
fn an_installation_cut_short_while_switching_is_taken_back() {
    let machine = machine();
    let before = machine.state();
    machine.tell("power-cut", "");
    machine.run(&[]);
    machine.good(&["--undo"]);
    assert_as_before(&machine, &before);
}

#[test]
fn services_that_an_interrupted_installation_did_not_restart_are_restarted_by_the_next() {
    let machine = machine();
    machine.tell("fails-once.restart", "");
    assert_eq!(machine.run(&[]).status.code(), Some(1));
    machine.calls();
    assert!(
        machine
            .good(&["--dry-run"])
            .contains("would restart: dovecot postfix nginx\n")
    );
    machine.good(&[]);
    assert!(machine.calls().contains(&"restart dovecot postfix nginx".to_owned()));
    machine.good(&[]);
    assert!(!machine.calls().iter().any(|call| call.starts_with("restart")));
}

#[test]
fn an_undo_that_was_interrupted_is_completed_by_the_next() {
    for step in ["stop", "daemon-reload", "restart"] {
        let machine = machine();
        let before = machine.state();
        machine.good(&[]);
        machine.tell(&format!("fails-once.{step}"), "");
        assert_eq!(machine.run(&["--undo"]).status.code(), Some(1), "{step}");
        machine.good(&["--undo"]);
        assert_as_before(&machine, &before);
    }
}

#[test]
fn an_interrupted_undo_followed_by_an_installation_can_still_be_taken_back() {
    let machine = machine();
    let before = machine.state();
    machine.good(&[]);
    machine.tell("fails-once.daemon-reload", "");
    machine.run(&["--undo"]);
    machine.good(&[]);
    assert_installed(&machine, &bundle());
    machine.good(&["--undo"]);
    assert_eq!(machine.state(), before);
}

#[test]
fn an_installation_that_is_killed_at_any_moment_is_completed_or_taken_back() {
    for moment in moments(|| drop(machine().good(&[]))) {
        for complete in [true, false] {
            let machine = machine();
            let before = machine.state();
            machine.cut(&[], moment);
            if complete {
                machine.good(&[]);
                assert_installed(&machine, &bundle());
            }
            machine.good(&["--undo"]);
            assert_as_before(&machine, &before);
        }
    }
}

#[test]
fn an_undo_that_is_killed_at_any_moment_is_completed_by_the_next() {
    let installed = machine();
    installed.good(&[]);
    for moment in moments(|| drop(installed.good(&["--undo"]))) {
        let machine = machine();
        let before = machine.state();
        machine.good(&[]);
        machine.cut(&["--undo"], moment);
        machine.good(&["--undo"]);
        assert_as_before(&machine, &before);
    }
}

#[test]
fn files_that_a_checker_refuses_are_not_switched() {
    let machine = machine();
    let before = machine.state();
    machine.tell("refused", "nginx refuses the new files\n");
    for arguments in [&[][..], &["--dry-run"]] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "nginx refuses the new files\nmail1: nothing was changed\n"
        );
        assert_as_before(&machine, &before);
    }
}

#[test]
fn without_an_answer_of_systemd_nothing_is_changed() {
    let machine = machine();
    machine.good(&[]);
    let before = machine.state();
    let mut other = bundle();
    other.insert("/etc/postfix/main.cf".into(), ("myhostname = newer\n".into(), 0o644));
    machine.copy(&other);
    for arguments in [&[][..], &["--dry-run"], &["--undo"]] {
        machine.tell("fails-once.list-units", "");
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert!(text(&output.stderr).contains("systemd does not tell what runs"));
        assert_eq!(machine.state(), before);
    }
}

#[test]
fn a_file_that_left_the_bundle_is_named() {
    let machine = machine();
    machine.good(&[]);
    let mut smaller = bundle();
    smaller.remove("/etc/new/deep/file");
    machine.copy(&smaller);
    let said = machine.good(&["--dry-run"]);
    assert!(
        said.contains("left behind: /etc/new/deep/file (no longer in the bundle; remove it yourself)\n"),
        "{said}"
    );
}

#[test]
fn two_do_not_run_at_once() {
    let machine = machine();
    let lock = std::fs::File::create(machine.live("/run/cluster-install.lock")).unwrap();
    lock.lock().unwrap();
    for arguments in [&[][..], &["--dry-run"], &["--undo"]] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert!(text(&output.stderr).contains("an installation is under way"));
    }
    lock.unlock().unwrap();
    machine.good(&[]);
}

#[test]
fn wrong_arguments_missing_rights_and_damage_have_their_own_statuses() {
    let machine = machine();
    for arguments in [&["--dry"][..], &["--undo", "--dry-run"], &["-h"]] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(text(&output.stderr), "usage: install [--dry-run | --undo]\n");
    }
    std::fs::write(machine.path("bundle/root/etc/nginx/nginx.conf"), "damaged").unwrap();
    let output = machine.run(&[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("copy the bundle again"));
    machine.tell("uid", "1000\n");
    for arguments in [&[][..], &["--dry-run"], &["--undo"]] {
        let output = machine.run(arguments);
        assert_eq!(output.status.code(), Some(4));
        assert!(text(&output.stderr).ends_with("mail1: help: run it as root\n"));
    }
}

/// Some of a few paths, with one of a few contents and modes.
fn some_files() -> impl Strategy<Value = Files> {
    let path = prop::sample::select(vec![
        "/etc/a",
        "/etc/postfix/b",
        "/etc/postfix/c-c",
        "/srv/x/y/d",
        "/usr/local/e.e",
    ]);
    let contents = prop::sample::select(vec!["", "one\n", "two\n", "no newline"]);
    let mode = prop::sample::select(vec![0o600, 0o640, 0o644, 0o755]);
    prop::collection::btree_map(
        path.prop_map(str::to_owned),
        (contents.prop_map(str::to_owned), mode),
        1..5,
    )
}

proptest! {
    // Each case runs the script some ten times.
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever lay there and whatever comes: cut short or not, an installation is complete after the next run, and an
    /// undo leaves what was there before.
    #[test]
    fn any_installation_can_be_taken_back(live in some_files(), first in some_files(), second in some_files(), cut in any::<bool>()) {
        let machine = Machine::new(&live);
        let mut states = vec![machine.state()];
        for bundle in [&first, &second] {
            machine.copy(bundle);
            if cut {
                machine.tell("power-cut", "");
                machine.run(&[]);
                let _ = std::fs::remove_file(machine.path("state/power-cut"));
            }
            machine.good(&[]);
            assert_installed(&machine, bundle);
            states.push(machine.state());
        }
        machine.good(&["--undo"]);
        // If the second bundle changed nothing, the last installation is the first one.
        prop_assert_eq!(machine.state(), if states[2] == states[1] { &states[0] } else { &states[1] }.clone());
    }
}

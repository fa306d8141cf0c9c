//! What `install` does about the programs that decide who is the writer: it starts them once, and leaves them running.

use crate::machine::{Files, Machine, files};

/// The sides of the mirror.
const DISKS: [&str; 2] = ["/dev/disk/by-id/virtio-pool0", "/dev/disk/by-id/virtio-pool1"];
const NOTE: &str = "note: files of corosync, sbd or pacemaker have changed";

fn bundle(token: &str) -> Files {
    files([
        ("/etc/corosync/corosync.conf", token, 0o644),
        ("/etc/mail-role/cib.xml", "<configuration/>\n", 0o644),
    ])
}

fn installed() -> Machine {
    let machine = Machine::with_role(&files(DISKS.map(|disk| (disk, "", 0o600))));
    machine.copy(&bundle("token: 3000\n"));
    let said = machine.good(&[]);
    assert!(!said.contains(NOTE), "{said}");
    machine
}

/// The calls of systemctl with one of these verbs that name a unit.
fn naming(calls: &[String], unit: &str, verbs: &[&str]) -> Vec<String> {
    let names = |call: &&String| {
        let mut words = call.split(' ');
        words.next().is_some_and(|verb| verbs.contains(&verb)) && words.any(|word| word == unit)
    };
    calls.iter().filter(names).cloned().collect()
}

#[test]
fn sbd_is_enabled_and_never_started_or_stopped_by_name() {
    let machine = installed();
    let mut calls = machine.calls();
    assert_eq!(naming(&calls, "sbd", &["enable"]).len(), 1, "{calls:?}");
    machine.good(&["--undo"]);
    calls.extend(machine.calls());
    assert_eq!(naming(&calls, "sbd", &["start", "restart", "stop"]), [""; 0]);
    assert_eq!(naming(&calls, "sbd", &["disable"]).len(), 1, "{calls:?}");
}

#[test]
fn a_changed_setting_of_corosync_is_told_and_restarts_nothing() {
    let machine = installed();
    machine.calls();
    machine.copy(&bundle("token: 5000\n"));
    let said = machine.good(&[]);
    assert!(said.contains(NOTE), "{said}");
    let calls = machine.calls();
    for unit in ["corosync", "pacemaker", "mail-role"] {
        assert_eq!(naming(&calls, unit, &["restart", "stop"]), [""; 0]);
    }
}

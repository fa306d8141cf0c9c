//! What `install` does on a Proxmox Mail Gateway: PMG makes the files of its daemons out of what is installed, and only if it
//! is told to, and a table only if it is newer than what was made of it.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use crate::machine::{Files, Machine, files};

const DOMAINS: &str = "/etc/pmg/domains";
const SYNC: &str = "pmgconfig sync --restart 1";

fn bundle(domains: &str) -> Files {
    files([
        (DOMAINS, domains, 0o644),
        ("/etc/pmg/pmg.conf", "section: mail\n\ttls 1\n", 0o644),
    ])
}

/// How often PMG made its daemons' files since the last time.
fn syncs(machine: &Machine) -> usize {
    machine.calls().iter().filter(|call| *call == SYNC).count()
}

fn changed(machine: &Machine) -> SystemTime {
    machine.live(DOMAINS).metadata().unwrap().modified().unwrap()
}

/// As old as a file of a bundle.
fn grow_old(machine: &Machine) {
    let file = std::fs::File::options()
        .write(true)
        .open(machine.live(DOMAINS))
        .unwrap();
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))
        .unwrap();
}

fn is_new(time: SystemTime) -> bool {
    time.elapsed().is_ok_and(|age| age < Duration::from_secs(3600))
}

#[test]
fn pmg_is_told_of_new_files_once_and_of_nothing_new_not_at_all() {
    let machine = Machine::with_pmg(&files([]));
    machine.copy(&bundle("example.org 1\n"));
    machine.good(&[]);
    assert_eq!(syncs(&machine), 1);
    machine.good(&[]);
    assert_eq!(syncs(&machine), 0);
}

#[test]
fn pmg_is_told_when_files_are_taken_back_which_look_new_again() {
    let machine = Machine::with_pmg(&bundle("example.com 1\n"));
    grow_old(&machine);
    machine.copy(&bundle("example.org 1\n"));
    machine.good(&[]);
    assert!(is_new(changed(&machine)));
    machine.calls();
    machine.good(&["--undo"]);
    assert_eq!(syncs(&machine), 1);
    assert_eq!(
        std::fs::read_to_string(machine.live(DOMAINS)).unwrap(),
        "example.com 1\n"
    );
    assert!(is_new(changed(&machine)));
}

#[test]
fn an_installation_cut_short_before_pmg_was_told_is_completed_by_the_next() {
    let machine = Machine::with_pmg(&files([]));
    machine.copy(&bundle("example.org 1\n"));
    machine.tell("fails-once.daemon-reload", "");
    assert!(!machine.run(&[]).status.success());
    assert_eq!(syncs(&machine), 0);
    machine.good(&[]);
    assert_eq!(syncs(&machine), 1);
}

#[test]
fn a_dry_run_tells_pmg_nothing() {
    let machine = Machine::with_pmg(&files([]));
    machine.copy(&bundle("example.org 1\n"));
    machine.good(&["--dry-run"]);
    assert_eq!(syncs(&machine), 0);
}

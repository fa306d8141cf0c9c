//! What `install` does about the pool of the mail store. A disk is a file here: what it holds is what is found on it.

use crate::machine::{Files, Machine, files, text};

const DISK: &str = "/dev/disk/by-id/virtio-pool0";

const CREATE: &str = "zpool create -o ashift=12 -O compression=lz4 -O atime=off -O xattr=sa -O acltype=posixacl -O mountpoint=none mail /dev/disk/by-id/virtio-pool0";

fn bundle() -> Files {
    files([("/etc/cluster-store/store.toml", "name = \"mail1\"\n", 0o644)])
}

/// A machine with a disk on which that is found.
fn machine(found: &str) -> Machine {
    let machine = Machine::with_store(&files([(DISK, found, 0o600)]));
    machine.copy(&bundle());
    machine
}

fn of_zfs(machine: &Machine) -> Vec<String> {
    let calls = machine.calls();
    calls.into_iter().filter(|call| call.starts_with('z')).collect()
}

#[test]
fn a_blank_disk_becomes_the_pool_and_stays_it() {
    let machine = machine("");
    let said = machine.good(&[]);
    assert!(
        said.contains("making the pool mail of /dev/disk/by-id/virtio-pool0\n"),
        "{said}"
    );
    assert_eq!(of_zfs(&machine), ["zgenhostid", CREATE, "zfs create mail/config"]);
    machine.good(&[]);
    assert_eq!(of_zfs(&machine), ["zgenhostid"]);
}

#[test]
fn a_disk_whose_names_are_away_for_a_moment_is_waited_for() {
    const PATIENCE: &str = "/sys/module/zfs/parameters/zfs_vdev_open_timeout_ms";
    let machine = Machine::with_store(&files([(DISK, "", 0o600), (PATIENCE, "1000\n", 0o644)]));
    machine.copy(&bundle());
    machine.good(&[]);
    assert_eq!(machine.state()[PATIENCE].0, "30000\n");
}

#[test]
fn while_a_pool_is_made_udev_does_not_have_its_disks_read_again() {
    let machine = machine("");
    machine.good(&[]);
    let calls = machine.calls();
    let around = calls
        .iter()
        .filter(|call| call.starts_with("udevadm") || *call == CREATE);
    assert_eq!(
        around.collect::<Vec<_>>(),
        [
            "udevadm settle",
            "udevadm control",
            "udevadm trigger",
            CREATE,
            "udevadm control",
            "udevadm trigger"
        ]
    );
    assert!(!machine.live("/run/udev/rules.d/99-cluster-pool.rules").exists());
}

#[test]
fn a_pool_that_cannot_be_made_ends_the_installation_and_udev_has_its_disks_back() {
    let machine = machine("");
    machine.tell("no-pool", "");
    let before = machine.state();
    assert_eq!(machine.run(&[]).status.code(), Some(1));
    assert!(!machine.live("/run/udev/rules.d/99-cluster-pool.rules").exists());
    assert_eq!(machine.state(), before);
}

#[test]
fn a_dry_run_shows_what_becomes_of_the_disk() {
    let machine = machine("");
    let said = machine.good(&["--dry-run"]);
    assert!(
        said.contains("would create the pool mail of /dev/disk/by-id/virtio-pool0\n"),
        "{said}"
    );
    assert_eq!(of_zfs(&machine), [""; 0]);
}

#[test]
fn a_pool_that_is_there_is_imported() {
    let machine = machine("zfs_member\n");
    machine.tell("importable", "   pool: mail\n     id: 1\n  state: ONLINE\n");
    machine.good(&[]);
    let import = "zpool import -d /dev/disk/by-id -N mail";
    assert_eq!(of_zfs(&machine), ["zgenhostid", import, "zfs create mail/config"]);
}

fn refused(machine: &Machine, why: &str) {
    let before = machine.state();
    for task in [&[][..], &["--dry-run"]] {
        let output = machine.run(task);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{err}");
        assert!(err.contains(why), "{err}");
    }
    assert_eq!(of_zfs(machine), [""; 0]);
    assert_eq!(machine.state(), before);
}

#[test]
fn a_disk_that_holds_something_is_refused() {
    refused(
        &machine("ext4\n"),
        "the disk /dev/disk/by-id/virtio-pool0 is not blank: ext4\n",
    );
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let machine = Machine::with_store(&Files::new());
    machine.copy(&bundle());
    refused(&machine, "the disk /dev/disk/by-id/virtio-pool0 is not there\n");
}

#[test]
fn two_pools_of_the_name_are_for_a_person_to_tell_apart() {
    let machine = machine("zfs_member\n");
    machine.tell("importable", "   pool: mail\n     id: 1\n   pool: mail\n     id: 2\n");
    refused(&machine, "several pools are called mail\n");
}

#[test]
fn mail_that_the_store_would_hide_is_refused_and_a_mounted_store_is_not() {
    let machine = machine("");
    let mail = machine.live("/var/vmail/example.org");
    std::fs::create_dir(&mail).unwrap();
    refused(
        &machine,
        "there is mail in /var/vmail, which the mail store would hide\n",
    );
    machine.tell("mounted", "");
    machine.good(&[]);
}

#[test]
fn an_undo_leaves_the_pool() {
    let machine = machine("");
    machine.good(&[]);
    machine.calls();
    machine.good(&["--undo"]);
    assert_eq!(of_zfs(&machine), [""; 0]);
    assert!(machine.path("state/pool").exists());
}

//! The pool of the mail store: its name, its disks, and what `[storage]` says of them.

use std::collections::BTreeSet;

use super::Findings;
use crate::spec::{Disks, Filesystem, Layout, Node, Role, Store};

/// Where udev names disks by what they are, not by the order in which they were found.
const BY_ID: &str = "/dev/disk/by-id/";

/// Longest name of a pool that is taken; names of datasets and snapshots in it have 255 bytes (zfsprops(7)).
const LONGEST_NAME: usize = 64;

pub(super) fn check(findings: &mut Findings<'_>) {
    let nodes = &findings.cluster().nodes;
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("node[{index}].disks");
        if !node.disks.is_empty() && (node.role != Role::Mail || findings.cluster().store.is_none()) {
            let finding = findings
                .at("store-disks", &path, "no pool is made of them", format!("{} has disks for a mail store that it does not have", node.name))
                .why("only the mail nodes of a cluster with [store] have a pool; nobody would notice that these disks stay empty")
                .help("remove them, or describe the mail store: [store]")
                .fix(findings.without(&path));
            findings.push(finding);
        }
        disks(findings, &path, &node.disks);
    }
    let Some(store) = &findings.cluster().store else {
        return;
    };
    name(findings, &store.pool);
    disks(findings, "store.disks", &store.disks);
    for node in nodes.iter().filter(|node| node.role == Role::Mail) {
        number(findings, store, node);
    }
    contradictions(findings, store);
}

/// What zpool-create(8) takes for a name, without blanks, which the agent does not take.
fn name(findings: &mut Findings<'_>, name: &str) {
    let reserved = ["mirror", "raidz", "draid", "spare", "log"]
        .iter()
        .any(|word| name.starts_with(word));
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && plain && !reserved && name.len() <= LONGEST_NAME {
        return;
    }
    let finding = findings
        .at("pool-name", "store.pool", "no name of a pool", format!("a pool cannot be called {name:?}"))
        .why("zpool refuses it, and the installation with it: a name begins with a letter, has letters, digits and `_-.:`, and does not begin with a word that describes a layout, such as mirror")
        .help("a short plain name")
        .fix(findings.with("store", "pool", "\"mail\""));
    findings.push(finding);
}

/// One list of disks.
fn disks(findings: &mut Findings<'_>, path: &str, disks: &[String]) {
    let mut seen = BTreeSet::new();
    for (index, disk) in disks.iter().enumerate() {
        let place = format!("{path}[{index}]");
        let plain = disk
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.:/+@".contains(&b));
        let finding = if !plain || disk.contains("..") || !disk.starts_with("/dev/") || disk.ends_with('/') {
            findings
                .at(
                    "disk-invalid",
                    &place,
                    "no disk",
                    format!("{disk:?} is not the path of a disk"),
                )
                .why("the installation would not find it")
                .help("a path below /dev/disk/by-id: ls -l /dev/disk/by-id shows them")
        } else if !seen.insert(disk) {
            findings
                .at(
                    "duplicate-disk",
                    &place,
                    "named already",
                    format!("{disk} is named twice"),
                )
                .why("the two sides of a mirror on one disk are gone together, and zpool refuses it")
                .help("name another disk")
        } else if !disk.starts_with(BY_ID) {
            findings
                .at("disk-by-place", &place, "named by its place", format!("{disk} is another disk after the next start, perhaps"))
                .why("the kernel gives such names in the order in which it finds disks; a pool would be made of, or looked for on, whichever has the name by then")
                .help("the same disk below /dev/disk/by-id: ls -l /dev/disk/by-id shows where each leads")
        } else {
            continue;
        };
        findings.push(finding);
    }
}

/// As many disks as the layout takes.
fn number(findings: &mut Findings<'_>, store: &Store, node: &Node) {
    let count = findings.cluster().disks(node).len();
    let (good, label) = match store.layout {
        Layout::Single => (count == 1, "one disk"),
        Layout::Mirror => (count >= 2, "two disks or more"),
    };
    // A fault of the common list is told once.
    let first = findings
        .cluster()
        .of_role(Role::Mail)
        .find(|other| other.disks.is_empty());
    let common = node.disks.is_empty();
    if good || (common && first.is_some_and(|first| first.name != node.name)) {
        return;
    }
    let place = match findings
        .cluster()
        .nodes
        .iter()
        .position(|other| other.name == node.name)
    {
        Some(index) if !common => format!("node[{index}].disks"),
        _ => "store.disks".to_owned(),
    };
    let finding = findings
        .at("store-disks", &place, label, format!("the pool of {} has {count} disk{}", node.name, if count == 1 { "" } else { "s" }))
        .why("the installation could not make the pool as it is described")
        .help("layout = \"single\" takes one disk, layout = \"mirror\" two or more; each mail node has those of [store], or its own under [[node]]");
    findings.push(finding);
}

/// `[storage]` says what mail lies on, and so does `[store]`.
fn contradictions(findings: &mut Findings<'_>, store: &Store) {
    let Some(storage) = findings.cluster().storage else {
        return;
    };
    let layout = match store.layout {
        Layout::Single => Disks::Single,
        Layout::Mirror => Disks::Mirror,
    };
    let mut wrong = Vec::new();
    if storage.filesystem != Filesystem::Zfs {
        wrong.push(("storage.filesystem", "the mail store is ZFS", "\"zfs\""));
    }
    // Whether somebody else keeps the disks redundant, only [storage] says.
    if storage
        .disks
        .is_some_and(|disks| disks != layout && disks != Disks::Provider)
    {
        let word = if layout == Disks::Single {
            "\"single\""
        } else {
            "\"mirror\""
        };
        wrong.push(("storage.disks", "not the layout of [store]", word));
    }
    for (path, label, right) in wrong {
        let finding = findings
            .at(
                "storage-contradicts-store",
                path,
                label,
                "[storage] and [store] say different things about what mail lies on",
            )
            .why("files are made from [store] and judged by [storage]: one of the two would be wrong")
            .help("say it in [store] only; of [storage] just disks = \"provider\" means something beside it")
            .fix(findings.instead(path, right));
        findings.push(finding);
    }
}

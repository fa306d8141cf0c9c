//! Storage: what mail lies on, and what copies it.

use super::Findings;
use crate::spec::{Disks, Layout, Synchronised};

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    if cluster
        .store
        .as_ref()
        .is_some_and(|store| store.layout == Layout::Single)
        && cluster.storage.and_then(|storage| storage.disks) != Some(Disks::Provider)
    {
        let finding = findings
            .at(
                "storage-without-redundancy",
                "store.layout",
                "one copy a node",
                "mail lies on storage without redundancy",
            )
            .why("when the writer's disk dies, the other node has everything that was confirmed; what was taken in without it is gone, and until the disk is replaced and filled again there is one copy of all mail")
            .help("lay mail on two disks with the same contents: layout = \"mirror\"; or, if a provider keeps the disk redundant, say so: [storage] disks = \"provider\"");
        findings.push(finding);
    }
    let Some(storage) = cluster.storage else {
        return;
    };
    if storage.disks == Some(Disks::Single) && cluster.store.is_none() {
        let finding = findings
            .at(
                "storage-without-redundancy",
                "storage.disks",
                "one copy",
                "mail lies on storage without redundancy",
            )
            .why("mailboxes are on one node at a time: when its disk dies, the mail that was delivered there is gone, whatever the other node does")
            .help("lay mail on two disks with the same contents, and say so: disks = \"mirror\"");
        findings.push(finding);
    }
    if storage.synchronised_by == Synchronised::Zfs {
        let finding = findings
            .at(
                "filesystem-is-no-replication",
                "storage.synchronised_by",
                "copies nothing by itself",
                "ZFS does not synchronise two nodes",
            )
            .why("a pool belongs to one machine; sending snapshots has to be made, runs behind, and with `recv -F` erases what only the other node has. Configuration files come from here, not from the file system")
            .help("say what is: nothing copies mail between the nodes")
            .fix(findings.instead("storage.synchronised_by", "\"none\""));
        findings.push(finding);
    }
}

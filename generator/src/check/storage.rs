//! Storage: what mail lies on, and what copies it.

use super::Findings;
use crate::spec::{Disks, Synchronised};

pub(super) fn check(findings: &mut Findings<'_>) {
    let Some(storage) = findings.cluster().storage else {
        return;
    };
    if storage.disks == Some(Disks::Single) {
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

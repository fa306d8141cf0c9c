//! The disks of a machine: the system disk, which begins as its image, and beside it those for its data, which begin
//! empty. All are thin and begin, move and are kept together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use generator::spec::{Cluster, Role};

use super::spec::DataDisk;
use crate::image::{self, Image};
use crate::restore::{data_disk_file, disk_file};
use crate::tools::command::{Program, run};
use crate::tools::{Qemu, ToolError};

/// How long copying a disk or a gigabyte of memory may take.
const COPY: Duration = Duration::from_secs(300);

/// Bytes that a thin data disk may have grown to by the time a cluster is frozen: a pool's own tables, and the mail of
/// an installation.
const GROWN: u64 = 256 << 20;

/// Size of a data disk in MiB, as the guest sees it.
const SIZE_MIB: u64 = 4096;

/// How udev names a virtio disk after its serial number.
const BY_SERIAL: &str = "/dev/disk/by-id/virtio-";

/// What virtio-blk has room for (virtio specification 1.2, section 5.2.6: 20 bytes).
const LONGEST_SERIAL: usize = 20;

/// Serial numbers of the data disks of each role's machines, in the guest's order; see [`DataDisk::serial`]. Mail nodes
/// have those that the description names for the pool of the mail store; without a store one that nothing uses, so that
/// both kinds of cluster begin as the same booted machines. What disks there are is decided here and nowhere else.
///
/// # Errors
/// The description names disks that a virtual machine cannot have, in words.
pub(super) fn serials(cluster: &Cluster) -> Result<BTreeMap<Role, Vec<String>>, String> {
    let mail = match &cluster.store {
        None => vec!["pool0".to_owned()],
        Some(_) => of_store(cluster)?,
    };
    Ok(BTreeMap::from([(Role::Mail, mail)]))
}

fn of_store(cluster: &Cluster) -> Result<Vec<String>, String> {
    let nodes = cluster.mail_nodes();
    let mut lists = nodes.iter().map(|node| cluster.disks(node));
    let first = lists.next().unwrap_or_default();
    if lists.any(|list| list != first) {
        return Err("the mail nodes' disks have different names; on virtual machines they have to be the same".into());
    }
    first.iter().map(|disk| serial(disk)).collect()
}

fn serial(disk: &str) -> Result<String, String> {
    let serial = disk.strip_prefix(BY_SERIAL).filter(|serial| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LONGEST_SERIAL).contains(&serial.len()) && serial.bytes().all(plain) && *serial != "disk"
    });
    serial.map(str::to_owned).ok_or_else(|| {
        format!("{disk} is no disk that a virtual machine can have; name it {BY_SERIAL}pool0, virtio-pool1 and so on")
    })
}

/// The data disks of a machine whose files lie in `folder`.
pub(super) fn attached(serials: &[String], folder: &Path, machine: &str) -> Vec<DataDisk> {
    let attached = |serial: &String| DataDisk {
        file: data_disk_file(folder, machine, serial),
        serial: serial.clone(),
    };
    serials.iter().map(attached).collect()
}

/// What QEMU's arguments do not tell of data disks: their sizes.
pub(super) fn sizes(serials: &[String]) -> String {
    let sizes = serials.iter().map(|serial| format!("{serial} {SIZE_MIB} MiB"));
    sizes.collect::<Vec<_>>().join(", ")
}

/// Bytes that the data disks of a machine may take in a restore point.
pub(super) fn room(serials: &[String]) -> u64 {
    serials.len() as u64 * GROWN
}

/// Makes the disks of a new machine in `folder`.
///
/// # Errors
/// When qemu-img fails.
pub(super) async fn make(
    qemu: &Qemu,
    image: &Image,
    serials: &[String],
    folder: &Path,
    machine: &str,
) -> Result<(), ToolError> {
    image::overlay(qemu, image, &disk_file(folder, machine)).await?;
    for disk in attached(serials, folder, machine) {
        image::empty_disk(qemu, SIZE_MIB, &disk.file).await?;
    }
    Ok(())
}

/// Puts an empty disk where this one was.
///
/// # Errors
/// When qemu-img fails.
pub async fn empty_again(qemu: &Qemu, disk: &DataDisk) -> Result<(), ToolError> {
    image::empty_disk(qemu, SIZE_MIB, &disk.file).await
}

/// Makes disks in `to` that go on where those in `from` stopped, and leave them as they are.
///
/// # Errors
/// When qemu-img fails.
pub(super) async fn fork(
    qemu: &Qemu,
    serials: &[String],
    machine: &str,
    from: &Path,
    to: &Path,
) -> Result<(), ToolError> {
    for (old, new) in files(serials, from, machine).iter().zip(files(serials, to, machine)) {
        image::overlay_on(qemu, old, "qcow2", &new).await?;
    }
    Ok(())
}

/// Copies the disks of the machine `parent` in `from` to `to`, as those of `machine`.
///
/// # Errors
/// When a file cannot be copied: the disk is full, say.
pub(super) async fn copy_all(
    serials: &[String],
    (from, parent): (&Path, &str),
    (to, machine): (&Path, &str),
) -> Result<(), ToolError> {
    for (old, new) in files(serials, from, parent).iter().zip(files(serials, to, machine)) {
        copy(old, &new).await?;
    }
    Ok(())
}

/// The files of all disks of a machine, the system disk first.
fn files(serials: &[String], folder: &Path, machine: &str) -> Vec<PathBuf> {
    let data_disks = attached(serials, folder, machine).into_iter().map(|disk| disk.file);
    std::iter::once(disk_file(folder, machine)).chain(data_disks).collect()
}

/// Copies a file with its holes, without copying a byte where the file system can share them (cp(1), `--reflink`).
pub(super) async fn copy(from: &Path, to: &Path) -> Result<(), ToolError> {
    let mut command = Program::host("cp").command();
    command
        .args(["--reflink=auto", "--sparse=auto", "--"])
        .arg(from)
        .arg(to);
    run(&format!("copy {}", from.display()), command, COPY)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(disks: &str) -> Cluster {
        let text = include_str!("../../../../generator/examples/store.toml");
        let text = text.replace("[\"/dev/disk/by-id/virtio-pool0\"]", disks);
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_mail_node_alone_has_a_disk_for_its_pool() {
        for example in [
            include_str!("../../../../generator/examples/pair.toml"),
            include_str!("../../../../generator/examples/store.toml"),
        ] {
            let serials = serials(&toml::from_str(example).unwrap()).unwrap();
            assert_eq!(serials, BTreeMap::from([(Role::Mail, vec!["pool0".to_owned()])]));
        }
    }

    #[test]
    fn a_mirror_has_the_disks_that_are_described() {
        let cluster = described("[\"/dev/disk/by-id/virtio-left\", \"/dev/disk/by-id/virtio-right\"]");
        assert_eq!(serials(&cluster).unwrap()[&Role::Mail], ["left", "right"]);
    }

    #[test]
    fn a_disk_that_a_virtual_machine_cannot_have_is_refused_by_name() {
        for disk in ["/dev/sdb", "/dev/disk/by-id/virtio-", "/dev/disk/by-id/virtio-disk"] {
            let refused = serials(&described(&format!("[{disk:?}]"))).unwrap_err();
            assert!(refused.starts_with(disk), "{refused}");
        }
    }

    #[test]
    fn every_disk_of_a_machine_moves_with_it() {
        let two = ["pool0".to_owned(), "pool1".to_owned()];
        let files = files(&two, Path::new("/run"), "mail1");
        let expected = ["/run/mail1.qcow2", "/run/mail1.pool0.qcow2", "/run/mail1.pool1.qcow2"];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(attached(&two, Path::new("/run"), "mail1")[1].file, files[2]);
    }

    #[test]
    fn another_number_of_disks_is_another_restore_point() {
        assert_eq!(
            sizes(&["pool0".to_owned(), "pool1".to_owned()]),
            "pool0 4096 MiB, pool1 4096 MiB"
        );
        assert_eq!(sizes(&[]), "");
    }
}

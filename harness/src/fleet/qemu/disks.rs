//! The disks of a machine: the system disk, which begins as its image, and beside it those for its data, which begin
//! empty. All are thin and begin, move and are kept together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use generator::spec::Role;

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

/// Serial numbers of the data disks of a role's machines, in the guest's order; see [`DataDisk::serial`]. A mail node has
/// one, for the pool that mail lies in. Everything else about data disks follows from this list.
pub(super) fn data_disks(role: Role) -> Vec<String> {
    let count = match role {
        Role::Mail => 1,
        Role::Gateway | Role::LoadBalancer => 0,
    };
    (0..count).map(|number| format!("pool{number}")).collect()
}

/// The data disks of a machine whose files lie in `folder`.
pub(super) fn attached(role: Role, folder: &Path, machine: &str) -> Vec<DataDisk> {
    let attached = |serial: String| DataDisk {
        file: data_disk_file(folder, machine, &serial),
        serial,
    };
    data_disks(role).into_iter().map(attached).collect()
}

/// What of a role's data disks QEMU's arguments do not tell: their sizes.
pub(super) fn sizes(role: Role) -> String {
    let sizes = data_disks(role)
        .into_iter()
        .map(|serial| format!("{serial} {SIZE_MIB} MiB"));
    sizes.collect::<Vec<_>>().join(", ")
}

/// Bytes that the data disks of a role's machine may take in a restore point.
pub(super) fn room(role: Role) -> u64 {
    data_disks(role).len() as u64 * GROWN
}

/// Makes the disks of a new machine in `folder`.
///
/// # Errors
/// When qemu-img fails.
pub(super) async fn make(
    qemu: &Qemu,
    image: &Image,
    role: Role,
    folder: &Path,
    machine: &str,
) -> Result<(), ToolError> {
    image::overlay(qemu, image, &disk_file(folder, machine)).await?;
    for disk in attached(role, folder, machine) {
        image::empty_disk(qemu, SIZE_MIB, &disk.file).await?;
    }
    Ok(())
}

/// Makes disks in `to` that go on where those in `from` stopped, and leave them as they are.
///
/// # Errors
/// When qemu-img fails.
pub(super) async fn fork(qemu: &Qemu, role: Role, machine: &str, from: &Path, to: &Path) -> Result<(), ToolError> {
    for (old, new) in files(role, from, machine).iter().zip(files(role, to, machine)) {
        image::overlay_on(qemu, old, "qcow2", &new).await?;
    }
    Ok(())
}

/// Copies the disks of the machine `parent` in `from` to `to`, as those of `machine`.
///
/// # Errors
/// When the disk is full, say.
pub(super) async fn copy_all(
    role: Role,
    (from, parent): (&Path, &str),
    (to, machine): (&Path, &str),
) -> Result<(), ToolError> {
    for (old, new) in files(role, from, parent).iter().zip(files(role, to, machine)) {
        copy(old, &new).await?;
    }
    Ok(())
}

/// The files of all disks of a role's machine.
fn files(role: Role, folder: &Path, machine: &str) -> Vec<PathBuf> {
    let data_disks = attached(role, folder, machine).into_iter().map(|disk| disk.file);
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

    const ROLES: [Role; 3] = [Role::Mail, Role::Gateway, Role::LoadBalancer];

    #[test]
    fn a_mail_node_alone_has_a_disk_for_its_pool() {
        assert_eq!(ROLES.map(|role| data_disks(role).join(" ")), ["pool0", "", ""]);
    }

    #[test]
    fn a_serial_number_fits_the_device_and_is_not_the_system_disks_name() {
        let serials = ROLES.into_iter().flat_map(data_disks);
        assert!(serials.into_iter().all(|serial| serial.len() <= 20 && serial != "disk"));
    }

    #[test]
    fn every_disk_of_a_machine_moves_with_it() {
        let files = files(Role::Mail, Path::new("/run"), "mail1");
        assert_eq!(
            files,
            [Path::new("/run/mail1.qcow2"), Path::new("/run/mail1.pool0.qcow2")]
        );
        assert_eq!(attached(Role::Mail, Path::new("/run"), "mail1")[0].file, files[1]);
    }

    #[test]
    fn a_disk_of_another_size_is_another_restore_point() {
        assert_eq!(sizes(Role::Mail), "pool0 4096 MiB");
        assert_eq!(sizes(Role::Gateway), "");
    }
}

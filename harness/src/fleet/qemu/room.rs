//! Whether a cluster that did not come up only lacked room on the host's disk: then that is what the user is told, and
//! not what the machines made of it.

use std::path::Path;

use crate::fleet::LaunchError;

/// With less than this free, bytes, whatever failed failed for want of room: QEMU grows disks by clusters of 64 KiB,
/// and a process that was refused leaves a remainder of its last request.
const REMAINDER: u64 = 4 << 20;

/// The error as it is, or the full disk behind it; `folder` is where the machines' disks and memories lie, before it is
/// cleared away.
pub(super) fn or_full_disk(error: LaunchError, folder: &Path) -> LaunchError {
    let free = fs4::available_space(folder).unwrap_or(u64::MAX);
    name_full_disk(error, folder, free)
}

fn name_full_disk(error: LaunchError, folder: &Path, free: u64) -> LaunchError {
    match error {
        LaunchError::Cluster(symptom) if free < REMAINDER => LaunchError::Environment {
            what: format!("the disk of {} is full, and so: {symptom}", folder.display()),
            mend: "harness restore prune   makes room; HARNESS_CACHE moves images and restore points to another disk, \
                   TMPDIR moves runs"
                .into(),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> LaunchError {
        LaunchError::Cluster("lb: boot: its QEMU process ended".into())
    }

    #[test]
    fn a_failure_on_a_full_disk_names_the_disk() {
        insta::assert_snapshot!(name_full_disk(failed(), Path::new("/cache/mail"), 4096), @r"
        the disk of /cache/mail is full, and so: lb: boot: its QEMU process ended
        help: harness restore prune   makes room; HARNESS_CACHE moves images and restore points to another disk, TMPDIR moves runs
        ");
    }

    #[test]
    fn a_failure_with_room_left_stays_what_it_is() {
        let same = name_full_disk(failed(), Path::new("/cache/mail"), 1 << 30);
        assert!(matches!(same, LaunchError::Cluster(_)), "{same}");
    }
}

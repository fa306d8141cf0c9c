//! Whether Dovecot can write to the store. A mount namespace of its own (systemd.exec(5): `PrivateTmp=`, `ProtectSystem=` and
//! the like make one) keeps the flags that the mount had when Dovecot was started: the store stays read-only there although
//! this node has become writer.

use std::path::Path;

use crate::act::OutsideError;

/// How a process sees a mount.
#[derive(Debug, PartialEq, Eq)]
enum Sight {
    Writable,
    ReadOnly,
    Absent,
}

/// Looks with the eyes of the process whose id is in a file.
///
/// # Errors
/// It cannot write there, or there is no such process; the text says what to do.
pub fn check(pid_file: &Path, proc: &Path, mountpoint: &Path) -> Result<(), OutsideError> {
    let shown = pid_file.display();
    let absent = |error: std::io::Error| {
        OutsideError(format!(
            "Dovecot does not run ({shown}: {error}); it has to, before the doors open"
        ))
    };
    let pid = std::fs::read_to_string(pid_file).map_err(absent)?.trim().to_owned();
    let table = std::fs::read_to_string(proc.join(&pid).join("mountinfo")).map_err(absent)?;
    let trouble = match sight(&table, &mountpoint.to_string_lossy()) {
        Sight::Writable => return Ok(()),
        Sight::ReadOnly => "sees the store read-only",
        Sight::Absent => "does not see the store at all",
    };
    Err(OutsideError(format!(
        "Dovecot (process {pid}) {trouble}, although it is mounted writable at {}: its unit has a mount namespace of its own. \
         The drop-in /etc/systemd/system/dovecot.service.d/cluster.conf (PrivateTmp=no, PrivateDevices=no, ProtectSystem=no \
         and the like) is missing, or Dovecot was not restarted since: systemctl daemon-reload && systemctl restart dovecot",
        mountpoint.display()
    )))
}

/// Of a table in the form of proc_pid_mountinfo(5): the fifth field is the mount point, the sixth are the options of the
/// mount. The last line of a mount point is the one on top.
fn sight(table: &str, mountpoint: &str) -> Sight {
    let escaped = mountpoint
        .replace('\\', "\\134")
        .replace(' ', "\\040")
        .replace('\t', "\\011");
    let mut found = Sight::Absent;
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(place), Some(options)) = (fields.next(), fields.next()) else {
            continue;
        };
        if place == escaped {
            found = match options.split(',').any(|option| option == "ro") {
                true => Sight::ReadOnly,
                false => Sight::Writable,
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";

    fn mount(options: &str) -> String {
        format!("{ROOT}91 22 0:45 / /var/vmail {options} shared:40 - zfs mail/store rw,xattr,posixacl\n")
    }

    #[test]
    fn the_options_of_the_mount_count_and_not_those_of_the_file_system() {
        assert_eq!(sight(&mount("rw,noatime"), "/var/vmail"), Sight::Writable);
        assert_eq!(sight(&mount("ro,noatime"), "/var/vmail"), Sight::ReadOnly);
        assert_eq!(sight(ROOT, "/var/vmail"), Sight::Absent);
    }

    #[test]
    fn the_mount_on_top_is_the_one_that_is_seen() {
        let both = format!("{}{}", mount("ro"), mount("rw"));
        assert_eq!(sight(&both, "/var/vmail"), Sight::Writable);
    }

    #[test]
    fn a_dovecot_that_sees_it_read_only_is_told_with_the_drop_in_that_mends_it() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("77")).expect("a process");
        std::fs::write(folder.path().join("77/mountinfo"), mount("ro,noatime")).expect("written");
        let pid_file = folder.path().join("master.pid");
        std::fs::write(&pid_file, "77\n").expect("written");
        let error = check(&pid_file, folder.path(), Path::new("/var/vmail")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("process 77") && text.contains("dovecot.service.d/cluster.conf"),
            "{text}"
        );
    }

    #[test]
    fn without_dovecot_the_doors_have_nobody_behind_them() {
        let error = check(
            Path::new("/nowhere/master.pid"),
            Path::new("/proc"),
            Path::new("/var/vmail"),
        )
        .unwrap_err();
        assert!(error.to_string().contains("does not run"), "{error}");
    }
}

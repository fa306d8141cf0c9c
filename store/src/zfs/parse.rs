//! The output of `zfs list -H -p`, `zfs holds -H` and `zfs diff -H -F`: fields parted by tabs, `-` for none; and of
//! `zpool status -p -P`, which is made for people and has a table in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::{Change, Dataset, Disk, Guid, Marks, Role, Snapshot};

/// Columns of a list of file systems, for [`datasets`].
pub const DATASET_COLUMNS: &str = "name,readonly,mounted,origin,receive_resume_token,written,creation,\
cluster-store:epoch,cluster-store:role,cluster-store:boot,cluster-store:lifted,cluster-store:rebase,cluster-store:merged,\
cluster-store:behind";

/// Columns of a list of snapshots and bookmarks, for [`points`].
pub const POINT_COLUMNS: &str = "name,type,guid,written,clones";

fn given(field: &str) -> Option<String> {
    (field != "-" && !field.is_empty()).then(|| field.to_owned())
}

fn number(field: &str) -> Option<u64> {
    given(field).map_or(Some(0), |field| field.parse().ok())
}

/// File systems without their snapshots. The error is the line that cannot be read.
pub fn datasets(output: &str, now: Duration) -> Result<Vec<Dataset>, String> {
    output
        .lines()
        .map(|line| dataset(line, now).ok_or_else(|| line.to_owned()))
        .collect()
}

fn dataset(line: &str, now: Duration) -> Option<Dataset> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        name,
        readonly,
        mounted,
        origin,
        token,
        written,
        creation,
        epoch,
        role,
        boot,
        lifted,
        rebase,
        merged,
        behind,
    ] = fields[..]
    else {
        return None;
    };
    let role = match role {
        "writer" => Role::Writer,
        "standby" | "-" | "" => Role::Standby,
        _ => return None,
    };
    Some(Dataset {
        name: name.to_owned(),
        readonly: readonly == "on",
        mounted: mounted == "yes",
        origin: given(origin),
        resume_token: given(token),
        written: number(written)?,
        age: now.saturating_sub(Duration::from_secs(number(creation)?)),
        marks: Marks {
            epoch: number(epoch)?,
            role,
            boot: given(boot),
            lifted: number(lifted)?,
            rebase: given(rebase),
            merged: merged == "yes",
            behind: behind == "yes",
        },
        snapshots: Vec::new(),
        bookmarks: BTreeMap::new(),
    })
}

/// The disks in what `zpool status -p -P` says of one pool: the rows of its table that are neither the pool nor what the disks
/// are put together to, but name a path, or a number where the disk is missing. The error is the line that cannot be read.
pub fn disks(output: &str) -> Result<Vec<Disk>, String> {
    let is_head = |line: &&str| line.split_whitespace().eq(["NAME", "STATE", "READ", "WRITE", "CKSUM"]);
    let mut lines = output.lines();
    if !lines.any(|line| is_head(&line)) {
        return Err(output.lines().next().unwrap_or_default().to_owned());
    }
    let rows = lines.take_while(|line| !line.trim().is_empty());
    let of_disk = |name: &str| name.starts_with('/') || name.bytes().all(|b| b.is_ascii_digit());
    rows.filter(|line| line.split_whitespace().next().is_some_and(of_disk))
        // A spare that is not in use counts nothing.
        .filter(|line| line.split_whitespace().nth(1) != Some("AVAIL"))
        .map(|line| disk(line).ok_or_else(|| line.to_owned()))
        .collect()
}

fn disk(line: &str) -> Option<Disk> {
    let mut words = line.split_whitespace();
    Some(Disk {
        name: words.next()?.to_owned(),
        state: words.next()?.to_owned(),
        read: words.next()?.parse().ok()?,
        write: words.next()?.parse().ok()?,
        checksum: words.next()?.parse().ok()?,
    })
}

/// How the snapshots begin that `zfs diff` takes of a file system and removes again: nothing to send or to hold.
const PASSING: &str = "zfs-diff-";

/// Puts snapshots and bookmarks, listed in the order of creation, at their datasets.
pub fn points(output: &str, datasets: &mut [Dataset]) -> Result<(), String> {
    let mut by_name: HashMap<String, &mut Dataset> = datasets.iter_mut().map(|d| (d.name.clone(), d)).collect();
    for line in output.lines() {
        point(line, &mut by_name).ok_or_else(|| line.to_owned())?;
    }
    Ok(())
}

fn point(line: &str, datasets: &mut HashMap<String, &mut Dataset>) -> Option<()> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [full, kind, guid, written, clones] = fields[..] else {
        return None;
    };
    let (dataset, name) = full.split_once(['@', '#'])?;
    let Some(dataset) = datasets.get_mut(dataset) else {
        return Some(());
    };
    if name.starts_with(PASSING) {
        return Some(());
    }
    let guid = Guid(guid.parse().ok()?);
    if kind == "bookmark" {
        dataset.bookmarks.insert(name.to_owned(), guid);
        return Some(());
    }
    dataset.snapshots.push(Snapshot {
        name: name.to_owned(),
        guid,
        written: Some(number(written)?),
        held: false,
        cloned: given(clones).is_some(),
    });
    Some(())
}

/// Notes which snapshots bear a hold of this tag.
pub fn holds(output: &str, tag: &str, datasets: &mut [Dataset]) -> Result<(), String> {
    let mut held = BTreeSet::new();
    for line in output.lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some(found)) = (fields.next(), fields.next()) else {
            return Err(line.to_owned());
        };
        if found == tag {
            held.insert(name.to_owned());
        }
    }
    for dataset in datasets {
        for snapshot in &mut dataset.snapshots {
            snapshot.held = held.contains(&format!("{}@{}", dataset.name, snapshot.name));
        }
    }
    Ok(())
}

/// What `zfs program -j` says of a snapshot that it took. It shows numbers of 64 bits with a sign, and a guid has none.
pub fn taken(output: &str, name: &str) -> Option<Snapshot> {
    #[derive(serde::Deserialize)]
    struct Program {
        #[serde(rename = "return")]
        returned: Returned,
    }
    #[derive(serde::Deserialize)]
    struct Returned {
        guid: i64,
        written: i64,
    }
    let Returned { guid, written } = serde_json::from_str::<Program>(output).ok()?.returned;
    Some(Snapshot {
        name: name.to_owned(),
        guid: Guid(guid.cast_unsigned()),
        written: Some(written.cast_unsigned()),
        held: false,
        cloned: false,
    })
}

/// Lines of `zfs diff -H -F -h`; folders and special files are left out, links (`@`) are not. `root` is where the dataset is mounted.
pub fn changes(output: &str, root: &str) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for line in output.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (Some(kind), Some(file), Some(path)) = (fields.first(), fields.get(1), fields.get(2)) else {
            return Err(line.to_owned());
        };
        if !matches!(*file, "F" | "@") {
            continue;
        }
        changes.push(match (*kind, fields.get(3)) {
            ("+", _) => Change::Added(inside(path, root)),
            ("M", _) => Change::Changed(inside(path, root)),
            ("-", _) => Change::Removed(inside(path, root)),
            ("R", Some(to)) => Change::Renamed {
                from: inside(path, root),
                to: inside(to, root),
            },
            _ => return Err(line.to_owned()),
        });
    }
    Ok(changes)
}

fn inside(path: &str, root: &str) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .trim_start_matches('/')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "tank/mail\ton\tyes\t-\t-\t1024\t100\t3\tstandby\t-\t-\t-\t-\t-";

    /// As zpool prints it (OpenZFS 2.3): a mirror with rot on one side, a disk that is missing, and a spare.
    const STATUS: &str = "  pool: mail
 state: DEGRADED
status: One or more devices has experienced an unrecoverable error.
  scan: scrub repaired 8K in 00:00:01 with 0 errors on Thu Nov 26 12:00:01 2026
config:

\tNAME                                        STATE     READ WRITE CKSUM
\tmail                                        DEGRADED     0     0     0
\t  mirror-0                                  ONLINE       0     0     0
\t    /dev/disk/by-id/virtio-pool0-part1      ONLINE       0     0     0
\t    /dev/disk/by-id/virtio-pool1-part1      ONLINE       0     1    12  (repairing)
\t  mirror-1                                  DEGRADED     0     0     0
\t    9231843710386592834                     UNAVAIL      0     0     0  was /dev/disk/by-id/virtio-pool2-part1
\tspares
\t  /dev/disk/by-id/virtio-pool3-part1        AVAIL

errors: No known data errors
";

    #[test]
    fn the_disks_of_a_pool_are_told_from_what_they_are_put_together_to() {
        let found = disks(STATUS).expect("readable");
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "/dev/disk/by-id/virtio-pool0-part1 is ONLINE; errors: 0 read, 0 write, 0 checksum",
                "/dev/disk/by-id/virtio-pool1-part1 is ONLINE; errors: 0 read, 1 write, 12 checksum",
                "9231843710386592834 is UNAVAIL; errors: 0 read, 0 write, 0 checksum",
            ]
        );
        let well: Vec<bool> = found.iter().map(Disk::is_well).collect();
        assert_eq!(well, [true, false, false]);
    }

    #[test]
    fn a_status_without_its_table_is_not_read() {
        assert!(disks("no pools available\n").is_err());
        assert!(disks(&STATUS.replace("     0     1    12  (repairing)", "     0     x    12")).is_err());
    }

    #[test]
    fn a_file_system_and_its_notes_are_read() {
        let found = datasets(MAIL, Duration::from_secs(160)).expect("readable");
        assert!(found[0].readonly && found[0].mounted);
        assert_eq!((found[0].marks.epoch, found[0].marks.role), (3, Role::Standby));
        assert_eq!((found[0].written, found[0].age), (1024, Duration::from_secs(60)));
    }

    #[test]
    fn a_snapshot_of_a_comparison_that_goes_on_is_passed_over() {
        let mut found = datasets(MAIL, Duration::from_secs(160)).expect("readable");
        let list = "tank/mail@cs-4-1\tsnapshot\t7\t0\t-\ntank/mail@zfs-diff-77-1\tsnapshot\t8\t0\t-\n";
        points(list, &mut found).expect("readable");
        assert_eq!(found[0].newest().map(|newest| newest.name.as_str()), Some("cs-4-1"));
    }

    #[test]
    fn snapshots_keep_their_order_and_holds_find_them() {
        let mut found = datasets(MAIL, Duration::ZERO).expect("readable");
        let list = "tank/mail@cs-1-1\tsnapshot\t17\t0\t-\ntank/mail@cs-1-2\tsnapshot\t18\t512\ttank/mail-tail-a\n\
                    tank/mail#cs-1-1\tbookmark\t17\t-\t-\n";
        points(list, &mut found).expect("readable");
        holds(
            "tank/mail@cs-1-2\tcluster-store\t1700000000\n",
            "cluster-store",
            &mut found,
        )
        .expect("readable");
        let mail = &found[0];
        assert_eq!(mail.snapshots.iter().map(|s| s.guid.0).collect::<Vec<_>>(), [17, 18]);
        assert!(!mail.snapshots[0].held && mail.snapshots[1].held && mail.snapshots[1].cloned);
        assert!(mail.bookmarks.get("cs-1-1") == Some(&Guid(17)));
    }

    #[test]
    fn the_guid_of_a_snapshot_is_read_even_where_it_is_shown_as_negative() {
        let taken = taken(
            "{\"return\":{\"written\":98304,\"guid\":-2678788433328009047}}",
            "cs-1-1",
        )
        .expect("readable");
        assert_eq!(
            (taken.guid, taken.written),
            (Guid(15_767_955_640_381_542_569), Some(98304))
        );
    }

    #[test]
    fn a_line_with_a_column_too_few_is_an_error_that_shows_it() {
        assert_eq!(datasets("tank/mail\ton", Duration::ZERO).unwrap_err(), "tank/mail\ton");
    }

    #[test]
    fn of_a_diff_only_files_count_and_paths_begin_at_the_root() {
        let diff =
            "M\t/\t/var/vmail/\n+\tF\t/var/vmail/a/new/1.M2.h\nR\tF\t/var/vmail/a/new/2\t/var/vmail/a/cur/2:2,S\n";
        let expected = [
            Change::Added("a/new/1.M2.h".to_owned()),
            Change::Renamed {
                from: "a/new/2".to_owned(),
                to: "a/cur/2:2,S".to_owned(),
            },
        ];
        assert_eq!(changes(diff, "/var/vmail").expect("readable"), expected);
    }
}

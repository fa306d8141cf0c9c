//! ZFS by its commands. Each runs with a time limit and in a fixed locale; what it says on standard error is in the error.

mod activity;
mod head;
mod spawn;
mod stream;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::time::timeout;

use self::head::Headed;
use self::spawn::{build, fed, start};
pub use self::spawn::{output, run};
use self::stream::{Checked, finish};
use crate::config::Config;

use super::{
    Change, Dataset, Disk, Mark, NewProperties, Received, Sending, Since, Snapshot, Stream, TAG, Zfs, ZfsError, parse,
    property,
};

/// Runs `zfs` and `zpool`.
#[derive(Debug, Clone)]
pub struct Commands {
    /// The program `zfs`.
    pub zfs: PathBuf,
    /// The program `zpool`.
    pub zpool: PathBuf,
    /// Limit of every command but those that move a stream.
    pub limit: Duration,
    /// Limit of one receive, whatever it carries.
    pub stream_limit: Duration,
    /// Folder of a pool's counters is in here, by its name.
    pub kstat: PathBuf,
}

/// Where OpenZFS shows its counters on Linux.
const KSTAT: &str = "/proc/spl/kstat/zfs";

/// A snapshot and what it is, in one command and one transaction (zfs-program(8)); `zfs snapshot` and `zfs get` are two,
/// and starting a command is most of what a small snapshot costs.
const SNAPSHOT: &str = "\
local name = (...)['argv'][1]
local failed = zfs.sync.snapshot(name)
if failed ~= 0 then error('cannot snapshot ' .. name .. ': errno ' .. failed) end
return {guid = zfs.get_prop(name, 'guid'), written = zfs.get_prop(name, 'written')}
";

impl Commands {
    /// These properties of a dataset and of those right below it, a line each (`zfs list -H -p`).
    pub(crate) async fn children(&self, parent: &str, columns: &str) -> Result<String, ZfsError> {
        self.zfs(&["list", "-H", "-p", "-d", "1", "-t", "filesystem", "-o", columns, parent])
            .await
    }

    /// With the limits of a configuration, and the programs of this machine.
    pub fn of(config: &Config) -> Commands {
        Commands {
            zfs: "zfs".into(),
            zpool: "zpool".into(),
            limit: config.replication.command_limit.0,
            stream_limit: config.replication.stream_limit.0,
            kstat: KSTAT.into(),
        }
    }

    /// Runs `zfs` to its end and gives what it printed.
    pub(crate) async fn zfs<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, ZfsError> {
        output(build(&self.zfs, args), self.limit).await
    }

    /// A command after which it is fine if what it should make (or remove) is there (or gone) already. One that is given
    /// several names goes on after one of them, and complains of each in a line of its own.
    async fn zfs_unless<S: AsRef<OsStr>>(&self, args: &[S], already: &str) -> Result<(), ZfsError> {
        match self.zfs(args).await {
            Err(ZfsError::Failed { stderr, .. }) if all_say(&stderr, already) => Ok(()),
            other => other.map(drop),
        }
    }
}

fn all_say(complaints: &str, already: &str) -> bool {
    !complaints.is_empty() && complaints.lines().all(|line| line.contains(already))
}

/// A verb with its tag, if it has one, and the full names of snapshots.
fn on_snapshots(verb: &[&str], dataset: &str, snapshots: &[&str]) -> Vec<String> {
    let names = snapshots.iter().map(|snapshot| format!("{dataset}@{snapshot}"));
    verb.iter().map(|word| (*word).to_owned()).chain(names).collect()
}

/// A root that does not exist is a pool that does not exist.
fn no_pool(error: ZfsError, root: &str) -> ZfsError {
    match error {
        ZfsError::Failed { stderr, .. } if !root.contains('/') && stderr.contains("dataset does not exist") => {
            ZfsError::NoPool { pool: root.to_owned() }
        }
        other => other,
    }
}

fn unreadable(command: &str) -> impl Fn(String) -> ZfsError {
    let command = command.to_owned();
    move |line| ZfsError::Unreadable {
        command: command.clone(),
        line,
    }
}

/// `-o` arguments. Marks go along, so that a dataset never exists without them.
fn options(properties: &NewProperties) -> Vec<String> {
    let mut options = vec![
        format!("mountpoint={}", properties.mountpoint.as_deref().unwrap_or("none")),
        format!("readonly={}", if properties.readonly { "on" } else { "off" }),
        // The agent mounts, once it knows the role.
        "canmount=noauto".to_owned(),
        // A send without -p carries no properties, so each side sets what is right for mail.
        "atime=off".to_owned(),
        "xattr=sa".to_owned(),
    ];
    options.extend(
        properties
            .marks
            .iter()
            .map(property)
            .map(|(name, value)| format!("{name}={value}")),
    );
    options
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
}

#[async_trait]
impl Zfs for Commands {
    async fn look(&self, dataset: &str) -> Result<Vec<Dataset>, ZfsError> {
        let parent = dataset.rsplit_once('/').map_or(dataset, |(parent, _)| parent);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let listed = self.children(parent, parse::DATASET_COLUMNS).await;
        let listed = listed.map_err(|error| no_pool(error, parent))?;
        let mut found = parse::datasets(&listed, now).map_err(unreadable("zfs list"))?;
        let beside = format!("{dataset}-");
        found.retain(|found| found.name == dataset || found.name.starts_with(&beside));
        if found.is_empty() {
            return Ok(found);
        }
        let mut list: Vec<String> = [
            "list",
            "-H",
            "-p",
            "-d",
            "1",
            "-t",
            "snapshot,bookmark",
            "-s",
            "createtxg",
            "-o",
        ]
        .map(str::to_owned)
        .to_vec();
        list.push(parse::POINT_COLUMNS.to_owned());
        list.extend(found.iter().map(|found| found.name.clone()));
        parse::points(&self.zfs(&list).await?, &mut found).map_err(unreadable("zfs list"))?;
        let mut holds: Vec<String> = ["holds", "-H"].map(str::to_owned).to_vec();
        for found in &found {
            holds.extend(
                found
                    .snapshots
                    .iter()
                    .map(|snapshot| format!("{}@{}", found.name, snapshot.name)),
            );
        }
        if holds.len() > 2 {
            parse::holds(&self.zfs(&holds).await?, TAG, &mut found).map_err(unreadable("zfs holds"))?;
        }
        Ok(found)
    }

    async fn disks(&self, dataset: &str) -> Result<Vec<Disk>, ZfsError> {
        let pool = dataset.split('/').next().unwrap_or(dataset);
        let said = output(build(&self.zpool, &["status", "-p", "-P", pool]), self.limit).await?;
        parse::disks(&said).map_err(unreadable("zpool status"))
    }

    async fn sync(&self, dataset: &str) -> Result<(), ZfsError> {
        let pool = dataset.split('/').next().unwrap_or(dataset);
        output(build(&self.zpool, &["sync", pool]), self.limit).await.map(drop)
    }

    fn activity(&self, dataset: &str) -> Option<u64> {
        let pool = dataset.split('/').next().unwrap_or(dataset);
        activity::of(&self.kstat.join(pool), dataset)
    }

    async fn written(&self, dataset: &str) -> Result<u64, ZfsError> {
        let got = self
            .zfs(&["get", "-H", "-p", "-o", "value", "written", dataset])
            .await?;
        got.trim().parse().map_err(|_| unreadable("zfs get written")(got))
    }

    async fn snapshot(&self, dataset: &str, name: &str) -> Result<Snapshot, ZfsError> {
        let full = format!("{dataset}@{name}");
        let pool = dataset.split('/').next().unwrap_or(dataset);
        let got = fed(
            build(&self.zfs, &["program", "-j", pool, "-", &full]),
            SNAPSHOT,
            self.limit,
        )
        .await?;
        parse::taken(&got, name).ok_or_else(|| unreadable("zfs program")(got))
    }

    async fn hold(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        self.zfs_unless(&on_snapshots(&["hold", TAG], dataset, snapshots), "tag already exists")
            .await
    }

    async fn release(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        self.zfs_unless(&on_snapshots(&["release", TAG], dataset, snapshots), "no such tag")
            .await
    }

    async fn bookmark(&self, dataset: &str, snapshot: &str) -> Result<(), ZfsError> {
        let (from, to) = (format!("{dataset}@{snapshot}"), format!("{dataset}#{snapshot}"));
        self.zfs_unless(&["bookmark", &from, &to], "bookmark exists").await
    }

    async fn destroy_bookmark(&self, dataset: &str, bookmark: &str) -> Result<(), ZfsError> {
        self.zfs_unless(&["destroy", &format!("{dataset}#{bookmark}")], "does not exist")
            .await
    }

    async fn destroy_snapshots(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError> {
        // A list with commas is one transaction.
        let names = format!("{dataset}@{}", snapshots.join(","));
        self.zfs_unless(&["destroy", &names], "could not find any snapshots")
            .await
    }

    async fn destroy(&self, dataset: &str) -> Result<(), ZfsError> {
        self.zfs(&["destroy", "-r", dataset]).await.map(drop)
    }

    async fn mark(&self, dataset: &str, marks: &[Mark]) -> Result<(), ZfsError> {
        // One command is one transaction.
        let mut args = vec!["set".to_owned()];
        args.extend(
            marks
                .iter()
                .map(property)
                .map(|(name, value)| format!("{name}={value}")),
        );
        args.push(dataset.to_owned());
        self.zfs(&args).await.map(drop)
    }

    async fn set_readonly(&self, dataset: &str, readonly: bool) -> Result<(), ZfsError> {
        self.zfs(&["set", if readonly { "readonly=on" } else { "readonly=off" }, dataset])
            .await
            .map(drop)
    }

    async fn set_mountpoint(&self, dataset: &str, mountpoint: Option<&str>) -> Result<(), ZfsError> {
        let option = format!("mountpoint={}", mountpoint.unwrap_or("none"));
        self.zfs(&["set", "canmount=noauto", &option, dataset]).await.map(drop)
    }

    async fn mount(&self, dataset: &str) -> Result<(), ZfsError> {
        self.zfs_unless(&["mount", dataset], "already mounted").await
    }

    async fn unmount(&self, dataset: &str) -> Result<(), ZfsError> {
        self.zfs_unless(&["unmount", dataset], "not currently mounted").await
    }

    async fn create(&self, dataset: &str, properties: &NewProperties) -> Result<(), ZfsError> {
        let mut args = vec!["create".to_owned(), "-u".to_owned()];
        args.extend(options(properties));
        args.push(dataset.to_owned());
        self.zfs(&args).await.map(drop)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), ZfsError> {
        self.zfs(&["rename", "-u", from, to]).await.map(drop)
    }

    async fn clone_from(&self, origin: &str, dataset: &str, properties: &NewProperties) -> Result<(), ZfsError> {
        let mut args = vec!["clone".to_owned()];
        args.extend(options(properties));
        args.extend([origin.to_owned(), dataset.to_owned()]);
        self.zfs(&args).await.map(drop)
    }

    async fn promote(&self, dataset: &str) -> Result<(), ZfsError> {
        self.zfs(&["promote", dataset]).await.map(drop)
    }

    async fn send(&self, what: &Sending) -> Result<Stream, ZfsError> {
        let mut command = match what {
            Sending::Resume { token } => build(&self.zfs, &["send", "-t", token]),
            Sending::Snapshot {
                dataset,
                from,
                snapshot,
            } => {
                let to = format!("{dataset}@{snapshot}");
                let base = match from {
                    Since::Nothing => None,
                    Since::Snapshot(base) => Some(format!("{dataset}@{base}")),
                    Since::Bookmark(base) => Some(format!("{dataset}#{base}")),
                };
                match base {
                    None => build(&self.zfs, &["send", "-L", "-e", "-c", &to]),
                    Some(base) => build(&self.zfs, &["send", "-L", "-e", "-c", "-i", &base, &to]),
                }
            }
        };
        let (mut child, shown) = start(command.stdout(Stdio::piped()))?;
        let stdout = child.stdout.take();
        Ok(Box::new(Checked {
            stdout,
            end: None,
            child: Some(child),
            command: shown,
        }))
    }

    async fn receive(
        &self,
        dataset: &str,
        origin: Option<&str>,
        properties: &NewProperties,
        stream: Stream,
    ) -> Result<Option<Received>, ZfsError> {
        let mut args: Vec<String> = ["receive", "-u", "-s"].map(str::to_owned).to_vec();
        if let Some(origin) = origin {
            args.extend(["-o".to_owned(), format!("origin={origin}")]);
        }
        if !properties.marks.is_empty() || properties.mountpoint.is_some() {
            args.extend(options(properties));
        }
        args.push(dataset.to_owned());
        let mut command = build(&self.zfs, &args);
        let (mut child, shown) = start(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        let mut stream = Headed::new(stream);
        let work = async {
            let mut stdin = child.stdin.take();
            let copied = match &mut stdin {
                Some(stdin) => tokio::io::copy(&mut stream, stdin).await.map(drop),
                None => Ok(()),
            };
            // The end of its input is what lets it finish, or keep what came.
            drop(stdin);
            let ended = finish(&mut child, &shown).await;
            // What the command says of itself explains more than the broken pipe it caused.
            ended.and(copied.map_err(ZfsError::Stream))
        };
        match timeout(self.stream_limit, work).await {
            Ok(done) => done.map(|()| stream.head()),
            Err(_) => Err(ZfsError::TooLong {
                command: shown,
                limit: self.stream_limit,
            }),
        }
    }

    async fn abort_receive(&self, dataset: &str) -> Result<(), ZfsError> {
        self.zfs_unless(&["receive", "-A", dataset], "does not have any resumable receive state")
            .await
    }

    async fn diff(&self, from: &str, to: &str) -> Result<Vec<Change>, ZfsError> {
        let root = to.split('@').next().unwrap_or(to);
        let mountpoint = self
            .zfs(&["get", "-H", "-p", "-o", "value", "mountpoint", root])
            .await?;
        // The more has changed the longer it takes, as with a stream.
        let diff = build(&self.zfs, &["diff", "-H", "-F", "-h", from, to]);
        let got = output(diff, self.stream_limit).await?;
        parse::changes(&got, mountpoint.trim()).map_err(unreadable("zfs diff"))
    }
}

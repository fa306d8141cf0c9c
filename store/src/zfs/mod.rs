//! What the agent needs of ZFS, as a trait: [`command::Commands`] runs `zfs` and `zpool`, [`fake::FakePool`] is a model
//! in memory that tests crash at will.

pub mod command;
#[cfg(test)]
pub mod fake;
mod parse;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

/// The bytes of a send stream.
pub type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// Tag of every hold that the agent places (zfs-hold(8)).
pub const TAG: &str = "cluster-store";

/// Prefix of the agent's user properties (zfsprops(7), "User Properties").
const PREFIX: &str = "cluster-store:";

/// Identity of a snapshot, equal on both sides after a send (zfsprops(7), `guid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Guid(pub u64);

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a dataset was made last by the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writable, doors open.
    Writer,
    /// Read-only, doors closed, follows the writer.
    #[default]
    Standby,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Writer => "writer",
            Role::Standby => "standby",
        })
    }
}

/// What the agent keeps in user properties of a dataset, so that it survives a crash together with the data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Raised by one at each take-over.
    pub epoch: u64,
    /// What the dataset was made last.
    pub role: Role,
    /// Boot id of the machine when it became writer; another one means that the machine has crashed since.
    pub boot: Option<String>,
    /// Epoch for which UIDs have been lifted.
    pub lifted: u64,
    /// Name of the snapshot to go on from, while the dataset is being replaced by a clone of it.
    pub rebase: Option<String>,
    /// True once everything in a tail is live.
    pub merged: bool,
    /// True if the other node was heard to have mail that is not here, and to have acknowledged it.
    pub behind: bool,
}

/// A change of [`Marks`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Sets the epoch.
    Epoch(u64),
    /// Sets the role.
    Role(Role),
    /// Sets the boot id.
    Boot(String),
    /// Sets the epoch for which UIDs have been lifted.
    Lifted(u64),
    /// Sets or clears the base of a replacement.
    Rebase(Option<String>),
    /// A tail is merged.
    Merged,
    /// Sets whether acknowledged mail is missing here.
    Behind(bool),
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Name after the `@`.
    pub name: String,
    /// Identity.
    pub guid: Guid,
    /// Bytes written between the snapshot before and this one (zfsprops(7), `written`); `None` if nobody has looked.
    pub written: Option<u64>,
    /// True if the agent holds it.
    pub held: bool,
    /// True if a clone depends on it, so that it cannot be destroyed.
    pub cloned: bool,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Full name.
    pub name: String,
    /// Property `readonly`.
    pub readonly: bool,
    /// Property `mounted`.
    pub mounted: bool,
    /// Snapshot it is a clone of, full name.
    pub origin: Option<String>,
    /// Of a receive that was cut off (zfs-receive(8), `-s`).
    pub resume_token: Option<String>,
    /// Bytes written since the newest snapshot, as far as they are synced to the pool: 0 right after a write (measured).
    pub written: u64,
    /// Time since it was created.
    pub age: Duration,
    /// What the agent noted on it.
    pub marks: Marks,
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Names after the `#`, and of which snapshots they are.
    pub bookmarks: BTreeMap<String, Guid>,
}

impl Dataset {
    /// The newest snapshot.
    pub fn newest(&self) -> Option<&Snapshot> {
        self.snapshots.last()
    }

    /// The snapshot of this identity.
    pub fn by_guid(&self, guid: Guid) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.guid == guid)
    }

    /// From where a stream that goes on from this identity can be sent: the snapshot, or the bookmark that outlived it.
    pub fn base(&self, guid: Guid) -> Option<Since> {
        let snapshot = self.by_guid(guid).map(|found| Since::Snapshot(found.name.clone()));
        let mut bookmarks = self.bookmarks.iter().filter(|(_, of)| **of == guid);
        snapshot.or_else(|| bookmarks.next().map(|(name, _)| Since::Bookmark(name.clone())))
    }
}

/// From where a stream goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Everything up to the snapshot.
    Nothing,
    /// What came after this snapshot of the same dataset.
    Snapshot(String),
    /// What came after the snapshot of which this is a bookmark (zfs-bookmark(8)).
    Bookmark(String),
}

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sending {
    /// A snapshot, `zfs send [-i]`.
    Snapshot {
        /// Dataset.
        dataset: String,
        /// From where.
        from: Since,
        /// Name of the snapshot.
        snapshot: String,
    },
    /// The rest of one that was cut off, `zfs send -t`.
    Resume {
        /// The receiver's token.
        token: String,
    },
}

/// The snapshot that a stream carries, by the record with which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Name after the `@`.
    pub name: String,
    /// Identity.
    pub guid: Guid,
}

/// Properties that a dataset gets when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewProperties {
    /// Property `mountpoint`; `None` is `none`.
    pub mountpoint: Option<String>,
    /// Property `readonly`.
    pub readonly: bool,
    /// User properties.
    pub marks: Vec<Mark>,
}

/// What `zfs diff` says of a file, if it is one that was made, came from elsewhere or left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New file, path from the root of the dataset.
    Added(String),
    /// Changed in place.
    Changed(String),
    /// Gone.
    Removed(String),
    /// Renamed.
    Renamed {
        /// Path before.
        from: String,
        /// Path after.
        to: String,
    },
}

/// What a pool says of one of its disks (zpool-status(8)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its path; of one that is missing, the number by which the pool knows it.
    pub name: String,
    /// `ONLINE` while it works.
    pub state: String,
    /// Reads that failed since the errors were cleared.
    pub read: u64,
    /// Writes that failed.
    pub write: u64,
    /// Blocks that were not what had been written, as their checksums show.
    pub checksum: u64,
}

impl Disk {
    /// All errors together.
    pub fn errors(&self) -> u64 {
        self.read.saturating_add(self.write).saturating_add(self.checksum)
    }

    /// True if it works and has counted no error.
    pub fn is_well(&self) -> bool {
        self.state == "ONLINE" && self.errors() == 0
    }
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Disk {
            name,
            state,
            read,
            write,
            checksum,
        } = self;
        write!(
            f,
            "{name} is {state}; errors: {read} read, {write} write, {checksum} checksum"
        )
    }
}

/// Why ZFS did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ZfsError {
    /// The pool is not there: it was never made on these disks, or is not imported.
    #[error("there is no pool {pool}")]
    NoPool {
        /// Its name.
        pool: String,
    },
    /// A command ended badly.
    #[error("`{command}` ended with {status}: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit status or signal.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A command took too long and was killed.
    #[error("`{command}` was killed after {limit:?}")]
    TooLong {
        /// The command line.
        command: String,
        /// Its time limit.
        limit: Duration,
    },
    /// A command cannot be run.
    #[error("`{command}` cannot be run: {source}")]
    NotRun {
        /// The command line.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// Output in a form that is not in the manual.
    #[error("`{command}` printed what cannot be read: {line:?}")]
    Unreadable {
        /// The command line.
        command: String,
        /// The line.
        line: String,
    },
    /// The stream broke off before its end.
    #[error("the stream broke off: {0}")]
    Stream(#[source] std::io::Error),
}

/// The commands of ZFS that the agent uses. Each is safe to repeat after a crash unless it says otherwise.
#[async_trait]
pub trait Zfs: Send + Sync {
    /// A dataset and the ones beside it whose name begins with its name and a hyphen, in any order;
    /// [`ZfsError::NoPool`] if there is no pool for them.
    async fn look(&self, dataset: &str) -> Result<Vec<Dataset>, ZfsError>;
    /// The disks of the dataset's pool.
    async fn disks(&self, dataset: &str) -> Result<Vec<Disk>, ZfsError>;
    /// Writes everything in memory to the pool (zpool-sync(8)).
    async fn sync(&self, dataset: &str) -> Result<(), ZfsError>;
    /// A number that is another one after anything was written, and costs no command; `None` if there is none.
    fn activity(&self, dataset: &str) -> Option<u64>;
    /// Bytes written since the newest snapshot. True only after [`Zfs::sync`].
    async fn written(&self, dataset: &str) -> Result<u64, ZfsError>;
    /// Takes a snapshot and says what it is. Mail waits for this: it is one command.
    async fn snapshot(&self, dataset: &str, name: &str) -> Result<Snapshot, ZfsError>;
    /// Holds snapshots; they may be held already.
    async fn hold(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError>;
    /// Releases snapshots; they may be released already.
    async fn release(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError>;
    /// Makes a bookmark of the same name as the snapshot (zfs-bookmark(8)).
    async fn bookmark(&self, dataset: &str, snapshot: &str) -> Result<(), ZfsError>;
    /// Removes a bookmark; it may be gone.
    async fn destroy_bookmark(&self, dataset: &str, bookmark: &str) -> Result<(), ZfsError>;
    /// Removes snapshots, all of them or none; they may be gone.
    async fn destroy_snapshots(&self, dataset: &str, snapshots: &[&str]) -> Result<(), ZfsError>;
    /// Removes a dataset with its snapshots, none of which is held.
    async fn destroy(&self, dataset: &str) -> Result<(), ZfsError>;
    /// Notes something on a dataset, all of it or nothing.
    async fn mark(&self, dataset: &str, marks: &[Mark]) -> Result<(), ZfsError>;
    /// Sets `readonly`.
    async fn set_readonly(&self, dataset: &str, readonly: bool) -> Result<(), ZfsError>;
    /// Sets `mountpoint` of a dataset that is not mounted.
    async fn set_mountpoint(&self, dataset: &str, mountpoint: Option<&str>) -> Result<(), ZfsError>;
    /// Mounts; what was written with fsync before a crash and is not in the pool yet comes back only by this.
    async fn mount(&self, dataset: &str) -> Result<(), ZfsError>;
    /// Unmounts.
    async fn unmount(&self, dataset: &str) -> Result<(), ZfsError>;
    /// Makes an empty file system.
    async fn create(&self, dataset: &str, properties: &NewProperties) -> Result<(), ZfsError>;
    /// Renames a file system, which is unmounted.
    async fn rename(&self, from: &str, to: &str) -> Result<(), ZfsError>;
    /// Makes a writable copy of a snapshot.
    async fn clone_from(&self, origin: &str, dataset: &str, properties: &NewProperties) -> Result<(), ZfsError>;
    /// Turns the order of a clone and its origin round; the snapshots up to the origin move to the clone.
    async fn promote(&self, dataset: &str) -> Result<(), ZfsError>;
    /// Begins a send stream.
    async fn send(&self, what: &Sending) -> Result<Stream, ZfsError>;
    /// Receives a stream into a snapshot, unmounted, resumable, and never with a rollback (`recv -u -s`, no `-F`). Says what
    /// the stream said of itself, if it could be read.
    async fn receive(
        &self,
        dataset: &str,
        origin: Option<&str>,
        properties: &NewProperties,
        stream: Stream,
    ) -> Result<Option<Received>, ZfsError>;
    /// Throws away what a receive that was cut off left (`recv -A`).
    async fn abort_receive(&self, dataset: &str) -> Result<(), ZfsError>;
    /// What changed in files between a snapshot and a later snapshot or file system.
    async fn diff(&self, from: &str, to: &str) -> Result<Vec<Change>, ZfsError>;
}

/// A user property's name and value. `-` is how `zfs list` shows a property that is not there, so it stands for none.
fn property(mark: &Mark) -> (String, String) {
    let (name, value) = match mark {
        Mark::Epoch(epoch) => ("epoch", epoch.to_string()),
        Mark::Role(role) => ("role", role.to_string()),
        Mark::Boot(boot) => ("boot", boot.clone()),
        Mark::Lifted(epoch) => ("lifted", epoch.to_string()),
        Mark::Rebase(base) => ("rebase", base.clone().unwrap_or_else(|| "-".to_owned())),
        Mark::Merged => ("merged", "yes".to_owned()),
        Mark::Behind(behind) => ("behind", if *behind { "yes" } else { "-" }.to_owned()),
    };
    (format!("{PREFIX}{name}"), value)
}

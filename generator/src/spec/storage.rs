//! What mail and databases lie on. Nothing is rendered from it: it is stated so that it can be checked.

use schemars::JsonSchema;
use serde::Deserialize;

/// What mail lies on, the same on both mail nodes.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// The file system.
    pub filesystem: Filesystem,
    /// The disks below it; unstated, nothing is said about them.
    #[serde(default)]
    pub disks: Option<Disks>,
    /// What copies mail from one node to the other.
    #[serde(default)]
    pub synchronised_by: Synchronised,
}

/// A file system that mail can lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filesystem {
    /// Debian's default.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// OpenZFS.
    Zfs,
}

/// How many disks may fail before mail is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Disks {
    /// One disk, or several that hold one copy together (RAID 0).
    Single,
    /// Two or more disks with the same contents (RAID 1, a ZFS mirror).
    Mirror,
    /// One of the disks may fail (RAID 5, raidz).
    Raidz,
    /// Two of the disks may fail (RAID 6, raidz2).
    Raidz2,
    /// Storage that somebody else keeps redundant: a provider's volume, a SAN.
    Provider,
}

/// What copies mail between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Synchronised {
    /// Nothing: each mailbox lies where its mail was delivered.
    #[default]
    None,
    /// The file system by itself, as descriptions of ZFS clusters sometimes have it; the check objects.
    Zfs,
}

/// Data that was there before the cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Existing {
    /// The mail node that holds it.
    pub node: String,
    /// Whether it was copied to the other mail node, with its GTID position, before the link is made.
    #[serde(default)]
    pub copied: bool,
}

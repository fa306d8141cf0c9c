//! The rendered files: a tree a node, each file with owner, mode and secrecy; written as a folder or a reproducible tar.
//!
//! # What a node receives
//!
//! A folder (or the same as `tar.gz`) with three entries, from which the install script is run as root:
//!
//! ```text
//! install      the install script, POSIX shell, mode 0755
//! manifest     one line a file, sorted by path
//! root/...     the files, by their absolute path on the node: root/etc/postfix/main.cf
//! ```
//!
//! # The manifest
//!
//! Five fields a line, separated by exactly one space, the path last, each line ended by a newline; no header, no
//! comment:
//!
//! ```text
//! SHA256 MODE OWNER GROUP PATH
//! 9f86d081884c7d65...15b0f00a08 0640 root postfix /etc/postfix/mysql-domains.cf
//! ```
//!
//! `SHA256` is 64 lower-case hex digits of the contents, `MODE` four octal digits, `PATH` absolute on the node. A path,
//! owner or group holds no white space and no control characters ([`Tree::validate`]), so a shell reads a line with
//! `while read -r sha mode owner group path`. On disk and in the archive the files belong to whoever unpacks them;
//! `install` gives them the owner and mode of the manifest.

use std::collections::BTreeMap;

/// Every file of every node, and what belongs to the cluster as a whole.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    /// One tree a node, by node name.
    pub nodes: BTreeMap<String, Tree>,
    /// The DNS zone of each mail domain in master-file format (RFC 1035 section 5), by domain.
    pub zones: BTreeMap<String, String>,
    /// The certificate of the cluster's own authority, PEM.
    pub ca_pem: String,
    /// What Prometheus needs to know, by file name; empty unless figures are exported.
    pub monitoring: BTreeMap<String, String>,
    /// What to do when, for people: Markdown.
    pub runbook: String,
}

/// The files of one node, by absolute path on the node, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Absolute path on the node to file.
    pub files: BTreeMap<String, File>,
    /// The install script (POSIX shell): validates, keeps what it replaces, switches, enables. Run as root from the
    /// folder that holds the unpacked tree.
    pub install: String,
}

/// One file as it lies on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The contents, bytes as they are written.
    pub contents: Vec<u8>,
    /// Permission bits, e.g. `0o640`.
    pub mode: u32,
    /// Owning user, by name.
    pub owner: String,
    /// Owning group, by name.
    pub group: String,
    /// True if the contents must never reach a snapshot, a log or a reader other than the owner and group.
    pub secret: bool,
}

mod archive;
mod contents;
mod folder;
mod manifest;

pub use folder::{Layout, WriteError, Written};
pub use manifest::TreeError;

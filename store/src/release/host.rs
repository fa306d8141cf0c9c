//! A node that has releases: this one, or the other one by the agents' link.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Name, Progress, Release, Task};
use crate::zfs::Stream;

/// What a node is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Which releases have you?
    List,
    /// Begin an installation.
    Begin {
        /// Of this release.
        id: String,
        /// What is done.
        task: Task,
    },
    /// How far is it?
    Progress {
        /// The installation's number.
        number: u64,
        /// What it said from this place on, bytes.
        from: u64,
    },
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// Releases that are whole here, oldest first.
    Releases(Vec<Release>),
    /// An installation has begun and has this number.
    Begun(u64),
    /// How far it is.
    Progress(Progress),
}

/// Why a node did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It does not answer.
    #[error("it does not answer: {0}")]
    Lost(String),
}

/// A node that has releases.
#[async_trait]
pub trait Host: Send + Sync {
    /// Answers.
    async fn ask(&self, ask: Ask) -> Result<Told, HostError>;
    /// Takes a release in, as `zfs send` wrote it, and holds it against its seal.
    async fn take(&self, name: Name, stream: Stream) -> Result<(), HostError>;
}

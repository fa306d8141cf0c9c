//! Releases of the configuration: the bundles of both mail nodes as `generator render` wrote them, each release in a dataset
//! of its own on both nodes. The writer makes one and sends it over the agents' link; the other node takes it only if it is
//! whole. Installed is on the standby first, by the bundle's own script, and on the writer only when that went well. What a
//! node did with a release is noted on its own dataset, so that it outlives a crash.

mod datasets;
mod history;
mod host;
mod job;
mod local;
mod order;
mod seal;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::host::{Ask, Host, HostError, Told};
pub use self::job::{Job, Progress, Task, run as run_job};
pub use self::local::Local;
pub use self::order::{Both, Follows, OrderError, Out, Party, deliver, releases, show};
pub use self::seal::{Seal, SealError};

/// A release: what both nodes call it, and how they know that they have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// When it was made (UTC), and the beginning of its seal: `20260131T120000Z-1a2b3c4d`.
    pub id: String,
    /// SHA-256 over the list of its files with their own, hexadecimal.
    pub seal: Seal,
}

/// What a node did with a release last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is whole here.
    Ready,
    /// It is being installed, or that was interrupted.
    Installing,
    /// It is in place, or was until another one came.
    Installed,
    /// Its installation failed: nothing was switched, or a service did not start.
    Failed,
    /// It was installed and is taken back.
    TakenBack,
}

impl State {
    const ALL: [State; 5] = [
        State::Ready,
        State::Installing,
        State::Installed,
        State::Failed,
        State::TakenBack,
    ];

    fn word(self) -> &'static str {
        match self {
            State::Ready => "ready",
            State::Installing => "installing",
            State::Installed => "installed",
            State::Failed => "failed",
            State::TakenBack => "taken-back",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::TakenBack => "taken back",
            other => other.word(),
        })
    }
}

/// A release on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    #[serde(flatten)]
    pub name: Name,
    /// What became of it here.
    pub state: State,
    /// When its installation began or ended last, seconds since 1970.
    pub at: Option<u64>,
    /// What the installation is called in `/var/backups/cluster`; none if it had nothing to change, so that there is nothing
    /// to take back.
    pub installation: Option<String>,
}

/// The release that is in place on a node: of those that were installed and not taken back, the last.
pub fn current(releases: &[Release]) -> Option<&Release> {
    let installed = releases.iter().filter(|release| release.state == State::Installed);
    installed.max_by_key(|release| release.at)
}

/// The release that a node was changed for last and that is not taken back.
fn last_touched(releases: &[Release]) -> Option<&Release> {
    let touched = |release: &&Release| !matches!(release.state, State::Ready | State::TakenBack);
    releases.iter().filter(touched).max_by_key(|release| release.at)
}

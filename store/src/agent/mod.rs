//! The agent: one task that looks, decides, acts, and looks again. All else talks to it through channels.

mod figures;
mod run;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use self::figures::Figures;
pub use self::run::Agent;
pub use self::status::{Lags, Status};
use crate::act::{Outside, Peer};
use crate::config::Policy;
use crate::core::{Layout, PeerView};
use crate::link::Heard;
use crate::link::server::Call;
use crate::zfs::Zfs;

/// Something the agent is asked for by this node.
pub enum Command {
    /// Become writer; answered when it is.
    Promote {
        /// The other node is lost for good: mail that may be missing here is no reason to refuse.
        force: bool,
        /// What came of it.
        answer: oneshot::Sender<Answer>,
    },
    /// Become standby; answered when it is and the peer has everything, or cannot have it.
    Demote(oneshot::Sender<Answer>),
    /// Put the mail dataset aside and take a new copy of the peer's.
    Reseed(oneshot::Sender<Answer>),
    /// Mail is on the local disk: answered when the peer has it too.
    Commit(oneshot::Sender<Committed>),
}

/// What came of a command, in words.
pub type Answer = Result<String, String>;

/// What came of a wait for a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The peer has it.
    Both,
    /// The peer does not follow, and the policy is to accept.
    Alone,
    /// It is not certain to outlive this node: 4xx.
    Deferred,
}

/// What an agent works with.
pub struct Parts {
    /// ZFS.
    pub zfs: Arc<dyn Zfs>,
    /// Dovecot and the doors.
    pub outside: Arc<dyn Outside>,
    /// The other node.
    pub peer: Arc<dyn Peer>,
    /// Names.
    pub layout: Layout,
    /// Boot id of this machine.
    pub boot: String,
    /// Numbers.
    pub timing: Timing,
    /// What happens to mail while the peer does not follow.
    pub policy: Policy,
    /// From this node.
    pub commands: mpsc::Receiver<Command>,
    /// From the other node.
    pub calls: mpsc::Receiver<Call>,
    /// How the other node stands.
    pub peer_state: watch::Sender<Heard>,
    /// What the other node is told.
    pub view: watch::Sender<PeerView>,
    /// What people are told.
    pub status: watch::Sender<Status>,
    /// Figures.
    pub metrics: Arc<crate::metrics::Metrics>,
}

/// Time limits of the agent.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between looks for changes, and after something failed.
    pub interval: Duration,
    /// Of a promote or demote until it is answered.
    pub role: Duration,
    /// Of lifting UIDs, retries included; a promote fails after it.
    pub lift: Duration,
    /// Between two rounds of tidying snapshots.
    pub tidy: Duration,
    /// Between two looks at the pool while nothing is amiss; ten times as long while mail waits all the time.
    pub look: Duration,
    /// Between two questions for the errors that the pool's disks have counted.
    pub disks: Duration,
    /// For which a demote waits for the peer to take the last changes.
    pub drain: Duration,
    /// For which mail waits for the peer's confirmation.
    pub confirm: Duration,
}

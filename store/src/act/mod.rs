//! Carries actions out: each is a few commands in an order in which a crash between any two leaves a situation from which
//! [`crate::core::decide`] goes on.

mod hands;
mod serve;

use async_trait::async_trait;

use crate::core::{Action, Layout, Offer, PeerView, Refusal, Target};
use crate::zfs::{Change, Guid, Snapshot, Stream, Zfs, ZfsError};

/// The other node.
#[async_trait]
pub trait Peer: Send + Sync {
    /// Offers a stream and sends it if it is taken. The answer comes when the snapshot is there.
    async fn offer(&self, offer: Offer, stream: Stream) -> Result<PeerView, PeerError>;
    /// Asks to throw away what is half received.
    async fn abort(&self, target: Target, snapshot: Guid) -> Result<PeerView, PeerError>;
}

/// Why the other node did not do something.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It refused.
    #[error("the peer refused: {0}")]
    Refused(#[from] Refusal),
    /// The stream broke off on this side.
    #[error("the stream could not be read: {0}")]
    Source(String),
    /// It cannot be reached, or no longer.
    #[error("the peer is lost: {0}")]
    Lost(String),
}

/// Something outside of ZFS that did not work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OutsideError(pub String);

/// What is outside of ZFS on this node.
#[async_trait]
pub trait Outside: Send + Sync {
    /// Lets clients in. May be repeated.
    async fn open_doors(&self) -> Result<(), OutsideError>;
    /// Lets nobody in and ends what is open. May be repeated.
    async fn close_doors(&self) -> Result<(), OutsideError>;
    /// Ends who still has files of the store open for writing after the doors were closed. May be repeated.
    async fn end_writers(&self) -> Result<(), OutsideError>;
    /// Lifts the next UIDs of mailboxes that were active lately, so that new mail never takes one that a client may have
    /// seen for mail which only the other node has, and finds out which messages came last, so that none of them is
    /// delivered again. May be repeated; the doors open only after it.
    async fn lift_uids(&self) -> Result<(), OutsideError>;
    /// Sees to it that none of the messages which a mounted tail has added is delivered here from now on; none is being
    /// delivered when it returns. May be repeated.
    async fn announce(&self, tail: &str, tail_changes: &[Change]) -> Result<(), OutsideError>;
    /// Merges a mounted tail into the live store and verifies that all of it is there; gives what was changed on both nodes.
    /// May be repeated.
    async fn merge(&self, job: &MergeJob) -> Result<Conflicts, OutsideError>;
    /// Where a tail is mounted for its merge.
    fn tail_mountpoint(&self) -> String;
}

/// Files that both nodes have changed and of which one version is kept beside the live one, as paths from the root of the
/// store.
pub type Conflicts = Vec<String>;

/// What there is to merge.
#[derive(Debug, Clone)]
pub struct MergeJob {
    /// The live dataset.
    pub live: String,
    /// Where it is mounted.
    pub live_root: String,
    /// The tail's dataset.
    pub tail: String,
    /// Where it is mounted, writable.
    pub tail_root: String,
    /// Epoch of the tail.
    pub epoch: u64,
    /// What the tail has changed since the common snapshot.
    pub tail_changes: Vec<Change>,
    /// What is changed in the live store since then.
    pub live_changes: Vec<Change>,
}

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// ZFS.
    #[error(transparent)]
    Zfs(#[from] ZfsError),
    /// The other node.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Dovecot or the doors.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The pool is not as it was seen.
    #[error("{0} is not there any more")]
    Gone(String),
}

impl ActError {
    /// True if what is half received cannot be completed after this, and has to be thrown away. A link that was cut is no
    /// reason: a first copy would begin again and again.
    pub fn spoils_resume(&self, action: &Action) -> bool {
        match (action, self) {
            (_, ActError::Peer(PeerError::Refused(Refusal::Partial))) => true,
            (Action::Resume { .. }, ActError::Peer(PeerError::Lost(_))) => false,
            (Action::Resume { .. }, _) => true,
            _ => false,
        }
    }
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pool has to be looked at again.
    Look,
    /// This snapshot was taken, and nothing else changed.
    Taken(Snapshot),
    /// Nothing changed here; the other node says this of itself.
    Peer(PeerView),
    /// A tail is merged; the pool has to be looked at again.
    Merged(Conflicts),
    /// The doors changed, nothing else.
    Doors,
    /// Snapshots were tidied, nothing else changed.
    Tidied,
}

/// What came of an offer that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// The snapshot was here already.
    Already,
    /// This came on top of the mail dataset, and nothing else changed but the epoch, which is the sender's if that is higher.
    OnTop(Snapshot),
    /// The pool has to be looked at again.
    Look,
}

/// All that actions need.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    /// ZFS.
    pub zfs: &'a dyn Zfs,
    /// Dovecot and the doors.
    pub outside: &'a dyn Outside,
    /// The other node.
    pub peer: &'a dyn Peer,
    /// Names.
    pub layout: &'a Layout,
    /// Boot id of this machine.
    pub boot: &'a str,
}

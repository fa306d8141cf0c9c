//! What the loop keeps of times, and what it lends to work that outlives it.

use std::sync::Arc;

use crate::act::{Hands, Outside, Peer};
use crate::agent::figures::Times;
use crate::agent::{Lags, Parts};
use crate::core::Layout;
use crate::zfs::Zfs;

/// How long things took lately.
#[derive(Default)]
pub(super) struct RoundTimes {
    pub confirmation: Times,
    pub snapshot: Times,
    pub send: Times,
}

impl RoundTimes {
    pub fn lags(&self) -> Lags {
        Lags {
            confirmation: self.confirmation.figures(),
            snapshot: self.snapshot.figures(),
            send: self.send.figures(),
        }
    }
}

/// What [`Hands`] borrow, for work that outlives a borrow of the agent.
pub(super) struct Owned {
    zfs: Arc<dyn Zfs>,
    outside: Arc<dyn Outside>,
    peer: Arc<dyn Peer>,
    pub layout: Layout,
    pub boot: String,
}

impl Owned {
    pub fn of(parts: &Parts) -> Owned {
        Owned {
            zfs: parts.zfs.clone(),
            outside: parts.outside.clone(),
            peer: parts.peer.clone(),
            layout: parts.layout.clone(),
            boot: parts.boot.clone(),
        }
    }

    pub fn hands(&self) -> Hands<'_> {
        Hands {
            zfs: &*self.zfs,
            outside: &*self.outside,
            peer: &*self.peer,
            layout: &self.layout,
            boot: &self.boot,
        }
    }
}

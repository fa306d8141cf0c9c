//! The connection between the agents: one TLS connection in each direction, both sides with a certificate of the cluster's
//! authority, kept open. The node that dials asks; the node that listens answers. Requests follow one another.

pub mod client;
mod frame;
mod heard;
pub mod server;
mod tls;

#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

pub use self::heard::Heard;
pub use self::tls::{Tls, TlsError};
use crate::core::{Offer, PeerView, Refusal, Target};
use crate::release::{Ask, Name, Told};
use crate::zfs::Guid;

/// Of this protocol; another one is refused.
pub const VERSION: u32 = 2;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// First of all: who is there?
    Hello {
        /// Of the protocol.
        version: u32,
        /// Of the node that dials.
        name: String,
    },
    /// How do you stand?
    State,
    /// Take this stream, which follows at once.
    Offer(Offer),
    /// Throw away what is half received.
    Abort {
        /// Where.
        target: Target,
        /// Snapshot that names a tail.
        snapshot: Guid,
    },
    /// Something about releases of the configuration.
    Releases(Ask),
    /// Take this release, whose stream follows at once.
    Release(Name),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, or simply: this is how I stand.
    View(PeerView),
    /// No.
    Refused(Refusal),
    /// About releases.
    Releases(Result<Told, String>),
    /// What came of a release.
    Release(Result<(), String>),
}

//! A live cluster: machines that keep running to be looked at, with doors on 127.0.0.1, and a control socket through
//! which other calls of this program run commands on them, break them and mend them. It ends with the process that
//! started it.

mod client;
mod forward;
mod registry;
mod server;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Receipt};
use crate::fleet::ExecOutput;

pub use client::{LiveError, ask};
pub use forward::Forward;
pub use registry::{Entry, Registry, Seat};
pub use server::serve;

/// What a call asks of a live cluster: one line of JSON a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Run a command on a node.
    Exec {
        /// The node.
        node: String,
        /// Program and arguments; no shell.
        argv: Vec<String>,
    },
    /// What ails it, and what is broken on purpose.
    Status,
    /// Break something.
    Break {
        /// What.
        fault: Fault,
    },
    /// Mend something that was broken before, or everything, the newest first.
    Heal {
        /// What; everything if it is not named.
        fault: Option<Fault>,
    },
    /// End all machines.
    Down,
}

/// What it answers: one line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// A command has ended.
    Output(ExecOutput),
    /// The state.
    Status {
        /// What ails it; empty when it is healthy.
        ailments: Vec<String>,
        /// What is broken on purpose.
        broken: Vec<Fault>,
    },
    /// What was seen of a fault, or of each healing.
    Receipts {
        /// The receipts.
        receipts: Vec<Receipt>,
    },
    /// All machines have ended.
    Ended,
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
}

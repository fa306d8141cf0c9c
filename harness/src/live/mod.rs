//! A live cluster: machines that keep running to be looked at, with doors on 127.0.0.1, and a control socket through
//! which other calls of this program run commands on them, break them and mend them. It ends with the process that
//! started it.

mod client;
mod forward;
mod registry;
mod server;
mod shell;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Receipt};
use crate::fleet::ExecOutput;

pub use client::{Conversation, LiveError, ask};
pub use forward::{Forward, Opener};
pub use registry::{Entry, Registry, Seat};
pub use server::serve;

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

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
    /// Run a log-in shell on the node's terminal. Two answers come: [`Answer::Terminal`] when it can be reached, and
    /// [`Answer::Output`] with its status when it has ended. Hanging up ends the shell.
    Shell {
        /// The node.
        node: String,
        /// Size of the caller's terminal.
        size: Size,
        /// Kind of the caller's terminal, as `TERM` names it.
        kind: String,
    },
    /// The caller's terminal has another size now.
    Resize {
        /// The node.
        node: String,
        /// The size.
        size: Size,
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
    /// A shell begins at the other end of this unix socket.
    Terminal {
        /// The socket.
        socket: PathBuf,
    },
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

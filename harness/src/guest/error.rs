//! What can go wrong between the harness and a guest, told with machine, step, time limit and last words.

use std::time::Duration;

use crate::fleet::FleetError;
use crate::fleet::qemu::Exit;

/// Why the guest agent gave no answer, or not the one that was needed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GuestError {
    /// The time limit passed.
    #[error("{machine}: {step}: not done within {}; {last}", humantime::format_duration(*.limit))]
    Deadline {
        /// Machine.
        machine: String,
        /// What was tried.
        step: String,
        /// The time limit.
        limit: Duration,
        /// The last thing heard.
        last: String,
    },
    /// The machine's QEMU process ended.
    #[error("{machine}: {step}: its QEMU process {exit}")]
    MachineEnded {
        /// Machine.
        machine: String,
        /// What was tried.
        step: String,
        /// How it ended.
        exit: Exit,
    },
    /// The agent said no, or the connection broke after the command was sent.
    #[error("{machine}: {step}: {reason}")]
    Refused {
        /// Machine.
        machine: String,
        /// What was tried.
        step: String,
        /// The agent's words.
        reason: String,
    },
    /// A command ran and failed.
    #[error("{machine}: {step}: status {status}: {output}")]
    Failed {
        /// Machine.
        machine: String,
        /// What was tried.
        step: String,
        /// Exit status; 128 + signal number when killed.
        status: i32,
        /// The end of its output, standard error preferred.
        output: String,
    },
}

impl GuestError {
    /// The machine concerned.
    pub fn machine(&self) -> &str {
        match self {
            GuestError::Deadline { machine, .. }
            | GuestError::MachineEnded { machine, .. }
            | GuestError::Refused { machine, .. }
            | GuestError::Failed { machine, .. } => machine,
        }
    }
}

impl From<GuestError> for FleetError {
    fn from(error: GuestError) -> Self {
        let node = error.machine().to_owned();
        let (what, reason) = match error {
            GuestError::Deadline { step, limit, last, .. } => (
                format!("{step} within {}", humantime::format_duration(limit)),
                format!("not done in time; {last}"),
            ),
            GuestError::MachineEnded { step, exit, .. } => (step, format!("its QEMU process {exit}")),
            GuestError::Refused { step, reason, .. } => (step, reason),
            GuestError::Failed {
                step, status, output, ..
            } => (step, format!("status {status}: {output}")),
        };
        FleetError { node, what, reason }
    }
}

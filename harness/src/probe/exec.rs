//! Running a program on a node, as the clients that have no port to knock at need it.

use std::time::Duration;

use async_trait::async_trait;

use crate::fleet::ExecOutput;

/// Why a program gave no exit status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// It certainly did not run.
    #[error("not started: {0}")]
    NotStarted(String),
    /// It was started, or may have been, and its end was not seen.
    #[error("started, end not seen: {0}")]
    Unfinished(String),
}

/// Runs programs on one node.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs `argv` (no shell) as root with `stdin` as its whole input and waits for its end, at most for `deadline`.
    ///
    /// # Errors
    /// [`ExecError::NotStarted`] only where it is certain that nothing ran.
    async fn exec(&self, argv: &[String], stdin: &[u8], deadline: Duration) -> Result<ExecOutput, ExecError>;
}

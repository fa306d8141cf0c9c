//! The connection to a machine's guest agent: opened again on every attempt, brought in step first, one command on
//! the wire at a time, and nobody waits longer than his deadline or on a machine that has ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qapi::qga::{QgaCommand, guest_ping};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use super::GuestError;
use super::wire::{Wire, WireError};
use crate::fleet::qemu::ExitWatch;

/// How long one attempt to get in step with the agent may take before the socket is opened anew: an agent that starts
/// only after the socket was opened may never see what was sent before.
const SYNC_PATIENCE: Duration = Duration::from_secs(3);

/// Pause between two attempts; they fail at once only while QEMU is still opening its socket.
const SYNC_PAUSE: Duration = Duration::from_millis(50);

/// The guest agent of one machine. Clones share the connection; commands of several tasks take turns in the order in
/// which they came.
#[derive(Debug, Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: String,
    socket: PathBuf,
    exit: ExitWatch,
    patience: Duration,
    /// Counts how often the agent has hung up. A connection made before the last time is of no more use.
    hang_ups: watch::Sender<u64>,
    wire: Mutex<Option<Connection>>,
}

/// A connection and the count of hang-ups when it was made.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    hang_ups: u64,
}

/// A time limit and where it counts from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) limit: Duration,
    pub(super) at: Instant,
}

impl Deadline {
    /// A limit that begins to run now.
    pub(super) fn after(limit: Duration) -> Self {
        Self {
            limit,
            at: Instant::now() + limit,
        }
    }
}

impl Agent {
    /// The agent behind QEMU's `socket`. `patience` is how long the answer to one command may take before the
    /// connection is given up as stuck, so that others get their turn; a command's own deadline may be longer.
    pub fn new(machine: &str, socket: PathBuf, exit: ExitWatch, patience: Duration) -> Self {
        let inner = Inner {
            machine: machine.to_owned(),
            socket,
            exit,
            patience,
            hang_ups: watch::Sender::new(0),
            wire: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// To be called when the agent has closed its end (the guest restarts, say), which its socket does not show:
    /// commands under way fail now instead of at their deadlines, and the next one connects anew.
    pub fn hang_up(&self) {
        self.inner.hang_ups.send_modify(|count| *count += 1);
    }

    /// The machine's name.
    pub fn machine(&self) -> &str {
        &self.inner.machine
    }

    /// Waits until the agent answers.
    ///
    /// # Errors
    /// The deadline passed, or the machine ended.
    pub async fn ping(&self, limit: Duration) -> Result<(), GuestError> {
        self.call("guest agent", &guest_ping {}, Deadline::after(limit))
            .await
            .map(|_| ())
    }

    /// Sends one command, once, and waits for its answer. Only getting in step is tried again until the deadline.
    pub(super) async fn call<C: QgaCommand>(
        &self,
        step: &str,
        command: &C,
        deadline: Deadline,
    ) -> Result<C::Ok, GuestError> {
        tokio::select! {
            biased;
            exit = self.inner.exit.wait() => {
                Err(GuestError::MachineEnded { machine: self.inner.machine.clone(), step: step.to_owned(), exit })
            }
            answer = self.call_living(step, command, deadline) => answer,
        }
    }

    async fn call_living<C: QgaCommand>(
        &self,
        step: &str,
        command: &C,
        deadline: Deadline,
    ) -> Result<C::Ok, GuestError> {
        let Ok(mut slot) = timeout_at(deadline.at, self.inner.wire.lock()).await else {
            return Err(self.late(step, deadline, "other commands held the agent's connection"));
        };
        // The connection leaves its slot while a command is under way: a caller that gives up in the middle drops it,
        // and the next one starts with a fresh one instead of reading somebody else's answer.
        let mut hang_ups = self.inner.hang_ups.subscribe();
        let current = *hang_ups.borrow_and_update();
        let mut connection = match slot.take().filter(|connection| connection.hang_ups == current) {
            Some(connection) => connection,
            None => Connection {
                wire: self.connect(step, deadline).await?,
                hang_ups: current,
            },
        };
        let patience = deadline.at.min(Instant::now() + self.inner.patience);
        let answer = tokio::select! {
            biased;
            answer = timeout_at(patience, connection.wire.call(command)) => answer,
            _ = hang_ups.changed() => return Err(self.refused(step, "the guest agent hung up".to_owned())),
        };
        match answer {
            Err(_) => Err(self.late(
                step,
                deadline,
                &format!("no answer to {} from the guest agent", C::NAME),
            )),
            Ok(Err(WireError::Io(error))) => Err(self.refused(step, error.to_string())),
            Ok(Err(WireError::Refused(reason))) => {
                *slot = Some(connection);
                Err(self.refused(step, reason))
            }
            Ok(Ok(answer)) => {
                *slot = Some(connection);
                Ok(answer)
            }
        }
    }

    async fn connect(&self, step: &str, deadline: Deadline) -> Result<Wire, GuestError> {
        loop {
            let attempt = deadline.at.min(Instant::now() + SYNC_PATIENCE);
            let last = match timeout_at(attempt, Wire::open(&self.inner.socket, rand::random::<u32>().into())).await {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(error)) => format!("the guest agent's socket: {error}"),
                Err(_) => "the guest agent did not answer to being brought in step".to_owned(),
            };
            if Instant::now() + SYNC_PAUSE >= deadline.at {
                return Err(self.late(step, deadline, &last));
            }
            tokio::time::sleep(SYNC_PAUSE).await;
        }
    }

    pub(super) fn late(&self, step: &str, deadline: Deadline, last: &str) -> GuestError {
        GuestError::Deadline {
            machine: self.inner.machine.clone(),
            step: step.to_owned(),
            limit: deadline.limit,
            last: last.to_owned(),
        }
    }

    pub(super) fn refused(&self, step: &str, reason: String) -> GuestError {
        GuestError::Refused {
            machine: self.inner.machine.clone(),
            step: step.to_owned(),
            reason,
        }
    }
}

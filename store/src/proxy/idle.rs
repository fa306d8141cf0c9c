//! Connections to Dovecot between two messages. A client that waits for the other node's confirmation needs none, so its
//! connection serves the next client meanwhile: Dovecot would otherwise keep a process for everybody who waits.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::backend::Backend;

/// So many are kept.
const MOST: usize = 16;

/// One that was not used for longer may be about to be closed by Dovecot.
const UNUSED: Duration = Duration::from_secs(20);

/// One that was made longer ago is not used again: a Dovecot that was reloaded goes on with its old configuration on it.
const OLD: Duration = Duration::from_secs(60);

/// The connections that nobody uses now.
#[derive(Debug, Default)]
pub struct Idle(Mutex<Vec<(Instant, Backend)>>);

impl Idle {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<(Instant, Backend)>) -> T) -> T {
        // What a panic elsewhere left is only a list of connections.
        let mut idle = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.retain(|(since, backend)| since.elapsed() < UNUSED && backend.made().elapsed() < OLD);
        work(&mut idle)
    }

    /// The one that was used last.
    pub fn take(&self) -> Option<Backend> {
        self.with(Vec::pop).map(|(_, backend)| backend)
    }

    /// One on which no message is begun.
    pub fn give(&self, backend: Backend) {
        self.with(|idle| {
            if idle.len() < MOST {
                idle.push((Instant::now(), backend));
            }
        });
    }
}

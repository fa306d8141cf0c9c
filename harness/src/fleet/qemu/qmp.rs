//! QEMU's control socket (QMP): commands that are `qapi`'s types, and the events that QEMU tells by itself, kept in
//! order so that a waiter can say from which moment on he wants to have seen one.
//!
//! The framing is ours: `qapi`'s own stream ends at the first event that its schema does not know, and QEMU adds events
//! with every release.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qapi::qmp::QmpCommand;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::guest::wire::{Answer, WireError, encode};

/// An event of QEMU, e.g. `STOP` (QEMU QMP Reference Manual).
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// What it carries; null if nothing.
    pub data: Value,
}

/// A line of the control socket.
#[derive(Debug, Deserialize)]
struct Line {
    event: Option<String>,
    #[serde(default)]
    data: Value,
    id: Option<u64>,
}

/// Called with every event as it arrives, before anybody who waits for it.
pub type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// The connection to one QEMU process.
#[derive(Debug)]
pub struct Qmp {
    writer: AsyncMutex<OwnedWriteHalf>,
    shared: Arc<Shared>,
    reader: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// Commands under way, by number. None once the connection has ended.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Vec<u8>>>>>,
    next: Mutex<u64>,
    events: watch::Sender<Vec<Event>>,
    on_event: OnEvent,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("events", &*self.events.borrow())
            .finish_non_exhaustive()
    }
}

impl Qmp {
    /// Connects and leaves the negotiation mode. The caller makes sure that QEMU lives.
    ///
    /// # Errors
    /// The socket cannot be connected to, or what answers is not QMP.
    pub async fn open(socket: &Path, limit: Duration, on_event: OnEvent) -> io::Result<Self> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "QMP did not greet in time");
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let mut lines = BufReader::new(reader).lines();
        let greeting = timeout(limit, lines.next_line())
            .await
            .map_err(late)??
            .unwrap_or_default();
        if !greeting.contains("\"QMP\"") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not a QMP greeting: {greeting:?}"),
            ));
        }
        let shared = Arc::new(Shared {
            pending: Mutex::new(Some(HashMap::new())),
            next: Mutex::new(0),
            events: watch::Sender::new(Vec::new()),
            on_event,
        });
        let reader = tokio::spawn(read(lines, Arc::clone(&shared)));
        let qmp = Self {
            writer: AsyncMutex::new(writer),
            shared,
            reader,
        };
        qmp.execute(&qapi::qmp::qmp_capabilities { enable: None }, limit)
            .await
            .map_err(io::Error::other)?;
        Ok(qmp)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// QEMU refused, the connection ended, or the time limit passed.
    pub async fn execute<C: QmpCommand>(&self, command: &C, limit: Duration) -> Result<C::Ok, WireError> {
        let deadline = Instant::now() + limit;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer to {} in time", C::NAME));
        let ended = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU closed its control socket");
        let (id, answer) = self.shared.register()?;
        let line = encode(&qapi::Execute::<&C, u64>::with_id(command, id))?;
        let sent = timeout_at(deadline, async { self.writer.lock().await.write_all(&line).await }).await;
        sent.map_err(late)??;
        let line = timeout_at(deadline, answer).await.map_err(late)?.map_err(ended)?;
        Answer::parse(&line)
    }

    /// How many events have come so far: a mark for [`Qmp::wait_event`].
    pub fn mark(&self) -> usize {
        self.shared.events.borrow().len()
    }

    /// Waits for the first event after `mark` that fits. The caller sets the time limit; ends with nothing when the
    /// connection ends.
    pub async fn wait_event(&self, mark: usize, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let mut events = self.shared.events.subscribe();
        loop {
            let found = events
                .borrow_and_update()
                .iter()
                .skip(mark)
                .find(|event| fits(event))
                .cloned();
            if found.is_some() || self.reader.is_finished() {
                return found;
            }
            if events.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    /// A number for a command, and where its answer will arrive.
    fn register(&self) -> io::Result<(u64, oneshot::Receiver<Vec<u8>>)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let (sender, receiver) = oneshot::channel();
        match self.pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(pending) => pending.insert(*next, sender),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "QEMU closed its control socket",
                ));
            }
        };
        Ok((*next, receiver))
    }

    fn take(&self, line: Vec<u8>) {
        let Ok(parsed) = serde_json::from_slice::<Line>(&line) else {
            return;
        };
        if let Some(name) = parsed.event {
            let event = Event {
                name,
                data: parsed.data,
            };
            (self.on_event)(&event);
            self.events.send_modify(|events| events.push(event));
        } else if let Some(id) = parsed.id {
            let waiting = self
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .map(|all| all.remove(&id));
            if let Some(Some(waiting)) = waiting {
                // The asker may have given up meanwhile.
                let _ = waiting.send(line);
            }
        }
    }

    /// Lets every waiter know that nothing more will come.
    fn end(&self) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.events.send_modify(|_| {});
    }
}

/// Reads the socket until it ends.
async fn read(mut lines: Lines<BufReader<OwnedReadHalf>>, shared: Arc<Shared>) {
    while let Ok(Some(line)) = lines.next_line().await {
        shared.take(line.into_bytes());
    }
    shared.end();
}

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
            // Asked first: whatever came before the end is looked through after it.
            let ended = self.shared.has_ended();
            let found = events
                .borrow_and_update()
                .iter()
                .skip(mark)
                .find(|event| fits(event))
                .cloned();
            if found.is_some() || ended {
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

    fn has_ended(&self) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).is_none()
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

#[cfg(test)]
mod tests {
    use qapi::qmp::{RunState, query_status, stop};
    use tempfile::TempDir;
    use tokio::net::UnixListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A QEMU of clay: greets, and answers every line with what `answer` makes of its command and number.
    fn fake(answer: impl Fn(&str, u64) -> String + Send + 'static) -> (TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).expect("a socket");
        tokio::spawn(async move {
            let (reader, mut writer) = listener.accept().await.expect("a connection").0.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer
                .write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\n")
                .await
                .expect("greeted");
            while let Ok(Some(line)) = lines.next_line().await {
                let command: Value = serde_json::from_str(&line).expect("JSON");
                let name = command["execute"].as_str().expect("a name");
                let said = answer(name, command["id"].as_u64().expect("a number"));
                if said.is_empty() || writer.write_all(said.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        (folder, socket)
    }

    fn done(id: u64) -> String {
        format!("{{\"return\": {{}}, \"id\": {id}}}\n")
    }

    async fn open(socket: &Path) -> Qmp {
        Qmp::open(socket, LIMIT, Box::new(|_| {})).await.expect("a connection")
    }

    #[tokio::test]
    async fn an_event_before_the_answer_is_kept_for_those_who_wait() {
        let (_folder, socket) = fake(|name, id| match name {
            "stop" => format!("{{\"event\": \"STOP\", \"timestamp\": {{}}}}\n{}", done(id)),
            _ => done(id),
        });
        let qmp = open(&socket).await;
        let mark = qmp.mark();
        qmp.execute(&stop {}, LIMIT).await.expect("stopped");
        let event = qmp.wait_event(mark, |event| event.name == "STOP").await;
        assert_eq!(event.map(|event| event.name).as_deref(), Some("STOP"));
    }

    #[tokio::test]
    async fn an_event_that_no_schema_knows_does_no_harm() {
        let (_folder, socket) = fake(|name, id| match name {
            "query-status" => {
                let event = "{\"event\": \"FROM_THE_FUTURE\", \"data\": {\"x\": 1}, \"timestamp\": {}}\n";
                format!("{event}{{\"return\": {{\"status\": \"running\", \"running\": true}}, \"id\": {id}}}\n")
            }
            _ => done(id),
        });
        let status = open(&socket)
            .await
            .execute(&query_status {}, LIMIT)
            .await
            .expect("a status");
        assert_eq!(status.status, RunState::running);
    }

    #[tokio::test]
    async fn an_event_before_the_mark_does_not_count() {
        let (_folder, socket) = fake(|name, id| match name {
            "stop" => format!("{{\"event\": \"STOP\", \"timestamp\": {{}}}}\n{}", done(id)),
            _ => done(id),
        });
        let qmp = open(&socket).await;
        qmp.execute(&stop {}, LIMIT).await.expect("stopped");
        let seen = timeout(
            Duration::from_millis(50),
            qmp.wait_event(qmp.mark(), |event| event.name == "STOP"),
        )
        .await;
        assert!(seen.is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_qemus_words() {
        let (_folder, socket) = fake(|name, id| match name {
            "stop" => format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no\"}}, \"id\": {id}}}\n"),
            _ => done(id),
        });
        let error = open(&socket).await.execute(&stop {}, LIMIT).await.expect_err("refused");
        assert_eq!(error.to_string(), "no");
    }

    #[tokio::test]
    async fn the_end_of_the_connection_ends_a_command_under_way() {
        let (_folder, socket) = fake(|name, id| if name == "stop" { String::new() } else { done(id) });
        let error = open(&socket).await.execute(&stop {}, LIMIT).await.expect_err("ended");
        assert_eq!(error.to_string(), "QEMU closed its control socket");
    }

    #[tokio::test]
    async fn the_end_of_the_connection_ends_a_wait_for_an_event() {
        let (_folder, socket) = fake(|name, id| if name == "stop" { String::new() } else { done(id) });
        let qmp = open(&socket).await;
        let (event, _) = tokio::join!(qmp.wait_event(0, |_| true), qmp.execute(&stop {}, LIMIT));
        assert_eq!(event, None);
    }

    #[tokio::test]
    async fn a_socket_that_does_not_greet_is_no_qmp() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (opened, _) = tokio::join!(Qmp::open(&socket, LIMIT, Box::new(|_| {})), async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(b"hello\n").await
        });
        assert!(opened.is_err_and(|error| error.to_string().starts_with("not a QMP greeting")));
    }
}

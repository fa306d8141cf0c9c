//! Writes a record while a run goes on: one clock, one order, one line of JSON an event, on disk before the next begins.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::{Event, Micros, Operation, Outcome, What, micros};

/// Why a record is not whole.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot write the record {}: {reason}; {events} events happened, {written} are in the file", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said when it first refused.
    pub reason: String,
    /// Events that happened by now.
    pub events: usize,
    /// Whole events in the file.
    pub written: usize,
}

/// A handle on the record of a run. Clones write the same record.
///
/// Each event is handed to the system in one write before [`Recorder::record`] returns, so a killed harness leaves
/// everything that happened. Recording itself never fails, so that a full disk does not change the course of a run; the
/// failure is kept, and [`Recorder::events`] and [`Recorder::check`] give it instead of a record that is not whole.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    next_id: AtomicU64,
    log: Mutex<Log>,
}

struct Log {
    events: Vec<Event>,
    file: Option<Sink>,
    followers: Vec<UnboundedSender<Event>>,
}

struct Sink {
    path: PathBuf,
    to: Box<dyn Write + Send>,
    written: usize,
    broken: Option<String>,
}

impl Recorder {
    /// Begins a record in a new file (`events.jsonl`). The clock starts now.
    ///
    /// # Errors
    /// The file cannot be made; a file that exists is not overwritten.
    pub fn create(path: &Path) -> io::Result<Recorder> {
        let file = File::options().write(true).create_new(true).open(path)?;
        Ok(Recorder::writing(path, Box::new(file)))
    }

    /// Begins a record that is kept in memory only.
    pub fn in_memory() -> Recorder {
        Recorder::with(None)
    }

    fn writing(path: &Path, to: Box<dyn Write + Send>) -> Recorder {
        Recorder::with(Some(Sink {
            path: path.to_owned(),
            to,
            written: 0,
            broken: None,
        }))
    }

    fn with(file: Option<Sink>) -> Recorder {
        let log = Mutex::new(Log {
            events: Vec::new(),
            file,
            followers: Vec::new(),
        });
        Recorder {
            shared: Arc::new(Shared {
                began: Instant::now(),
                next_id: AtomicU64::new(0),
                log,
            }),
        }
    }

    /// Appends an event and returns its moment. Events of all clones are in the order of their moments.
    pub fn record(&self, what: What) -> Micros {
        let mut log = self.log();
        // The clock is read under the lock: two clones can never append in the wrong order.
        let event = Event { at: self.now(), what };
        let at = event.at;
        if let Some(sink) = &mut log.file {
            sink.write(&event);
        }
        log.followers.retain(|follower| follower.send(event.clone()).is_ok());
        log.events.push(event);
        at
    }

    /// Records that a client begins an operation, and returns its number for [`Recorder::done`].
    pub fn invoke(&self, operation: Operation) -> u64 {
        let id = self.next_id();
        self.record(What::Invoke { id, operation });
        id
    }

    /// Records the outcome of the operation of that number.
    pub fn done(&self, id: u64, outcome: Outcome) -> Micros {
        self.record(What::Done { id, outcome })
    }

    /// A number that no other call on this record returns: for operations, mails and rows.
    pub fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Microseconds since the record began.
    pub fn now(&self) -> Micros {
        micros(self.shared.began.elapsed())
    }

    /// Everything recorded so far.
    ///
    /// # Errors
    /// An event did not reach the file.
    pub fn events(&self) -> Result<Vec<Event>, WriteError> {
        let log = self.log();
        log.whole()?;
        Ok(log.events.clone())
    }

    /// Whether everything recorded so far reached the file.
    ///
    /// # Errors
    /// An event did not.
    pub fn check(&self) -> Result<(), WriteError> {
        self.log().whole()
    }

    /// Follows the record: first what it holds already, then each event as it happens. Ends when every handle is gone.
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        let (follower, events) = unbounded_channel();
        let mut log = self.log();
        for event in &log.events {
            // Cannot fail: the receiver is still here.
            let _ = follower.send(event.clone());
        }
        log.followers.push(follower);
        events
    }

    /// The log, also after a panic elsewhere: an event is appended whole or not at all.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn whole(&self) -> Result<(), WriteError> {
        match &self.file {
            Some(Sink {
                path,
                written,
                broken: Some(reason),
                ..
            }) => Err(WriteError {
                path: path.clone(),
                reason: reason.clone(),
                events: self.events.len(),
                written: *written,
            }),
            _ => Ok(()),
        }
    }
}

impl Sink {
    /// Writes one line. After the first failure nothing more is written: the file may end in half a line, and an event
    /// appended to that would be unreadable too.
    fn write(&mut self, event: &Event) {
        if self.broken.is_some() {
            return;
        }
        let written = serde_json::to_vec(event).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.to.write_all(&line)?;
            self.to.flush()
        });
        match written {
            Ok(()) => self.written += 1,
            Err(error) => self.broken = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::read;

    fn note(text: &str) -> What {
        What::Note { text: text.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn moments_follow_one_clock_from_the_beginning_of_the_record() {
        let recorder = Recorder::in_memory();
        let first = recorder.record(note("at once"));
        tokio::time::advance(Duration::from_millis(1500)).await;
        let second = recorder.clone().record(note("later"));
        assert_eq!((first, second), (0, 1_500_000));
    }

    #[tokio::test]
    async fn events_are_in_the_file_before_anything_else_happens() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("events.jsonl");
        let recorder = Recorder::create(&path).expect("new file");
        recorder.record(note("one"));
        assert_eq!(read(&path).expect("readable").len(), 1);
        let id = recorder.invoke(Operation::WebmailLogin {
            user: "alice@example.org".into(),
        });
        recorder.done(id, Outcome::Ok { served_by: None });
        // The recorder is still open and was never flushed by hand: this is what a killed harness leaves.
        assert_eq!(read(&path).expect("readable"), recorder.events().expect("whole"));
    }

    #[test]
    fn a_record_never_overwrites_an_older_one() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("events.jsonl");
        Recorder::create(&path).expect("new file");
        let error = Recorder::create(&path).err().expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_full_disk_surfaces_and_names_the_file() {
        // Every write to this device fails with "no space left" (full(4)).
        let device = Path::new("/dev/full");
        let file = File::options().write(true).open(device).expect("/dev/full");
        let recorder = Recorder::writing(device, Box::new(file));
        assert!(recorder.check().is_ok());
        recorder.record(note("lost"));
        recorder.record(note("lost too"));
        let error = recorder.events().expect_err("not whole");
        assert_eq!((error.events, error.written), (2, 0));
        let text = error.to_string();
        assert!(text.contains("/dev/full") && text.contains("No space left"), "{text}");
    }

    #[test]
    fn nothing_is_appended_to_half_a_line() {
        /// Takes whole writes until the disk is full for a moment.
        struct Hiccup(Vec<io::Result<()>>);
        impl Write for Hiccup {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.pop().expect("no write after the failure").map(|()| bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let script = vec![Err(io::Error::from(io::ErrorKind::StorageFull)), Ok(())];
        let recorder = Recorder::writing(Path::new("events.jsonl"), Box::new(Hiccup(script)));
        for text in ["kept", "lost", "never tried"] {
            recorder.record(note(text));
        }
        let error = recorder.check().expect_err("not whole");
        assert_eq!((error.events, error.written), (3, 1));
    }

    #[tokio::test]
    async fn a_follower_misses_nothing_however_late_it_comes() {
        let recorder = Recorder::in_memory();
        recorder.record(note("before"));
        let mut follower = recorder.subscribe();
        recorder.record(note("after"));
        drop(recorder);
        let mut seen = Vec::new();
        while let Some(event) = follower.recv().await {
            seen.push(event.what);
        }
        assert_eq!(seen, [note("before"), note("after")]);
    }

    #[test]
    fn a_follower_that_left_does_not_disturb() {
        let recorder = Recorder::in_memory();
        drop(recorder.subscribe());
        recorder.record(note("alone"));
        assert_eq!(recorder.events().expect("whole").len(), 1);
    }

    #[test]
    fn clones_on_many_threads_keep_one_order_and_unique_numbers() {
        let recorder = Recorder::in_memory();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let recorder = recorder.clone();
                scope.spawn(move || {
                    for _ in 0..250 {
                        recorder.invoke(Operation::WebmailLogin { user: String::new() });
                    }
                });
            }
        });
        let events = recorder.events().expect("whole");
        assert!(events.is_sorted_by_key(|event| event.at));
        let ids = events.iter().filter_map(|event| match event.what {
            What::Invoke { id, .. } => Some(id),
            _ => None,
        });
        assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 1000);
    }
}

//! What a person sees of work that takes longer than a second: one line a phase with the time it took. On a terminal
//! the phases under way are shown as live spinners; elsewhere (CI logs) every beginning and every end is a plain line.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A phase began; `id` names it in the events that follow.
    Begin {
        /// Unique within one [`Progress`].
        id: u64,
        /// What is worked on: `image mail`, `tools`, `mail1`.
        subject: &'a str,
        /// What is being done: `installing 312 packages`.
        what: &'a str,
    },
    /// News of a running phase.
    Detail {
        /// The phase.
        id: u64,
        /// Its state now, replacing the last one.
        text: &'a str,
    },
    /// A phase ended.
    End {
        /// The phase.
        id: u64,
        /// What is worked on.
        subject: &'a str,
        /// What was done.
        what: &'a str,
        /// The result, empty when there is nothing to add.
        result: &'a str,
        /// Whether it succeeded; a phase that is dropped without [`Phase::done`] did not.
        ok: bool,
        /// How long it took.
        took: Duration,
    },
    /// A remark that belongs to no phase.
    Note {
        /// What it is about.
        subject: &'a str,
        /// The remark.
        text: &'a str,
    },
}

/// Receives the events; called from any thread.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// Where news of long work goes. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    sink: Arc<dyn Sink>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// News go to a sink of the caller's.
    pub fn new(sink: impl Sink + 'static) -> Self {
        Progress {
            sink: Arc::new(sink),
            next: Arc::default(),
        }
    }

    /// News go to standard error: spinners on a terminal, plain lines otherwise.
    pub fn terminal() -> Self {
        if std::io::stderr().is_terminal() {
            Self::new(Spinners::default())
        } else {
            Self::new(Lines::new())
        }
    }

    /// News go nowhere.
    pub fn silent() -> Self {
        Self::new(Silent)
    }

    /// Begins a phase. It ends when the returned value is dropped, as a failure unless [`Phase::done`] was called.
    pub fn phase(&self, subject: impl Into<String>, what: impl Into<String>) -> Phase {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let phase = Phase {
            sink: self.sink.clone(),
            id,
            subject: subject.into(),
            what: what.into(),
            result: String::new(),
            ok: false,
            began: Instant::now(),
        };
        self.sink.event(Event::Begin {
            id,
            subject: &phase.subject,
            what: &phase.what,
        });
        phase
    }

    /// Says something that belongs to no phase.
    pub fn note(&self, subject: &str, text: &str) {
        self.sink.event(Event::Note { subject, text });
    }
}

/// A phase under way.
#[must_use = "the phase ends when this is dropped"]
pub struct Phase {
    sink: Arc<dyn Sink>,
    id: u64,
    subject: String,
    what: String,
    result: String,
    ok: bool,
    began: Instant,
}

impl Phase {
    /// Says how far it is.
    pub fn detail(&self, text: &str) {
        self.sink.event(Event::Detail { id: self.id, text });
    }

    /// Ends the phase well; `result` may be empty.
    pub fn done(mut self, result: impl Into<String>) {
        self.ok = true;
        self.result = result.into();
    }

    /// Time since it began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.sink.event(Event::End {
            id: self.id,
            subject: &self.subject,
            what: &self.what,
            result: &self.result,
            ok: self.ok,
            took: self.began.elapsed(),
        });
    }
}

struct Silent;

impl Sink for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// The line that tells of a phase's end.
fn end_line(subject: &str, what: &str, result: &str, ok: bool, took: Duration) -> String {
    let mark = if ok { "✓" } else { "✗" };
    let result = if result.is_empty() {
        String::new()
    } else {
        format!(": {result}")
    };
    format!("{mark} {subject}: {what}{result} ({:.1} s)", took.as_secs_f64())
}

/// A phase that takes longer says how far it is that often, in a log that nobody looks at while it grows.
const NEWS: Duration = Duration::from_secs(30);

/// Plain lines, each with the time since the start.
struct Lines {
    began: Instant,
    /// The phases under way: what each works on, and when a line of it was last written.
    running: std::sync::Mutex<std::collections::HashMap<u64, (String, Instant)>>,
}

impl Lines {
    fn new() -> Self {
        Lines {
            began: Instant::now(),
            running: std::sync::Mutex::default(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut std::collections::HashMap<u64, (String, Instant)>) -> T) -> T {
        // A panic while the lock was held leaves phases that are merely stale.
        act(&mut self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What the phase works on, if its news are due.
    fn due(&self, id: u64) -> Option<String> {
        self.with(|running| {
            let (subject, last) = running.get_mut(&id)?;
            (last.elapsed() >= NEWS).then(|| {
                *last = Instant::now();
                subject.clone()
            })
        })
    }
}

impl Sink for Lines {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Begin { id, subject, what } => {
                self.with(|running| running.insert(id, (subject.to_owned(), Instant::now())));
                format!("… {subject}: {what}")
            }
            Event::Detail { id, text } => match self.due(id) {
                Some(subject) => format!("  {subject}: {text}"),
                None => return,
            },
            Event::End {
                id,
                subject,
                what,
                result,
                ok,
                took,
            } => {
                self.with(|running| running.remove(&id));
                end_line(subject, what, result, ok, took)
            }
            Event::Note { subject, text } => format!("• {subject}: {text}"),
        };
        eprintln!("[{:6.1} s] {line}", self.began.elapsed().as_secs_f64());
    }
}

/// Live spinners, one a phase under way; finished phases scroll up as lines.
#[derive(Default)]
struct Spinners {
    bars: MultiProgress,
    running: std::sync::Mutex<std::collections::HashMap<u64, ProgressBar>>,
}

impl Spinners {
    fn with<T>(&self, act: impl FnOnce(&mut std::collections::HashMap<u64, ProgressBar>) -> T) -> T {
        // A panic while the lock was held leaves bars that are merely stale.
        act(&mut self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn say(&self, line: &str) {
        // The terminal may be gone; the work goes on.
        let _ = self.bars.println(line);
    }
}

impl Sink for Spinners {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Begin { id, subject, what } => {
                let style = ProgressStyle::with_template("{spinner} {prefix} {msg} ({elapsed})")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
                bar.set_prefix(format!("{subject}: {what}"));
                bar.enable_steady_tick(Duration::from_millis(120));
                self.with(|running| running.insert(id, bar));
            }
            Event::Detail { id, text } => self.with(|running| {
                if let Some(bar) = running.get(&id) {
                    bar.set_message(text.to_owned());
                }
            }),
            Event::End {
                id,
                subject,
                what,
                result,
                ok,
                took,
            } => {
                if let Some(bar) = self.with(|running| running.remove(&id)) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                self.say(&end_line(subject, what, result, ok, took));
            }
            Event::Note { subject, text } => self.say(&format!("• {subject}: {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Sink for Heard {
        fn event(&self, event: Event<'_>) {
            let line = match event {
                Event::Begin { subject, what, .. } => format!("begin {subject} {what}"),
                Event::Detail { text, .. } => format!("detail {text}"),
                Event::End {
                    subject, result, ok, ..
                } => format!("end {subject} {result} {ok}"),
                Event::Note { subject, text } => format!("note {subject} {text}"),
            };
            self.0.lock().expect("no test panics with the lock").push(line);
        }
    }

    #[test]
    fn a_phase_that_is_dropped_early_counts_as_failed() {
        let heard = Heard::default();
        drop(Progress::new(heard.clone()).phase("image mail", "installing"));
        assert_eq!(
            *heard.0.lock().unwrap(),
            ["begin image mail installing", "end image mail  false"]
        );
    }

    #[test]
    fn a_phase_tells_its_detail_and_its_result() {
        let heard = Heard::default();
        let phase = Progress::new(heard.clone()).phase("tools", "fetching");
        phase.detail("3 of 7");
        phase.done("38 MB");
        assert_eq!(heard.0.lock().unwrap()[1..], ["detail 3 of 7", "end tools 38 MB true"]);
    }

    #[test]
    fn the_end_line_carries_result_and_duration() {
        let line = end_line("tools", "fetching QEMU", "38 MB", true, Duration::from_millis(7_040));
        assert_eq!(line, "✓ tools: fetching QEMU: 38 MB (7.0 s)");
    }
}

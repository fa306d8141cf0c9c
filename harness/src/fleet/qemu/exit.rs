//! How a QEMU process ended, and a watch on it that any number of waiters can hold: nobody waits on a dead machine.

use std::fmt;

use nix::sys::signal::Signal;
use tokio::sync::watch;

/// The end of a process, as its parent learnt it (`wait(2)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It exited by itself.
    Code(i32),
    /// A signal ended it.
    Signal(Signal),
    /// It was killed because it could never have gone on, for this reason.
    GivenUp(String),
    /// The wait itself failed.
    Lost(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with status {code}"),
            // A page of a mapped file that cannot be had (mmap(2)); its machine's memory is such a file.
            Exit::Signal(Signal::SIGBUS) => write!(f, "ended by SIGBUS: its memory's file has no room on the disk"),
            Exit::Signal(signal) => write!(f, "ended by {signal}"),
            Exit::GivenUp(why) => write!(f, "was given up: {why}"),
            Exit::Lost(why) => write!(f, "ended unobserved ({why})"),
        }
    }
}

/// A view on whether a process still lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ExitWatch {
    state: watch::Receiver<Option<Exit>>,
}

/// The side that announces the end.
#[derive(Debug)]
pub struct ExitNotice {
    state: watch::Sender<Option<Exit>>,
}

impl ExitWatch {
    /// A watch on a process that lives, and the side that announces its end.
    pub fn channel() -> (ExitNotice, ExitWatch) {
        let (sender, receiver) = watch::channel(None);
        (ExitNotice { state: sender }, ExitWatch { state: receiver })
    }

    /// The end, if it came already.
    pub fn ended(&self) -> Option<Exit> {
        self.state.borrow().clone()
    }

    /// Waits until the process has ended.
    pub async fn wait(&self) -> Exit {
        let mut state = self.state.clone();
        match state.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(|| Exit::Lost("no status".to_owned())),
            Err(_) => Exit::Lost("its keeper is gone".to_owned()),
        }
    }
}

impl ExitNotice {
    /// Tells every watcher.
    pub fn announce(&self, exit: Exit) {
        self.state.send_replace(Some(exit));
    }
}

//! An installation on this node. It runs as a transient unit of systemd (systemd-run(1)), for it may restart the agent that was
//! asked for it. What it says goes to a file, how it ended to another one, so that whoever waits can lose the connection and
//! ask again.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::history::History;
use super::local::Local;
use super::{HostError, State};

/// The transient unit. There is one: two installations at once would be in each other's way.
pub(super) const UNIT: &str = "cluster-release";

/// What is done with a release's bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// `install`.
    Install,
    /// `install --dry-run`.
    DryRun,
    /// `install --undo`.
    Undo,
}

impl Task {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Task::Install => &[],
            Task::DryRun => &["--dry-run"],
            Task::Undo => &["--undo"],
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Task::Install => "install",
            Task::DryRun => "dry-run",
            Task::Undo => "undo",
        }
    }
}

/// An installation, as it is noted in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Tells it from others.
    pub number: u64,
    /// Of which release.
    pub id: String,
    /// What is done.
    pub task: Task,
    /// Whether it went well; none while it has not ended.
    pub well: Option<bool>,
}

/// How far an installation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether it went well; none while it runs.
    pub well: Option<bool>,
    /// What it said from the asked place on.
    pub said: String,
    /// The place to ask from next, bytes.
    pub next: u64,
}

/// What it says at most in one answer, bytes.
const PIECE: u64 = 256 * 1024;

/// The two files of the installation that runs, or ran last.
#[derive(Debug, Clone)]
pub(super) struct Files {
    note: PathBuf,
    log: PathBuf,
}

impl Files {
    pub(super) fn below(folder: &Path) -> Files {
        Files {
            note: folder.join("installation.json"),
            log: folder.join("installation.log"),
        }
    }

    fn write(&self, job: &Job) -> io::Result<()> {
        let beside = self.note.with_extension("new");
        fs::write(&beside, serde_json::to_vec(job).map_err(io::Error::other)?)?;
        fs::rename(&beside, &self.note)
    }

    fn read(&self) -> Option<Job> {
        serde_json::from_slice(&fs::read(&self.note).ok()?).ok()
    }

    /// What was said from a place on; not more than an answer carries, and whole characters.
    fn said(&self, from: u64) -> io::Result<(String, u64)> {
        let mut log = match fs::File::open(&self.log) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), from)),
            Err(error) => return Err(error),
        };
        log.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        log.take(PIECE).read_to_end(&mut bytes)?;
        let whole = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            // Cut in the middle of a character: the rest comes with the next answer.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => bytes.len(),
        };
        let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
        Ok((text, from + whole as u64))
    }

    /// Whether an installation went well; none while it has not ended, as far as is noted.
    pub(super) fn ended(&self, number: u64) -> Option<bool> {
        self.noted(number)?.well
    }

    fn noted(&self, number: u64) -> Option<Job> {
        self.read().filter(|job| job.number == number)
    }

    /// What an installation said from a place on, and the place to ask from next.
    pub(super) fn heard(&self, number: u64, from: u64) -> io::Result<(String, u64)> {
        match self.noted(number) {
            Some(_) => self.said(from),
            // It has not come to write anything, and the log is another one's.
            None => Ok((String::new(), from)),
        }
    }
}

/// Carries an installation out, within the transient unit.
///
/// # Errors
/// It failed, or did not begin.
pub async fn run(local: &Local, number: u64, id: &str, task: Task) -> Result<(), HostError> {
    let files = local.files();
    let mut job = Job {
        number,
        id: id.to_owned(),
        task,
        well: None,
    };
    let refused = |error: io::Error| HostError::Refused(format!("{}: {error}", files.note.display()));
    fs::write(&files.log, "").map_err(refused)?;
    files.write(&job).map_err(refused)?;
    let done = carry_out(local, &files, id, task).await;
    if let Err(error) = &done {
        append(&files.log, &format!("{}: {error}\n", local.node()));
    }
    job.well = Some(done.is_ok());
    files.write(&job).map_err(refused)?;
    done
}

fn append(log: &Path, text: &str) {
    use std::io::Write as _;
    if let Ok(mut log) = fs::OpenOptions::new().append(true).open(log) {
        // The exit status tells as well.
        let _ = log.write_all(text.as_bytes());
    }
}

async fn carry_out(local: &Local, files: &Files, id: &str, task: Task) -> Result<(), HostError> {
    let release = local.find(id).await?;
    let history = History::below(local.backups());
    let before = history.last();
    if task == Task::Undo {
        match &release.installation {
            None => {
                let nothing = "had nothing to change here: nothing to take back";
                append(&files.log, &format!("{}: release {id} {nothing}\n", local.node()));
                return local.note(id, State::TakenBack, None).await;
            }
            Some(own) if before.as_ref() != Some(own) => {
                return Err(HostError::Refused(format!(
                    "another installation came after release {id} ({}): install the release that shall be in place",
                    before.as_deref().unwrap_or("none is recorded")
                )));
            }
            Some(_) => {}
        }
    }
    // One that was interrupted goes on, and is taken back as a whole by the script.
    let unfinished = matches!(release.state, State::Installing | State::Failed);
    let resumed = release.installation.filter(|_| unfinished);
    if task == Task::Install {
        local.note(id, State::Installing, resumed.as_deref()).await?;
    }
    let folder = local.mount(id).await?;
    let well = script(&folder.join(local.node()), task, &files.log).await;
    // It may be looked at meanwhile; then it stays mounted, which does no harm.
    let _ = local.unmount(id).await;
    let after = history.last();
    let made = if after == before { resumed } else { after };
    match (task, well) {
        (Task::DryRun, done) => done,
        (Task::Install, Ok(())) => local.note(id, State::Installed, made.as_deref()).await,
        (Task::Install, Err(error)) => {
            local.note(id, State::Failed, made.as_deref()).await?;
            Err(error)
        }
        (Task::Undo, Ok(())) => local.note(id, State::TakenBack, None).await,
        (Task::Undo, Err(error)) => Err(error),
    }
}

/// Runs the bundle's own script; what it says goes to the log. How long that may take is the transient unit's business.
async fn script(bundle: &Path, task: Task, log: &Path) -> Result<(), HostError> {
    let program = bundle.join("install");
    let refused = |error: io::Error| HostError::Refused(format!("{}: {error}", program.display()));
    let output = fs::OpenOptions::new().append(true).open(log).map_err(refused)?;
    let status = Command::new(&program)
        .args(task.arguments())
        .current_dir(bundle)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(refused)?)
        .stderr(output)
        .status()
        .await
        .map_err(refused)?;
    match status.success() {
        true => Ok(()),
        false => Err(HostError::Refused(format!("install ended with {status}"))),
    }
}

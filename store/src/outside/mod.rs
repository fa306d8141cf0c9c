//! What the agent touches besides ZFS: the doors, and Dovecot.

mod changes;
mod homes;
mod maildir;
mod merge;
mod mounts;
mod names;
mod share;
mod stash;
mod uids;
mod writers;

pub use self::maildir::{gateway_id, home_of, newest_ids};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;
use tokio::time::timeout;

use crate::act::{Conflicts, MergeJob, Outside, OutsideError};
use crate::config::{CommandLine, DoorsConfig, MailConfig};
use crate::deliveries::Deliveries;
use crate::zfs::Change;

/// The real thing.
pub struct Machine {
    doors: DoorsConfig,
    mail: MailConfig,
    mountpoint: std::path::PathBuf,
    deliveries: Arc<Deliveries>,
}

impl Machine {
    /// Of a configuration.
    pub fn new(config: &crate::config::Config, deliveries: Arc<Deliveries>) -> Machine {
        Machine {
            doors: config.doors.clone(),
            mail: config.mail.clone(),
            mountpoint: config.mountpoint.clone(),
            deliveries,
        }
    }
}

/// How a command ended.
pub(crate) struct Ended {
    /// Exit status; `None` after a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end; any exit status will do.
pub(crate) async fn run(line: &[String], limit: Duration) -> Result<Ended, OutsideError> {
    let shown = line.join(" ");
    let (program, args) = line
        .split_first()
        .ok_or_else(|| OutsideError("an empty command".to_owned()))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = timeout(limit, command.output())
        .await
        .map_err(|_| OutsideError(format!("`{shown}` was killed after {limit:?}")))?
        .map_err(|error| OutsideError(format!("`{shown}` cannot be run: {error}")))?;
    Ok(Ended {
        status: done.status.code(),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    })
}

/// Runs a command that has to end well, and gives its output.
pub(crate) async fn run_well(line: &[String], limit: Duration) -> Result<String, OutsideError> {
    well(line, run(line, limit).await?)
}

/// The output of a command that ended well.
pub(crate) fn well(line: &[String], ended: Ended) -> Result<String, OutsideError> {
    if ended.status == Some(0) {
        return Ok(ended.stdout);
    }
    let status = ended
        .status
        .map_or_else(|| "a signal".to_owned(), |status| format!("exit status {status}"));
    Err(OutsideError(format!(
        "`{}` ended with {status}: {}",
        line.join(" "),
        ended.stderr
    )))
}

async fn in_turn(commands: &[CommandLine], limit: Duration) -> Result<(), OutsideError> {
    for line in commands {
        run_well(line, limit).await?;
    }
    Ok(())
}

/// All of them, whatever becomes of each: half-closed is better than open. The error is the first one.
async fn each(commands: &[CommandLine], limit: Duration) -> Result<(), OutsideError> {
    let mut first = Ok(());
    for line in commands {
        let done = run_well(line, limit).await.map(drop);
        first = first.and(done);
    }
    first
}

#[async_trait]
impl Outside for Machine {
    async fn open_doors(&self) -> Result<(), OutsideError> {
        mounts::check(&self.mail.pid_file, Path::new("/proc"), &self.mountpoint)?;
        self.deliveries.load();
        in_turn(&self.doors.open, self.doors.limit.0).await
    }

    async fn close_doors(&self) -> Result<(), OutsideError> {
        each(&self.doors.close, self.doors.limit.0).await
    }

    async fn end_writers(&self) -> Result<(), OutsideError> {
        writers::end(Path::new("/proc"), &self.mountpoint).await
    }

    async fn lift_uids(&self) -> Result<(), OutsideError> {
        let limit = self.mail.lift_limit.0;
        let lift = async {
            in_turn(&self.mail.prepare, self.mail.limit.0).await?;
            uids::lift(&self.mail, &self.mountpoint).await
        };
        self.deliveries.forget();
        let active = timeout(limit, lift)
            .await
            .unwrap_or_else(|_| Err(OutsideError(format!("lifting UIDs was given up after {limit:?}"))))?;
        // Before their owners remove any of it; the doors need not wait, since a delivery looks by itself.
        let deliveries = self.deliveries.clone();
        tokio::spawn(async move { deliveries.look(&active).await });
        Ok(())
    }

    async fn announce(&self, tail: &str, tail_changes: &[Change]) -> Result<(), OutsideError> {
        let ids = merge::ids(&self.mail, &self.tail_mountpoint(), tail_changes);
        let name = tail.rsplit('/').next().unwrap_or(tail);
        let announced = self.deliveries.announce(name, &ids, self.mail.limit.0).await;
        announced.map_err(|error| OutsideError(format!("the messages of {tail} cannot be announced: {error}")))
    }

    async fn merge(&self, job: &MergeJob) -> Result<Conflicts, OutsideError> {
        merge::merge(&self.mail, job, &self.deliveries).await?;
        let (mail, job) = (self.mail.clone(), job.clone());
        let merged = tokio::task::spawn_blocking(move || homes::merge(&mail, &job)).await;
        merged.map_err(|error| OutsideError(error.to_string()))?
    }

    fn tail_mountpoint(&self) -> String {
        self.mail.tail_mountpoint.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> CommandLine {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn opening_stops_at_the_first_command_that_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark").to_string_lossy().into_owned();
        let commands = [line(&["false"]), line(&["touch", &mark])];
        assert!(in_turn(&commands, Duration::from_secs(10)).await.is_err());
        assert!(!std::path::Path::new(&mark).exists());
    }

    #[tokio::test]
    async fn closing_goes_on_after_a_command_that_fails_and_still_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark").to_string_lossy().into_owned();
        let commands = [line(&["false"]), line(&["touch", &mark])];
        let error = each(&commands, Duration::from_secs(10)).await.unwrap_err();
        assert!(error.to_string().contains("`false`"), "{error}");
        assert!(std::path::Path::new(&mark).exists());
    }
}

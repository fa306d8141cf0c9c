//! Starting commands, feeding them, and what they leave behind.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::zfs::ZfsError;

/// The last bytes of an error output that are kept.
pub const STDERR_KEPT: u64 = 8 * 1024;

fn text(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Starts a command whose complaints are read; also gives it as it is shown in errors.
pub fn start(command: &mut Command) -> Result<(Child, String), ZfsError> {
    let shown = text(command);
    match command.stderr(Stdio::piped()).spawn() {
        Ok(child) => Ok((child, shown)),
        Err(source) => Err(ZfsError::NotRun { command: shown, source }),
    }
}

pub fn build<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end and gives its standard output.
pub async fn output(mut command: Command, limit: Duration) -> Result<String, ZfsError> {
    let shown = text(&command);
    let done = match timeout(limit, command.output()).await {
        Err(_) => return Err(ZfsError::TooLong { command: shown, limit }),
        Ok(Err(source)) => return Err(ZfsError::NotRun { command: shown, source }),
        Ok(Ok(done)) => done,
    };
    well(&shown, &done)
}

/// Runs a program with its arguments to its end and gives its standard output.
pub async fn run<S: AsRef<OsStr>>(program: &str, args: &[S], limit: Duration) -> Result<String, ZfsError> {
    output(build(program, args), limit).await
}

/// Like [`output`], with something on standard input.
pub async fn fed(mut command: Command, input: &str, limit: Duration) -> Result<String, ZfsError> {
    let (mut child, shown) = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let not_run = |source| ZfsError::NotRun {
        command: shown.clone(),
        source,
    };
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading says why on standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(not_run)
    };
    match timeout(limit, work).await {
        Ok(done) => well(&shown, &done?),
        Err(_) => Err(ZfsError::TooLong { command: shown, limit }),
    }
}

/// The standard output of a command that ended well.
fn well(shown: &str, done: &std::process::Output) -> Result<String, ZfsError> {
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(ZfsError::Failed {
        command: shown.to_owned(),
        status: done.status.to_string(),
        stderr: String::from_utf8_lossy(&done.stderr).trim().to_owned(),
    })
}

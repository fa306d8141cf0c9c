//! Who still writes to the store after the doors are closed. A file that is open for writing keeps its file system from
//! becoming read-only (mount(2), EBUSY): one page of webmail that is still being made would keep the role here for as long as
//! it takes, and its client is gone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::act::OutsideError;

/// How long they may take to end by themselves, and then to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(50);

/// A process with a file of the store open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Writer {
    pid: i32,
    /// The name of its program, as the kernel has it.
    name: String,
    file: PathBuf,
}

/// Ends the processes that have a file below a mount point open for writing, but this one: asks first, and kills what is there
/// still. Such as come meanwhile are left: whoever calls tries what they were in the way of, and calls again.
///
/// # Errors
/// Some do not end.
pub async fn end(proc: &Path, mountpoint: &Path) -> Result<(), OutsideError> {
    let mut left = find(proc, mountpoint);
    for signal in [Signal::TERM, Signal::KILL] {
        for writer in &left {
            let (name, pid, file) = (&writer.name, writer.pid, writer.file.display());
            warn!("{name} (process {pid}) has {file} open for writing after the doors were closed: it gets {signal:?}");
            // It may have ended meanwhile.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
        }
        let until = Instant::now() + PATIENCE;
        while !left.is_empty() && Instant::now() < until {
            sleep(LOOK).await;
            let now = find(proc, mountpoint);
            left.retain(|writer| now.iter().any(|other| other.pid == writer.pid));
        }
    }
    match left.first() {
        None => Ok(()),
        Some(Writer { pid, name, file }) => Err(OutsideError(format!(
            "{name} (process {pid}) has {} open for writing and does not end",
            file.display()
        ))),
    }
}

/// Looks through all processes. One that ends meanwhile is passed over.
fn find(proc: &Path, mountpoint: &Path) -> Vec<Writer> {
    let own = std::process::id();
    let numbers = entries(proc).filter_map(|entry| entry.file_name()?.to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| u32::try_from(*pid) != Ok(own))
        .filter_map(|pid| {
            let folder = proc.join(pid.to_string());
            let file = entries(&folder.join("fd")).find_map(|link| written(&link, mountpoint))?;
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            Some(Writer {
                pid,
                name: name.trim().to_owned(),
                file,
            })
        })
        .collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let found = fs::read_dir(folder).into_iter().flatten();
    found.filter_map(|entry| Some(entry.ok()?.path()))
}

/// The file behind a descriptor if it lies there and is open for writing, which the link's mode tells (proc_pid_fd(5)).
fn written(link: &Path, mountpoint: &Path) -> Option<PathBuf> {
    let writable = fs::symlink_metadata(link).ok()?.mode() & 0o200 != 0;
    let file = fs::read_link(link).ok()?;
    (writable && file.starts_with(mountpoint)).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process with a file of the folder open, once it has it.
    fn holding(folder: &Path, script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut ready = [0];
        let mut said = child.stdout.take().expect("its output");
        std::io::Read::read_exact(&mut said, &mut ready).expect("it is ready");
        child
    }

    fn ended(child: &mut Child) -> bool {
        child.try_wait().expect("its state").is_some()
    }

    #[tokio::test]
    async fn who_writes_is_ended_and_who_reads_stays() {
        let store = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::write(store.path().join("read"), "").expect("a file");
        let mut writer = holding(store.path(), "exec 3>>written; echo; exec sleep 600");
        let mut reader = holding(store.path(), "exec 3<read; echo; exec sleep 600");
        let mut other = holding(elsewhere.path(), "exec 3>>written; echo; exec sleep 600");
        let reaped = std::thread::spawn(move || writer.wait());
        end(Path::new("/proc"), store.path()).await.expect("it ends");
        assert!(!reaped.join().expect("a thread").expect("its state").success());
        assert!(!ended(&mut reader) && !ended(&mut other));
        for mut child in [reader, other] {
            child.kill().expect("it ends");
            child.wait().expect("its state");
        }
    }

    #[tokio::test]
    async fn who_does_not_listen_is_killed() {
        let store = tempfile::tempdir().expect("a folder");
        let mut deaf = holding(store.path(), "trap '' TERM; exec 3>>written; echo; exec sleep 600");
        let reaped = std::thread::spawn(move || deaf.wait());
        end(Path::new("/proc"), store.path()).await.expect("it ends");
        let status = reaped.join().expect("a thread").expect("its state");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn where_nobody_writes_nobody_is_ended() {
        let store = tempfile::tempdir().expect("a folder");
        end(Path::new("/proc"), store.path()).await.expect("nothing to do");
    }
}

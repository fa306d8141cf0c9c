//! A QEMU process and its keeper: a thread that starts it, lives exactly as long as it, and tells how it ended.
//!
//! Machines must die with the harness, even when the harness is killed and has no say any more. The kernel does that
//! by the parent-death signal (prctl(2), PR_SET_PDEATHSIG), which `setpriv` sets before QEMU takes its place. The signal
//! is bound to the *thread* that started the process, hence one thread a process: a thread of the async runtime may end
//! while the machine should live. QEMU's own `-run-with exit-with-parent=on` is not in the releases used here.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::exit::{Exit, ExitWatch};

/// Runs the rest of its arguments if the process that asked for it is still its parent: closes the gap between the
/// birth of the process and the setting of the parent-death signal. `$0` is the parent's number.
const IF_PARENT_LIVES: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// A running process. Dropping it kills the process at once.
#[derive(Debug)]
pub struct Process {
    reins: Reins,
    exit: ExitWatch,
}

/// What ends a process. Cheap to clone; of no effect on a process that has ended.
#[derive(Debug, Clone)]
pub(super) struct Reins {
    pid: Pid,
    /// True while the number is ours to send signals to; the keeper takes it back before it buries the process.
    alive: Arc<Mutex<bool>>,
    /// Why the process was given up, if it was.
    cause: Arc<OnceLock<String>>,
}

impl Reins {
    /// Sends SIGKILL.
    ///
    /// # Errors
    /// The kernel refused.
    fn kill(&self) -> io::Result<()> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if *alive {
            kill(self.pid, Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Kills a process that is of no more use, so that everybody who waits for it learns why and not only that it ended.
    pub(super) fn give_up(&self, cause: &str) {
        // The first cause is the one that the others follow from.
        let _ = self.cause.set(cause.to_owned());
        let _ = self.kill();
    }
}

impl Process {
    /// Starts a program in a process group of its own (a Ctrl-C at the terminal is the harness's affair), with its
    /// output added to `log`. It ends at the latest with this process.
    ///
    /// # Errors
    /// The log cannot be opened, or `setpriv` (package util-linux) or the program cannot be started.
    pub fn start(argv: &[OsString], env: &[(OsString, OsString)], log: &Path) -> io::Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let command = command(argv, env, output)?;
        let (alive, cause) = (Arc::new(Mutex::new(true)), Arc::new(OnceLock::new()));
        let (notice, exit) = ExitWatch::channel();
        let (report, started) = mpsc::sync_channel(1);
        let (keeper_alive, keeper_cause) = (Arc::clone(&alive), Arc::clone(&cause));
        thread::Builder::new()
            .name("machine-keeper".to_owned())
            .spawn(move || {
                let end = keep(command, &report, &keeper_alive);
                let cause = keeper_cause.get().cloned().map(Exit::GivenUp);
                if let Some(end) = end {
                    notice.announce(cause.unwrap_or(end));
                }
            })?;
        let pid = started
            .recv()
            .map_err(|_| io::Error::other("the keeper thread ended"))??;
        let reins = Reins { pid, alive, cause };
        Ok(Self { reins, exit })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.reins.pid.as_raw().unsigned_abs()
    }

    /// What ends it, for somebody who lives longer than a borrow.
    pub(super) fn reins(&self) -> Reins {
        self.reins.clone()
    }

    /// A watch on its end.
    pub fn exit(&self) -> &ExitWatch {
        &self.exit
    }

    /// Sends SIGKILL. Does nothing to a process that has ended.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill(&self) -> io::Result<()> {
        self.reins.kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to be done about a kernel that refuses; the parent-death signal still stands.
        let _ = self.kill();
    }
}

fn command(argv: &[OsString], env: &[(OsString, OsString)], output: File) -> io::Result<Command> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", IF_PARENT_LIVES])
        .arg(std::process::id().to_string())
        .args(argv)
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0);
    Ok(command)
}

/// The keeper's life: start, wait, take back the number, bury. Nothing if there was no process.
fn keep(mut command: Command, report: &mpsc::SyncSender<io::Result<Pid>>, alive: &Mutex<bool>) -> Option<Exit> {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // The starter waits for this report; if it is gone, nobody wants the process.
            let _ = report.send(Err(error));
            return None;
        }
    };
    let pid = Pid::from_raw(child.id().cast_signed());
    let wanted = report.send(Ok(pid)).is_ok();
    if !wanted {
        let _ = child.kill();
    }
    Some(wait(&mut child, pid, alive))
}

/// Waits without burying, so that the number cannot pass to another process while somebody may still send signals to
/// it, and buries once nobody can.
fn wait(child: &mut Child, pid: Pid, alive: &Mutex<bool>) -> Exit {
    let ended = loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    *alive.lock().unwrap_or_else(PoisonError::into_inner) = false;
    let buried = child.wait();
    match (ended, buried) {
        (Ok(WaitStatus::Exited(_, code)), _) => Exit::Code(code),
        (Ok(WaitStatus::Signaled(_, signal, _)), _) => Exit::Signal(signal),
        (Ok(other), _) => Exit::Lost(format!("{other:?}")),
        (Err(error), _) => Exit::Lost(error.to_string()),
    }
}

/// The most memory that a process has held so far, bytes; `None` when it is gone.
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    high_water_mark(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// `VmHWM` out of a process's `status` file, which counts in KiB (proc_pid_status(5)).
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(argv: &[&str]) -> (Process, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        (
            Process::start(&argv, &[], &folder.path().join("log")).expect("started"),
            folder,
        )
    }

    #[tokio::test]
    async fn the_exit_status_of_a_process_is_told() {
        let (process, _folder) = start(&["sh", "-c", "exit 7"]);
        assert_eq!(process.exit().wait().await, Exit::Code(7));
    }

    #[tokio::test]
    async fn a_killed_process_is_told_with_its_signal() {
        let (process, _folder) = start(&["sleep", "600"]);
        process.kill().expect("killed");
        assert_eq!(process.exit().wait().await, Exit::Signal(Signal::SIGKILL));
    }

    #[tokio::test]
    async fn a_process_that_was_given_up_is_told_with_the_first_cause() {
        let (process, _folder) = start(&["sleep", "600"]);
        process.reins().give_up("no space left");
        process.reins().give_up("something else");
        assert_eq!(process.exit().wait().await, Exit::GivenUp("no space left".into()));
    }

    #[tokio::test]
    async fn killing_a_dead_process_does_nothing() {
        let (process, _folder) = start(&["true"]);
        process.exit().wait().await;
        process.kill().expect("no error");
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed() {
        let (process, _folder) = start(&["sleep", "600"]);
        let exit = process.exit().clone();
        drop(process);
        assert_eq!(exit.wait().await, Exit::Signal(Signal::SIGKILL));
    }

    #[tokio::test]
    async fn what_a_process_says_is_in_its_log() {
        let (process, folder) = start(&["sh", "-c", "echo out; echo err >&2"]);
        process.exit().wait().await;
        assert_eq!(
            std::fs::read_to_string(folder.path().join("log")).expect("a log"),
            "out\nerr\n"
        );
    }

    /// Set for the stand-in harness: the folder in which it is to write its process's number.
    const STAND_IN: &str = "STAND_IN_HARNESS_FOLDER";

    /// What the test below kills: a harness with one running process.
    #[tokio::test]
    #[ignore = "is started by a_process_dies_with_a_killed_harness"]
    async fn stand_in_harness() {
        let folder = std::path::PathBuf::from(std::env::var_os(STAND_IN).expect("started by the other test"));
        let argv = ["sleep", "600"].map(OsString::from);
        let process = Process::start(&argv, &[], &folder.join("log")).expect("started");
        std::fs::write(folder.join("new"), process.pid().to_string()).expect("written");
        std::fs::rename(folder.join("new"), folder.join("pid")).expect("renamed");
        process.exit().wait().await;
    }

    /// Polls until `look` gives something, for at most ten seconds.
    fn poll<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
        (0..1000).find_map(|_| {
            thread::sleep(std::time::Duration::from_millis(10));
            look()
        })
    }

    /// Whether a process is gone, or dead and only not yet buried.
    fn is_dead(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    }

    #[test]
    fn a_process_dies_with_a_killed_harness() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut harness = Command::new(std::env::current_exe().expect("the test program"))
            .args(["--ignored", "--exact", "fleet::qemu::process::tests::stand_in_harness"])
            .env(STAND_IN, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("a stand-in");
        let pid = poll(|| std::fs::read_to_string(folder.path().join("pid")).ok()).and_then(|text| text.parse().ok());
        let pid: u32 = pid.expect("a process");
        let lived = !is_dead(pid);
        harness.kill().expect("killed");
        harness.wait().expect("buried");
        assert!(lived && poll(|| is_dead(pid).then_some(())).is_some());
    }

    #[test]
    fn peak_memory_is_read_in_bytes() {
        assert_eq!(high_water_mark("Name:\tqemu\nVmHWM:\t  859372 kB\n"), Some(879_996_928));
        assert_eq!(high_water_mark("Name:\tqemu\n"), None);
    }
}

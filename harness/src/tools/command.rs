//! Running other programs so that none outlives this one: each is the leader of a process group that is killed when
//! its handle is dropped, and asks the kernel to be killed when the harness dies without a chance to drop anything.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::ToolError;

/// How many of a failed program's last lines go into the error.
const TAIL_LINES: usize = 15;
/// And how many characters of each: programs quote command lines of kilobytes.
const TAIL_WIDTH: usize = 220;

/// A program with the words that come before its own arguments, such as a private root's loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The words to start it with; the first is the file to execute.
    pub argv: Vec<OsString>,
    /// Environment it needs besides the harness's own.
    pub env: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program of the host.
    pub fn host(path: impl Into<OsString>) -> Self {
        Program {
            argv: vec![path.into()],
            env: Vec::new(),
        }
    }

    /// A command that runs it; arguments are to be appended.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]);
        command.envs(self.env.iter().cloned());
        command
    }
}

/// Looks a program up in `PATH` and in the administrator's folders, which an ordinary user's `PATH` lacks.
pub fn find_on_host(name: &str) -> Option<Program> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .map(Program::host)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A program that was started: leader of a process group that dies with this handle.
#[derive(Debug)]
pub struct Running {
    /// The child, for its pipes and for waiting.
    pub child: Child,
    group: Option<Pid>,
}

impl Running {
    /// Starts `command` with no standard input unless one was set through `stdin`.
    ///
    /// # Errors
    /// When the program cannot be started, with its name.
    pub fn start(command: Command, stdin: Stdio, stdout: Stdio) -> Result<Self, ToolError> {
        let mut command = die_with_parent(command);
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .map_err(|source| ToolError::io(format!("start {name}"), source))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Running { child, group })
    }

    /// Waits for the end and returns the status with everything written to standard error.
    ///
    /// # Errors
    /// When waiting itself fails, or the deadline passes; the whole group is dead then.
    pub async fn finish(self, step: &str, deadline: Duration) -> Result<(ExitStatus, String), ToolError> {
        self.finish_with(step, deadline, |_| ()).await
    }

    /// The same, and tells every line of standard error as it comes.
    ///
    /// # Errors
    /// As [`Running::finish`].
    pub async fn finish_with(
        mut self,
        step: &str,
        deadline: Duration,
        mut tell: impl FnMut(&str),
    ) -> Result<(ExitStatus, String), ToolError> {
        let stderr = self.child.stderr.take();
        let (child, group) = (&mut self.child, &mut self.group);
        let end = async {
            let status = child.wait().await;
            // The leader's end is the end of all: a helper that it left behind would keep the pipes open for ever.
            if let Some(group) = group.take() {
                let _ = killpg(group, Signal::SIGKILL);
            }
            status
        };
        let work = async { tokio::join!(end, read_lines(stderr, &mut tell)) };
        match tokio::time::timeout(deadline, work).await {
            Ok((Ok(status), Ok(text))) => Ok((status, text)),
            Ok((Err(source), _) | (_, Err(source))) => Err(ToolError::io(step.to_owned(), source)),
            Err(_) => Err(ToolError::Failed {
                step: step.to_owned(),
                reason: format!("no end within {} s", deadline.as_secs()),
                output: String::new(),
            }),
        }
    }
}

/// Reads a pipe to its end; bytes that are no UTF-8 are replaced.
async fn read_lines(pipe: Option<ChildStderr>, tell: &mut impl FnMut(&str)) -> std::io::Result<String> {
    let mut text = String::new();
    let Some(pipe) = pipe else { return Ok(text) };
    let (mut reader, mut line) = (BufReader::new(pipe), Vec::new());
    while reader.read_until(b'\n', &mut line).await? > 0 {
        let decoded = String::from_utf8_lossy(&line);
        tell(decoded.trim_end());
        text.push_str(&decoded);
        line.clear();
    }
    Ok(text)
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(group), Some(_)) = (self.group, self.child.id()) {
            // The group may be gone already, which is what is wanted.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Wraps a command in util-linux's `setpriv --pdeathsig`, so that it dies with the harness even when that is killed.
fn die_with_parent(command: Command) -> Command {
    let Some(setpriv) = find_on_host("setpriv") else {
        return command;
    };
    let inner = command.as_std();
    let mut outer = setpriv.command();
    outer
        .args(["--pdeathsig", "KILL", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// What a program that ended well wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end and returns both outputs, whatever the status.
///
/// # Errors
/// When it cannot be started or the deadline passes.
pub async fn run_any(step: &str, command: Command, deadline: Duration) -> Result<(ExitStatus, Output), ToolError> {
    let mut running = Running::start(command, Stdio::null(), Stdio::piped())?;
    let mut pipe = running.child.stdout.take();
    let reader = tokio::spawn(async move {
        let mut text = Vec::new();
        if let Some(pipe) = pipe.as_mut() {
            pipe.read_to_end(&mut text).await?;
        }
        Ok::<_, std::io::Error>(text)
    });
    let (status, stderr) = running.finish(step, deadline).await?;
    let stdout = match reader.await {
        Ok(Ok(text)) => String::from_utf8_lossy(&text).into_owned(),
        Ok(Err(source)) => return Err(ToolError::io(step.to_owned(), source)),
        Err(_) => String::new(),
    };
    Ok((status, Output { stdout, stderr }))
}

/// Runs a program that has to succeed.
///
/// # Errors
/// Also when it ends with another status than 0; the error carries its last lines.
pub async fn run(step: &str, command: Command, deadline: Duration) -> Result<Output, ToolError> {
    let (status, output) = run_any(step, command, deadline).await?;
    if status.success() {
        return Ok(output);
    }
    Err(failed(step, status, &format!("{}\n{}", output.stdout, output.stderr)))
}

/// The error of a program that ended badly.
pub fn failed(step: &str, status: ExitStatus, output: &str) -> ToolError {
    // A full disk shows up in a hundred forms and has one meaning.
    let full = output.contains("No space left on device");
    let reason = if full {
        "the disk is full".to_owned()
    } else {
        status.to_string()
    };
    ToolError::Failed {
        step: step.to_owned(),
        reason,
        output: tail(output),
    }
}

/// The last non-empty lines of a program's output, indented for an error text.
pub fn tail(output: &str) -> String {
    let lines: Vec<&str> = output
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("\n    {}", shortened(line)))
        .collect()
}

/// A line that a person reads to its end.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(TAIL_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_program_brings_its_last_words() {
        let mut command = Program::host("sh").command();
        command.args(["-c", "echo first; echo last >&2; exit 3"]);
        let error = run("trying", command, Duration::from_secs(10))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("trying") && error.contains("exit status: 3") && error.contains("last"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_at_its_deadline_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("pid");
        let mut command = Program::host("sh").command();
        command.args(["-c", &format!("sleep 600 & echo $! > {}; wait", mark.display())]);
        let error = run("waiting", command, Duration::from_millis(400)).await.unwrap_err();
        assert!(error.to_string().contains("no end within"), "{error}");
        let pid: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        let gone = || !Path::new(&format!("/proc/{pid}/cmdline")).exists() || cmdline(pid).is_empty();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while !gone() && std::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(gone(), "the grandchild lives on");
    }

    /// Empty for a zombie that its new parent has not yet collected.
    fn cmdline(pid: i32) -> Vec<u8> {
        std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_helper_that_is_left_behind_with_the_pipes_keeps_nobody_waiting() {
        let mut command = Program::host("sh").command();
        command.args(["-c", "sleep 600 & exit 3"]);
        let began = std::time::Instant::now();
        let (status, _) = run_any("leaving", command, Duration::from_secs(60)).await.unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_full_disk_is_told_as_one() {
        let mut command = Program::host("sh").command();
        command.args(["-c", "echo 'cannot write: No space left on device' >&2; exit 25"]);
        let error = run("installing", command, Duration::from_secs(10))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("the disk is full"), "{error}");
    }

    #[test]
    fn a_line_of_kilobytes_is_cut() {
        assert_eq!(tail(&"ä".repeat(5000)).chars().count(), 5 + TAIL_WIDTH + 1);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..40).map(|n| format!("line {n}\n")).collect();
        assert!(tail(&text).starts_with("\n    line 25") && tail(&text).ends_with("line 39"));
    }
}

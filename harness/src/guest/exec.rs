//! Commands on a machine. The agent starts one and gives a number; the end is asked for in short calls, so that any
//! number of commands can run side by side over the one connection.

use std::time::Duration;

use qapi::qga::{GuestExecStatus, guest_exec, guest_exec_status};
use tokio::time::Instant;

use super::agent::{Agent, Deadline};
use super::error::GuestError;
use crate::fleet::ExecOutput;

/// First pause before asking whether a command has ended.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest pause between two such questions. Until then a pause is a tenth of the time that the command has run: the end
/// is noticed a tenth late at most, and a long command is not held up by questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a command finds in its environment; the agent's own has neither HOME nor a locale.
const ENVIRONMENT: [&str; 4] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LC_ALL=C.UTF-8",
    "TERM=dumb",
];

/// Longest piece of output shown in an error.
const SHOWN: usize = 600;

impl Agent {
    /// Runs a command (no shell) and waits for its end. Exit statuses other than 0 are no error.
    ///
    /// # Errors
    /// The deadline passed (the command may still be running), the machine ended, the agent could not start the
    /// command, or its output exceeded the agent's limit of 16 MiB a stream.
    pub async fn exec<S: AsRef<str>>(
        &self,
        argv: &[S],
        stdin: Option<&[u8]>,
        limit: Duration,
    ) -> Result<ExecOutput, GuestError> {
        let step = shown_command(argv);
        let deadline = Deadline::after(limit);
        let pid = self.spawn(&step, argv, stdin, deadline).await?;
        let began = Instant::now();
        loop {
            let pause = (began.elapsed() / 10).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.pause(&step, pause, deadline).await?;
            if let Some(status) = self.poll_exec(&step, pid, deadline).await? {
                return output(self, &step, status);
            }
        }
    }

    /// Runs a command that has to succeed; gives its standard output.
    ///
    /// # Errors
    /// As [`Agent::exec`], and any exit status but 0, with the end of what the command said.
    pub async fn run<S: AsRef<str>>(&self, argv: &[S], limit: Duration) -> Result<String, GuestError> {
        let output = self.exec(argv, None, limit).await?;
        if output.status == 0 {
            return Ok(output.stdout);
        }
        Err(self.failed(&shown_command(argv), &output))
    }

    /// Runs a POSIX shell script with arguments `$1`, `$2`, ...; it has to succeed. `name` stands for the script in
    /// errors.
    ///
    /// # Errors
    /// As [`Agent::run`].
    pub async fn script(&self, name: &str, script: &str, args: &[&str], limit: Duration) -> Result<String, GuestError> {
        let mut argv = vec!["/bin/sh", "-euc", script, name];
        argv.extend(args);
        let output = self
            .exec(&argv, None, limit)
            .await
            .map_err(|error| renamed(error, name))?;
        if output.status == 0 {
            return Ok(output.stdout);
        }
        Err(self.failed(name, &output))
    }

    /// Starts a command and gives its number.
    pub(super) async fn spawn<S: AsRef<str>>(
        &self,
        step: &str,
        argv: &[S],
        stdin: Option<&[u8]>,
        deadline: Deadline,
    ) -> Result<i64, GuestError> {
        let mut words = argv.iter().map(|word| word.as_ref().to_owned());
        let Some(path) = words.next() else {
            return Err(self.refused(step, "no command was given".to_owned()));
        };
        let command = guest_exec {
            path,
            arg: Some(words.collect()),
            env: Some(ENVIRONMENT.map(str::to_owned).to_vec()),
            input_data: stdin.map(<[u8]>::to_vec),
            capture_output: Some(qapi::qga::GuestExecCaptureOutput::flag(true)),
        };
        Ok(self.call(step, &command, deadline).await?.pid)
    }

    /// The status of a command that has ended, or nothing while it runs. An agent that is silent for a while (its
    /// machine stands still, say) is asked again until the deadline.
    pub(super) async fn poll_exec(
        &self,
        step: &str,
        pid: i64,
        deadline: Deadline,
    ) -> Result<Option<GuestExecStatus>, GuestError> {
        match self.call(step, &guest_exec_status { pid }, deadline).await {
            Ok(status) if status.exited => Ok(Some(status)),
            Ok(_) => Ok(None),
            Err(GuestError::Deadline { .. }) if Instant::now() < deadline.at => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits before the next question, but not beyond the deadline.
    pub(super) async fn pause(&self, step: &str, pause: Duration, deadline: Deadline) -> Result<(), GuestError> {
        tokio::time::sleep_until(deadline.at.min(Instant::now() + pause)).await;
        if Instant::now() >= deadline.at {
            return Err(self.late(step, deadline, "the command was still running, and may go on"));
        }
        Ok(())
    }

    pub(super) fn failed(&self, step: &str, output: &ExecOutput) -> GuestError {
        let said = if output.stderr.trim().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        GuestError::Failed {
            machine: self.machine().to_owned(),
            step: step.to_owned(),
            status: output.status,
            output: tail(said.trim()).to_owned(),
        }
    }
}

/// The agent's status as output; refuses output that the agent cut short.
pub(super) fn output(agent: &Agent, step: &str, status: GuestExecStatus) -> Result<ExecOutput, GuestError> {
    if status.out_truncated == Some(true) || status.err_truncated == Some(true) {
        return Err(agent.refused(
            step,
            "its output exceeded the guest agent's limit and was cut short".to_owned(),
        ));
    }
    let text = |data: Option<Vec<u8>>| String::from_utf8_lossy(&data.unwrap_or_default()).into_owned();
    Ok(ExecOutput {
        status: exit_status(status.exitcode, status.signal),
        stdout: text(status.out_data),
        stderr: text(status.err_data),
    })
}

/// The exit status as a shell tells it: 128 + signal number for a command that a signal ended.
fn exit_status(code: Option<i64>, signal: Option<i64>) -> i32 {
    let status = match (signal, code) {
        (Some(signal), _) => 128 + signal,
        (None, Some(code)) => code,
        (None, None) => 255,
    };
    i32::try_from(status).unwrap_or(255)
}

/// A command as it is shown in errors: on one line, long words shortened.
fn shown_command<S: AsRef<str>>(argv: &[S]) -> String {
    let words = argv.iter().map(|word| {
        let line = word.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() > 60 {
            line.chars().take(57).chain("...".chars()).collect()
        } else {
            line
        }
    });
    words.collect::<Vec<String>>().join(" ")
}

/// The end of a text, cut at a character.
fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn renamed(error: GuestError, name: &str) -> GuestError {
    let mut error = error;
    match &mut error {
        GuestError::Deadline { step, .. }
        | GuestError::MachineEnded { step, .. }
        | GuestError::Refused { step, .. }
        | GuestError::Failed { step, .. } => name.clone_into(step),
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ended_by_a_signal_has_status_128_and_the_signal() {
        assert_eq!(exit_status(None, Some(9)), 137);
    }

    #[test]
    fn a_command_that_exited_keeps_its_code() {
        assert_eq!(exit_status(Some(3), None), 3);
    }

    #[test]
    fn a_long_script_is_shown_as_one_short_line() {
        let script = format!("set -e\n  {}", "x ".repeat(100));
        insta::assert_snapshot!(shown_command(&["sh", "-c", &script]), @"sh -c set -e x x x x x x x x x x x x x x x x x x x x x x x x x ...");
    }

    #[test]
    fn the_tail_of_a_text_is_cut_at_a_character() {
        let text = "ü".repeat(SHOWN);
        assert_eq!(tail(&text).chars().count(), SHOWN / 2);
    }
}

//! Commands whose output is read line by line while they run.

use std::time::Duration;

use qapi::qga::guest_file_close;

use super::agent::{Agent, Deadline};
use super::error::GuestError;
use super::exec::output;
use crate::fleet::ExecOutput;

/// Pause between two looks at the output of a running command. Each look is three questions to the agent, which the guest
/// has to answer beside its work; people who watch an installation need no more than one a second.
const PAUSE: Duration = Duration::from_secs(1);

/// One of the two outputs of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Output on its way: whole lines are given out, an unfinished one is kept back.
#[derive(Debug, Default)]
struct Lines {
    all: Vec<u8>,
    told: usize,
}

impl Lines {
    /// Takes new bytes and tells every line that they complete.
    fn take(&mut self, bytes: &[u8], mut tell: impl FnMut(&str)) {
        self.all.extend_from_slice(bytes);
        while let Some(end) = self.all[self.told..].iter().position(|byte| *byte == b'\n') {
            tell(String::from_utf8_lossy(&self.all[self.told..self.told + end]).trim_end());
            self.told += end + 1;
        }
    }

    /// Tells what is left when no newline will come any more, and gives the whole text.
    fn finish(self, mut tell: impl FnMut(&str)) -> String {
        if self.told < self.all.len() {
            tell(String::from_utf8_lossy(&self.all[self.told..]).trim_end());
        }
        String::from_utf8_lossy(&self.all).into_owned()
    }
}

/// A file of the machine that a running command writes into.
struct Tap {
    stream: Stream,
    handle: i64,
    lines: Lines,
}

impl Agent {
    /// Runs a command and tells its lines while it runs. Its outputs go to `<log>.out` and `<log>.err` on the machine
    /// and stay there. Exit statuses other than 0 are no error.
    ///
    /// # Errors
    /// As [`Agent::exec`].
    pub async fn exec_streaming(
        &self,
        step: &str,
        argv: &[&str],
        log: &str,
        limit: Duration,
        mut tell: impl FnMut(Stream, &str) + Send,
    ) -> Result<ExecOutput, GuestError> {
        let deadline = Deadline::after(limit);
        let (out, err) = (format!("{log}.out"), format!("{log}.err"));
        self.script(step, r#": >"$1"; : >"$2""#, &[&out, &err], limit).await?;
        let redirect = r#"out="$1"; err="$2"; shift 2; exec "$@" >"$out" 2>"$err""#;
        let mut words = vec!["/bin/sh", "-c", redirect, "sh", &out, &err];
        words.extend(argv);
        let pid = self.spawn(step, &words, None, deadline).await?;
        let mut taps = [
            Tap {
                stream: Stream::Out,
                handle: self.open(step, &out, "r", deadline).await?,
                lines: Lines::default(),
            },
            Tap {
                stream: Stream::Err,
                handle: self.open(step, &err, "r", deadline).await?,
                lines: Lines::default(),
            },
        ];
        let ended = self.follow(step, pid, &mut taps, deadline, &mut tell).await;
        for tap in &taps {
            // A machine that no longer answers has nothing to close; what matters is how the command ended.
            let _ = self
                .call(step, &guest_file_close { handle: tap.handle }, deadline)
                .await;
        }
        let mut ended = ended?;
        let [out, err] = taps;
        ended.stdout = out.lines.finish(|line| tell(Stream::Out, line));
        ended.stderr = err.lines.finish(|line| tell(Stream::Err, line));
        Ok(ended)
    }

    async fn follow(
        &self,
        step: &str,
        pid: i64,
        taps: &mut [Tap; 2],
        deadline: Deadline,
        tell: &mut (impl FnMut(Stream, &str) + Send),
    ) -> Result<ExecOutput, GuestError> {
        loop {
            // Asked before reading: what an ended command wrote is all there when its files are read afterwards.
            let status = self.poll_exec(step, pid, deadline).await?;
            for tap in taps.iter_mut() {
                let bytes = self.read_to_end(step, tap.handle, deadline).await?;
                let stream = tap.stream;
                tap.lines.take(&bytes, |line| tell(stream, line));
            }
            if let Some(status) = status {
                return output(self, step, status);
            }
            self.pause(step, PAUSE, deadline).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_it_is_whole() {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        lines.take(b"one\ntw", |line| told.push(line.to_owned()));
        lines.take(b"o\n", |line| told.push(line.to_owned()));
        assert_eq!(told, ["one", "two"]);
    }

    #[test]
    fn a_last_line_without_newline_is_told_at_the_end() {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        lines.take(b"last words", |_| {});
        lines.finish(|line| told.push(line.to_owned()));
        assert_eq!(told, ["last words"]);
    }
}

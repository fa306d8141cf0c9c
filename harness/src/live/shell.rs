//! A shell on a node's terminal, as the holder of the machines sees it. The terminal is `/dev/hvc0`; systemd gives it to a
//! shell of its own unit, whose end is the end of the conversation. What is typed and shown goes past this process, over
//! QEMU's socket.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::server::{COMMAND, Live, tell};
use super::{Answer, Size};
use crate::fleet::FleetError;

/// How long a short command about the terminal may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

const TERMINAL: &str = "/dev/hvc0";
const UNIT: &str = "harness-shell.service";

/// Gives the terminal its new size, and tells whoever runs there.
pub(super) fn resize(size: Size) -> Vec<String> {
    let (rows, columns) = (size.rows.to_string(), size.columns.to_string());
    let words = ["stty", "-F", TERMINAL, "rows", &rows, "columns", &columns];
    words.map(str::to_owned).to_vec()
}

/// Runs a log-in shell as a unit that owns the terminal (systemd.exec(5)), and waits for its end.
fn start(size: Size, kind: &str) -> Vec<String> {
    let mut argv = vec!["systemd-run", "--quiet", "--wait", "--collect"];
    let unit = format!("--unit={UNIT}");
    let kind = format!("--setenv=TERM={kind}");
    let properties = [
        "StandardInput=tty-force".to_owned(),
        "StandardOutput=tty".into(),
        "StandardError=tty".into(),
        format!("TTYPath={TERMINAL}"),
        "TTYReset=yes".into(),
        "TTYVHangup=yes".into(),
        format!("TTYRows={}", size.rows),
        format!("TTYColumns={}", size.columns),
        "WorkingDirectory=/root".into(),
        // A log-in shell goes at a hang-up; it does not heed being asked to terminate.
        "SendSIGHUP=yes".into(),
    ]
    .map(|property| format!("--property={property}"));
    argv.extend([unit.as_str(), "--setenv=HOME=/root", &kind]);
    argv.extend(properties.iter().map(String::as_str));
    argv.extend(["--", "/bin/bash", "--login"]);
    argv.into_iter().map(str::to_owned).collect()
}

/// The nodes on whose terminal somebody has a shell.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<BTreeSet<String>>);

/// The seat at a node's terminal, given back when dropped.
struct Seat<'a>(&'a Seats, &'a str);

impl Seats {
    /// Takes the seat; `None` if somebody has it.
    fn take<'a>(&'a self, node: &'a str) -> Option<Seat<'a>> {
        // A seat is made for the one who took it only: dropping another one would wait for the lock that is held here.
        self.taken().insert(node.to_owned()).then(|| Seat(self, node))
    }

    fn taken(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.taken().remove(self.1);
    }
}

impl Live {
    /// One shell, from its start to its end or to the caller's hanging up.
    ///
    /// # Errors
    /// The node has no terminal, or its machine does not run the shell.
    pub(super) async fn shell(
        &self,
        node: &str,
        size: Size,
        kind: &str,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
    ) -> Result<Answer, FleetError> {
        let failed = |reason: &str| Answer::Failed {
            reason: format!("{node}: {reason}"),
        };
        let Some(_seat) = self.seats.take(node) else {
            return Ok(failed("somebody has a shell on its terminal already"));
        };
        let socket = self.fleet.terminal(node)?;
        if tell(writer, &Answer::Terminal { socket }).await.is_err() {
            return Ok(failed("the caller has hung up"));
        }
        let argv = start(size, kind);
        let hung_up = async {
            let mut nothing = [0];
            while reader.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
        };
        tokio::select! {
            ended = self.fleet.exec(node, &argv, COMMAND) => ended.map(Answer::Output),
            () = hung_up => {
                let stop = ["systemctl", "stop", UNIT].map(str::to_owned);
                // A machine that is gone has no shell either.
                let _ = self.fleet.exec(node, &stop, LIMIT).await;
                Ok(failed("the caller has hung up"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { rows: 40, columns: 120 };

    #[test]
    fn a_shell_gets_the_terminal_and_the_size_of_the_caller() {
        insta::assert_snapshot!(start(SIZE, "xterm-256color").join("\n"));
    }

    #[test]
    fn a_terminal_has_one_seat_at_a_time() {
        let seats = Seats::default();
        let first = seats.take("mail1");
        assert!(first.is_some());
        assert!(seats.take("mail1").is_none());
        assert!(seats.take("mail2").is_some());
        drop(first);
        assert!(seats.take("mail1").is_some());
    }

    #[test]
    fn a_new_size_is_told_to_the_terminal() {
        assert_eq!(resize(SIZE).join(" "), "stty -F /dev/hvc0 rows 40 columns 120");
    }
}

//! The end of the control socket that holds the machines.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::shell::{self, Seats};
use super::{Answer, Ask};
use crate::fault::{Fault, Receipt};
use crate::fleet::{Fleet, FleetError};

/// How long a command may run before it is given up; people watch it, so it is long.
pub(super) const COMMAND: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Live {
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) seats: Seats,
    /// What is broken on purpose, oldest first.
    broken: Mutex<Vec<Fault>>,
    down: Notify,
}

/// Serves a live cluster's control socket until somebody asks it to end. The machines have ended when this returns.
///
/// # Errors
/// The socket breaks.
pub async fn serve(listener: UnixListener, fleet: Arc<dyn Fleet>) -> io::Result<()> {
    let live = Arc::new(Live {
        fleet,
        seats: Seats::default(),
        broken: Mutex::default(),
        down: Notify::new(),
    });
    loop {
        tokio::select! {
            connection = listener.accept() => {
                let (stream, _) = connection?;
                let live = live.clone();
                // A caller that hangs up is not waited for.
                tokio::spawn(async move { live.converse(stream).await });
            }
            () = live.down.notified() => return Ok(()),
        }
    }
}

impl Live {
    fn broken(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let ask = serde_json::from_str(&line);
        let down = matches!(ask, Ok(Ask::Down));
        let answer = match ask {
            Ok(ask) => self
                .answer(ask, &mut reader, &mut writer)
                .await
                .unwrap_or_else(|error| Answer::Failed {
                    reason: error.to_string(),
                }),
            Err(error) => Answer::Failed {
                reason: format!("this is no question for a live cluster: {error}"),
            },
        };
        let told = tell(&mut writer, &answer).await;
        if down {
            self.down.notify_one();
        }
        told
    }

    /// The last answer to a question. What comes before it, and whether the caller is still there, is told and seen on the
    /// connection.
    async fn answer(
        &self,
        ask: Ask,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut OwnedWriteHalf,
    ) -> Result<Answer, FleetError> {
        match ask {
            Ask::Exec { node, argv } => Ok(Answer::Output(self.fleet.exec(&node, &argv, COMMAND).await?)),
            Ask::Shell { node, size, kind } => self.shell(&node, size, &kind, reader, writer).await,
            Ask::Resize { node, size } => Ok(Answer::Output(
                self.fleet.exec(&node, &shell::resize(size), shell::LIMIT).await?,
            )),
            Ask::Status => Ok(Answer::Status {
                ailments: self.fleet.ailments().await,
                broken: self.broken().clone(),
            }),
            Ask::Break { fault } => {
                let receipt = self.fleet.inject(&fault).await?;
                self.broken().push(fault);
                Ok(Answer::Receipts {
                    receipts: vec![receipt],
                })
            }
            Ask::Heal { fault: Some(fault) } => Ok(Answer::Receipts {
                receipts: vec![self.heal(&fault).await?],
            }),
            Ask::Heal { fault: None } => {
                let mut receipts = Vec::new();
                loop {
                    let Some(fault) = self.broken().last().cloned() else {
                        break;
                    };
                    receipts.push(self.heal(&fault).await?);
                }
                Ok(Answer::Receipts { receipts })
            }
            Ask::Down => {
                self.fleet.shut_down().await;
                Ok(Answer::Ended)
            }
        }
    }

    async fn heal(&self, fault: &Fault) -> Result<Receipt, FleetError> {
        let receipt = self.fleet.heal(fault).await?;
        let mut broken = self.broken();
        if let Some(last) = broken.iter().rposition(|known| known == fault) {
            broken.remove(last);
        }
        Ok(receipt)
    }
}

/// Writes one answer.
pub(super) async fn tell(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    writer.write_all(&text).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fake::FakeFleet;
    use crate::live::{Entry, LiveError, ask};

    /// A live cluster of the simulation.
    fn live(home: &tempfile::TempDir) -> (Entry, tokio::task::JoinHandle<io::Result<()>>) {
        let text = include_str!("../../../generator/examples/pair.toml");
        let cluster = generator::spec::Cluster::parse("pair", text).expect("valid").cluster;
        let fleet = FakeFleet::new((&cluster).into(), cluster.webmail.check, None, 1);
        let socket = home.path().join("control");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let serving = tokio::spawn(serve(listener, Arc::new(fleet)));
        let entry = Entry {
            name: "live".into(),
            cluster: "pair".into(),
            pid: 1,
            socket,
            forwards: Vec::new(),
            accounts: Vec::new(),
        };
        (entry, serving)
    }

    fn stopped() -> Fault {
        Fault::ServiceStop {
            node: "mail1".into(),
            service: "nginx".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_answers_with_its_own_status_and_output() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let (entry, _serving) = live(&home);
        let run = Ask::Exec {
            node: "mail1".into(),
            argv: vec!["hostname".into()],
        };
        let Answer::Output(output) = ask(&entry, &run).await.expect("an answer") else {
            panic!("no output");
        };
        assert_eq!((output.status, output.stdout.as_str()), (0, "mail1\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_broken_is_known_until_it_is_healed() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let (entry, _serving) = live(&home);
        ask(&entry, &Ask::Break { fault: stopped() }).await.expect("a receipt");
        let status = ask(&entry, &Ask::Status).await.expect("a status");
        assert!(
            matches!(&status, Answer::Status { broken, .. } if *broken == [stopped()]),
            "{status:?}"
        );
        ask(&entry, &Ask::Heal { fault: None }).await.expect("receipts");
        let status = ask(&entry, &Ask::Status).await.expect("a status");
        assert!(
            matches!(&status, Answer::Status { broken, .. } if broken.is_empty()),
            "{status:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_done_is_an_error_in_words() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let (entry, _serving) = live(&home);
        let run = Ask::Exec {
            node: "nobody".into(),
            argv: vec!["hostname".into()],
        };
        assert!(matches!(ask(&entry, &run).await, Err(LiveError::Failed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shell_on_a_machine_without_a_terminal_is_refused_in_words_every_time() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let (entry, _serving) = live(&home);
        let shell = Ask::Shell {
            node: "mail1".into(),
            size: crate::live::Size { rows: 24, columns: 80 },
            kind: "vt100".into(),
        };
        for _ in 0..2 {
            let refused = ask(&entry, &shell).await.expect_err("no terminal");
            assert_eq!(
                refused.to_string(),
                "mail1: open a terminal: a simulated machine has none"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn serving_ends_when_it_is_asked_to() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let (entry, serving) = live(&home);
        assert_eq!(ask(&entry, &Ask::Down).await.expect("an answer"), Answer::Ended);
        serving.await.expect("no panic").expect("ended well");
        assert!(matches!(
            ask(&entry, &Ask::Status).await,
            Err(LiveError::Unreachable { .. })
        ));
    }
}

//! The socket by which `cluster-store status`, `promote` and the like reach the daemon: one line of JSON in, one out.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::{Answer, Command, Status};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// How do you stand?
    Status,
    /// Become writer.
    Promote,
    /// Become writer, although mail may be missing here, because the other node is lost for good.
    ForcePromote,
    /// Become standby.
    Demote,
    /// Take a new copy of the peer's store.
    Reseed,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// True if it is done.
    pub ok: bool,
    /// What came of it, in a sentence.
    pub text: String,
    /// How the node stands.
    pub status: Status,
}

/// A line longer than this is none of ours.
const LONGEST: u64 = 4096;

/// Makes the socket, for root alone. One that a killed daemon left is removed.
///
/// # Errors
/// It cannot be made.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is dropped.
pub async fn serve(listener: UnixListener, commands: mpsc::Sender<Command>, status: watch::Receiver<Status>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (commands, status) = (commands.clone(), status.clone());
        // Who hangs up early needs no answer.
        tokio::spawn(async move { answer(stream, commands, status).await });
    }
}

async fn answer(
    mut stream: UnixStream,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(LONGEST)).read_line(&mut line).await?;
    let verb = serde_json::from_str(&line).map_err(io::Error::other)?;
    let done = carry_out(verb, &commands).await;
    let reply = Reply {
        ok: done.is_ok(),
        text: done.unwrap_or_else(|why| why),
        status: status.borrow().clone(),
    };
    let mut text = serde_json::to_vec(&reply).map_err(io::Error::other)?;
    text.push(b'\n');
    write.write_all(&text).await
}

async fn carry_out(verb: Verb, commands: &mpsc::Sender<Command>) -> Answer {
    let (answer, answered) = oneshot::channel();
    let command = match verb {
        Verb::Status => return Ok(String::new()),
        Verb::Promote => Command::Promote { force: false, answer },
        Verb::ForcePromote => Command::Promote { force: true, answer },
        Verb::Demote => Command::Demote(answer),
        Verb::Reseed => Command::Reseed(answer),
    };
    let gone = "the agent is ending";
    commands.send(command).await.map_err(|_| gone.to_owned())?;
    answered.await.unwrap_or_else(|_| Err(gone.to_owned()))
}

/// Asks the daemon.
///
/// # Errors
/// It does not run, or it broke off.
pub async fn ask(path: &Path, verb: Verb) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(path).await?;
    let mut line = serde_json::to_vec(&verb).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

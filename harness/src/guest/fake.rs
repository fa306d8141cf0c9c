//! A guest agent of clay for tests: a unix socket, and a script of what it does with each line that it gets.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

use super::Agent;
use crate::fleet::qemu::{ExitNotice, ExitWatch};

/// What the fake does with one command.
pub(super) enum Act {
    /// Answers with these bytes.
    Say(Vec<u8>),
    /// Says nothing.
    Hang,
    /// Closes the connection.
    Close,
}

impl Act {
    /// Answers with a value.
    pub(super) fn reply(value: Value) -> Self {
        Act::Say(format!("{}\n", json!({ "return": value })).into_bytes())
    }

    /// The right answer to a sync.
    pub(super) fn sync(command: &Value) -> Self {
        Act::Say(
            [
                b"\xFF".as_slice(),
                format!("{}\n", json!({ "return": command["arguments"]["id"] })).as_bytes(),
            ]
            .concat(),
        )
    }
}

/// A running fake and what a test needs around it.
pub(super) struct Fake {
    pub(super) agent: Agent,
    pub(super) exit: ExitNotice,
    pub(super) socket: PathBuf,
    _folder: TempDir,
}

/// Starts a fake that does what `act` says, given the command and how many connections came before this one. Syncs are
/// given to `act`, too.
pub(super) fn fake(act: impl FnMut(usize, &Value) -> Act + Send + 'static) -> Fake {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("agent");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(serve(listener, act));
    let (exit, watch) = ExitWatch::channel();
    let agent = Agent::new("mail1", socket.clone(), watch, Duration::from_millis(300));
    Fake {
        agent,
        exit,
        socket,
        _folder: folder,
    }
}

async fn serve(listener: UnixListener, mut act: impl FnMut(usize, &Value) -> Act) {
    let mut connections = 0;
    while let Ok((stream, _)) = listener.accept().await {
        converse(stream, connections, &mut act).await;
        connections += 1;
    }
}

/// One connection: QEMU's socket serves one client at a time, too.
async fn converse(stream: UnixStream, connection: usize, act: &mut impl FnMut(usize, &Value) -> Act) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let command = line.strip_prefix(b"\xFF").unwrap_or(&line);
        let command: Value = serde_json::from_slice(command).expect("a command is JSON");
        if !perform(&mut writer, act(connection, &command)).await {
            return;
        }
        line.clear();
    }
}

async fn perform(writer: &mut OwnedWriteHalf, act: Act) -> bool {
    match act {
        Act::Say(bytes) => writer.write_all(&bytes).await.is_ok(),
        Act::Hang => true,
        Act::Close => false,
    }
}

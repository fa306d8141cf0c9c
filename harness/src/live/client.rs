//! The other end of the control socket.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Answer, Ask, Entry};

/// Why a live cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// It cannot be reached.
    #[error("live cluster {name}: {source}")]
    Unreachable {
        /// Its name.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// It hung up, or said something that is no answer.
    #[error("live cluster {0} ended before it answered")]
    Ended(String),
    /// It could not do what was asked.
    #[error("{0}")]
    Failed(String),
}

/// Asks a live cluster, and waits for its answer. What it could not do is an error.
///
/// # Errors
/// [`LiveError`].
pub async fn ask(entry: &Entry, ask: &Ask) -> Result<Answer, LiveError> {
    let unreachable = |source: io::Error| LiveError::Unreachable {
        name: entry.name.clone(),
        source,
    };
    let stream = UnixStream::connect(&entry.socket).await.map_err(unreachable)?;
    let (reader, mut writer) = stream.into_split();
    let mut line = serde_json::to_vec(ask).map_err(|error| unreachable(error.into()))?;
    line.push(b'\n');
    writer.write_all(&line).await.map_err(unreachable)?;
    let mut answer = String::new();
    BufReader::new(reader)
        .read_line(&mut answer)
        .await
        .map_err(unreachable)?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Failed { reason }) => Err(LiveError::Failed(reason)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(LiveError::Ended(entry.name.clone())),
    }
}

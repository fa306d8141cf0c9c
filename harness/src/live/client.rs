//! The other end of the control socket.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

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
    Conversation::begin(entry, ask).await?.next().await
}

/// A question whose answers come one after the other. Dropping it hangs up.
#[derive(Debug)]
pub struct Conversation {
    name: String,
    answers: BufReader<OwnedReadHalf>,
    _open: OwnedWriteHalf,
}

impl Conversation {
    /// Asks.
    ///
    /// # Errors
    /// [`LiveError::Unreachable`].
    pub async fn begin(entry: &Entry, ask: &Ask) -> Result<Conversation, LiveError> {
        let unreachable = |source: io::Error| LiveError::Unreachable {
            name: entry.name.clone(),
            source,
        };
        let stream = UnixStream::connect(&entry.socket).await.map_err(unreachable)?;
        let (reader, mut writer) = stream.into_split();
        let mut line = serde_json::to_vec(ask).map_err(|error| unreachable(error.into()))?;
        line.push(b'\n');
        writer.write_all(&line).await.map_err(unreachable)?;
        Ok(Conversation {
            name: entry.name.clone(),
            answers: BufReader::new(reader),
            _open: writer,
        })
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// [`LiveError`].
    pub async fn next(&mut self) -> Result<Answer, LiveError> {
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer).await;
        read.map_err(|source| LiveError::Unreachable {
            name: self.name.clone(),
            source,
        })?;
        match serde_json::from_str(&answer) {
            Ok(Answer::Failed { reason }) => Err(LiveError::Failed(reason)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(LiveError::Ended(self.name.clone())),
        }
    }
}

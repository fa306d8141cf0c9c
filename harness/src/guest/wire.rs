//! One connection to a guest agent: one JSON value a line in each direction, brought in step by
//! `guest-sync-delimited` before its first use (QEMU Guest Agent Protocol Reference, "guest-sync-delimited").
//!
//! The commands and their answers are `qapi`'s types; the framing is ours, because a line that was meant for an
//! earlier, broken-off conversation must be skipped, which `qapi`'s own stream takes for a protocol error.

use std::io;
use std::path::Path;

use bytes::BytesMut;
use qapi::qga::{QgaCommand, guest_sync_delimited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The byte that resets the agent's parser when we send it, and that stands before its answer to a sync.
const SENTINEL: u8 = 0xFF;

/// The longest line taken from an agent: its output limit of 16 MiB for each of two streams, in base64.
const LONGEST_LINE: usize = 48 << 20;

/// Why a conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed or closed, or something unreadable came: the connection is of no more use.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The agent answered with an error; the connection stays usable.
    #[error("{0}")]
    Refused(String),
}

/// An answer as it stands on the wire, of an agent or of QMP.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<T> {
    #[serde(rename = "return")]
    value: Option<T>,
    error: Option<Complaint>,
}

/// The error half of an [`Answer`].
#[derive(Debug, Deserialize)]
struct Complaint {
    class: String,
    desc: String,
}

impl<T: DeserializeOwned> Answer<T> {
    /// Reads one line as an answer.
    pub(crate) fn parse(line: &[u8]) -> Result<T, WireError> {
        let answer: Self = serde_json::from_slice(line).map_err(|e| unreadable(line, &e))?;
        match (answer.value, answer.error) {
            (_, Some(complaint)) => Err(WireError::Refused(complaint.to_text())),
            (Some(value), None) => Ok(value),
            (None, None) => Err(io::Error::new(io::ErrorKind::InvalidData, "neither return nor error").into()),
        }
    }
}

impl Complaint {
    fn to_text(&self) -> String {
        if self.class == "GenericError" {
            self.desc.clone()
        } else {
            format!("{}: {}", self.class, self.desc)
        }
    }
}

/// An error that shows the start of a line that could not be read.
fn unreadable(line: &[u8], error: &serde_json::Error) -> io::Error {
    let start = String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unreadable answer {start:?}: {error}"),
    )
}

/// A connection in step with the agent.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    unread: BytesMut,
}

impl Wire {
    /// Connects to QEMU's socket and brings both sides in step. Waits as long as the agent stays silent: the caller
    /// sets the time limit and drops the future.
    pub async fn open(socket: &Path, sync_id: i64) -> Result<Self, WireError> {
        let stream = UnixStream::connect(socket).await?;
        let mut wire = Self {
            stream,
            unread: BytesMut::new(),
        };
        wire.stream.write_all(&[SENTINEL]).await?;
        wire.send(&guest_sync_delimited { id: sync_id }).await?;
        wire.skip_to_sync(sync_id).await?;
        Ok(wire)
    }

    /// Sends a command and waits for its answer.
    pub async fn call<C: QgaCommand>(&mut self, command: &C) -> Result<C::Ok, WireError> {
        self.send(command).await?;
        let line = self.line().await?;
        Answer::parse(&line)
    }

    async fn send<C: QgaCommand>(&mut self, command: &C) -> Result<(), WireError> {
        let line = encode(&qapi::Execute::<&C, u32>::with_command(command))?;
        self.stream.write_all(&line).await?;
        Ok(())
    }

    /// Throws away everything up to the answer that bears our number. Earlier syncs that nobody waited for leave
    /// sentinels and answers of their own before it.
    async fn skip_to_sync(&mut self, sync_id: i64) -> Result<(), WireError> {
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == SENTINEL) {
                let _ = self.unread.split_to(at + 1);
                let line = self.line_or_sentinel().await?;
                if line.is_some_and(|line| Answer::<i64>::parse(&line).is_ok_and(|id| id == sync_id)) {
                    return Ok(());
                }
            } else {
                self.unread.clear();
                self.fill().await?;
            }
        }
    }

    /// The next line, or nothing when another sentinel comes before its end.
    async fn line_or_sentinel(&mut self) -> Result<Option<BytesMut>, WireError> {
        loop {
            match self.unread.iter().position(|byte| matches!(*byte, b'\n' | SENTINEL)) {
                Some(at) if self.unread[at] == SENTINEL => return Ok(None),
                Some(at) => return Ok(Some(self.unread.split_to(at + 1))),
                None => self.fill().await?,
            }
        }
    }

    async fn line(&mut self) -> Result<BytesMut, WireError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(self.unread.split_to(searched + at + 1));
            }
            searched = self.unread.len();
            if searched > LONGEST_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without end").into());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), WireError> {
        self.unread.reserve(64 << 10);
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent's socket closed").into());
        }
        Ok(())
    }
}

/// One JSON value and its newline.
pub(crate) fn encode<T: serde::Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

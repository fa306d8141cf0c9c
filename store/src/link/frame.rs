//! Frames on the connection: one byte of kind, four of length (big endian), then so many bytes.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Longest payload, bytes; a longer one is somebody who does not speak this protocol.
const LONGEST: u32 = 4 * 1024 * 1024;

/// Bytes of a stream in one frame.
pub const PIECE: usize = 128 * 1024;

/// What came.
#[derive(Debug)]
pub enum Frame {
    /// A request or a reply, JSON.
    Message(Vec<u8>),
    /// A piece of a stream.
    Data(Vec<u8>),
    /// The stream is whole.
    End,
    /// The stream broke off.
    Broken,
}

fn silent(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("silent for {limit:?}"))
}

/// Reads one. Not safe to cancel: what was read is lost.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R, limit: Duration) -> io::Result<Frame> {
    let work = async {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        if length > LONGEST {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload).await?;
        match kind {
            1 => Ok(Frame::Message(payload)),
            2 => Ok(Frame::Data(payload)),
            3 => Ok(Frame::End),
            4 => Ok(Frame::Broken),
            other => Err(io::Error::other(format!("a frame of kind {other}"))),
        }
    };
    timeout(limit, work).await.unwrap_or_else(|_| Err(silent(limit)))
}

/// Writes one.
pub async fn write<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame, limit: Duration) -> io::Result<()> {
    let (kind, payload): (u8, &[u8]) = match frame {
        Frame::Message(payload) => (1, payload),
        Frame::Data(payload) => (2, payload),
        Frame::End => (3, &[]),
        Frame::Broken => (4, &[]),
    };
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let work = async {
        to.write_u8(kind).await?;
        to.write_u32(length).await?;
        to.write_all(payload).await?;
        to.flush().await
    };
    timeout(limit, work).await.unwrap_or_else(|_| Err(silent(limit)))
}

/// Writes a message.
pub async fn say<W: AsyncWrite + Unpin>(to: &mut W, message: &impl Serialize, limit: Duration) -> io::Result<()> {
    let payload = serde_json::to_vec(message).map_err(io::Error::other)?;
    write(to, &Frame::Message(payload), limit).await
}

/// Reads a message.
pub async fn hear<R: AsyncRead + Unpin, M: DeserializeOwned>(from: &mut R, limit: Duration) -> io::Result<M> {
    match read(from, limit).await? {
        Frame::Message(payload) => serde_json::from_slice(&payload).map_err(io::Error::other),
        other => Err(io::Error::other(format!("a message was expected, not {other:?}"))),
    }
}

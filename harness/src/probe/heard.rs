//! A stream that remembers the last line read from it, so that errors can quote the server even where a protocol
//! library has swallowed what it said.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest part of a line that is kept, bytes.
const KEPT: usize = 300;

/// The last line that came out of a [`Heard`] stream; clones look at the same stream.
#[derive(Debug, Clone, Default)]
pub struct LastLine(Arc<Mutex<Tail>>);

#[derive(Debug, Default)]
struct Tail {
    complete: Vec<u8>,
    growing: Vec<u8>,
}

impl LastLine {
    /// The last line, complete or not, without its line end; `None` if nothing was read yet.
    pub fn get(&self) -> Option<String> {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = if tail.growing.is_empty() {
            &tail.complete
        } else {
            &tail.growing
        };
        (!line.is_empty()).then(|| String::from_utf8_lossy(line).trim_end().to_owned())
    }

    fn take_in(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            match byte {
                b'\n' if !tail.growing.is_empty() => tail.complete = std::mem::take(&mut tail.growing),
                b'\r' | b'\n' => {}
                _ if tail.growing.len() < KEPT => tail.growing.push(byte),
                _ => {}
            }
        }
    }
}

/// Wraps a stream and listens to what is read.
pub struct Heard<S> {
    inner: S,
    last: LastLine,
}

impl<S> Heard<S> {
    /// Wraps `inner`; the second value tells the last line at any time, also after the stream has moved elsewhere.
    pub fn new(inner: S) -> (Self, LastLine) {
        let last = LastLine::default();
        (
            Self {
                inner,
                last: last.clone(),
            },
            last,
        )
    }
}

impl<S> fmt::Debug for Heard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard")
            .field("last", &self.last.get())
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some(news) = buf.filled().get(before..) {
            self.last.take_in(news);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn hear(said: &[u8]) -> Option<String> {
        let (mut server, client) = tokio::io::duplex(4096);
        let (mut heard, last) = Heard::new(client);
        server.write_all(said).await.unwrap();
        drop(server);
        heard.read_to_end(&mut Vec::new()).await.unwrap();
        last.get()
    }

    #[tokio::test]
    async fn the_last_complete_line_is_told_without_its_end() {
        assert_eq!(
            hear(b"* OK hello\r\na1 NO go away\r\n").await.as_deref(),
            Some("a1 NO go away")
        );
    }

    #[tokio::test]
    async fn a_line_cut_short_counts_as_the_last_one() {
        assert_eq!(hear(b"* OK hello\r\na1 N").await.as_deref(), Some("a1 N"));
    }

    #[tokio::test]
    async fn a_silent_server_said_nothing() {
        assert_eq!(hear(b"").await, None);
    }
}

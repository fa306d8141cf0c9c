//! The output of a `zfs send`, and how a command that moves a stream ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::Child;

use super::spawn::STDERR_KEPT;
use crate::zfs::ZfsError;

pub async fn finish(child: &mut Child, command: &str) -> Result<(), ZfsError> {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // An unreadable error output only makes the error shorter.
        let _ = stderr.take(STDERR_KEPT).read_to_end(&mut said).await;
    }
    let status = child.wait().await.map_err(|source| ZfsError::NotRun {
        command: command.to_owned(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(ZfsError::Failed {
        command: command.to_owned(),
        status: status.to_string(),
        stderr: String::from_utf8_lossy(&said).trim().to_owned(),
    })
}

pub type End = Pin<Box<dyn Future<Output = Result<(), ZfsError>> + Send>>;

/// A command's standard output whose end is good only if the command ended well, so that a `zfs send` that failed in the
/// middle is never taken for a whole stream.
pub struct Checked {
    pub stdout: Option<tokio::process::ChildStdout>,
    pub end: Option<End>,
    pub child: Option<Child>,
    pub command: String,
}

impl AsyncRead for Checked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Some(stdout) = &mut self.stdout {
            std::task::ready!(Pin::new(stdout).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.stdout = None;
            let command = self.command.clone();
            self.end = self
                .child
                .take()
                .map(|mut child| -> End { Box::pin(async move { finish(&mut child, &command).await }) });
        }
        if let Some(end) = &mut self.end {
            let ended = std::task::ready!(end.as_mut().poll(cx));
            self.end = None;
            return Poll::Ready(ended.map_err(io::Error::other));
        }
        Poll::Ready(Ok(()))
    }
}

//! The proxy's own connection to Dovecot's LMTP socket.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest reply, bytes.
const LONGEST: u64 = 64 * 1024;

/// A reply of one or more lines (RFC 5321, 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(pub Vec<String>);

impl Reply {
    /// The first digit of its code; 0 if there is none.
    pub fn class(&self) -> u8 {
        self.0
            .first()
            .and_then(|line| line.bytes().next())
            .map_or(0, |digit| digit.wrapping_sub(b'0'))
    }

    /// True for 2xx.
    pub fn is_good(&self) -> bool {
        self.class() == 2
    }
}

/// A connection on which LHLO has been said.
#[derive(Debug)]
pub struct Backend {
    stream: BufReader<UnixStream>,
    limit: Duration,
    made: Instant,
}

impl Backend {
    /// Connects.
    ///
    /// # Errors
    /// It is not there, or does not speak LMTP.
    pub async fn connect(path: &Path, limit: Duration) -> io::Result<Backend> {
        let stream = timeout(limit, UnixStream::connect(path)).await??;
        let mut backend = Backend {
            stream: BufReader::new(stream),
            limit,
            made: Instant::now(),
        };
        let greeting = backend.reply().await?;
        let hello = backend.ask("LHLO cluster-store").await?;
        if !greeting.is_good() || !hello.is_good() {
            return Err(io::Error::other(format!("not greeted: {greeting:?} {hello:?}")));
        }
        Ok(backend)
    }

    /// When it was connected.
    pub fn made(&self) -> Instant {
        self.made
    }

    /// Waits so long for a reply from now on.
    pub fn be_patient(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Sends a command line and reads its reply.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn ask(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.limit, self.stream.get_mut().write_all(bytes)).await?
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        let stream = &mut self.stream;
        let read = async {
            let mut lines = Vec::new();
            let mut limited = stream.take(LONGEST);
            loop {
                let mut line = Vec::new();
                limited.read_until(b'\n', &mut line).await?;
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                if !line.ends_with(b"\n") || text.len() < 3 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the backend broke off"));
                }
                let last = text.as_bytes().get(3) != Some(&b'-');
                lines.push(text);
                if last {
                    return Ok(Reply(lines));
                }
            }
        };
        timeout(self.limit, read).await?
    }
}

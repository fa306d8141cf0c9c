//! Files of a machine, read and written through the agent.

use std::io;
use std::time::Duration;

use qapi::qga::{guest_file_close, guest_file_open, guest_file_read, guest_file_write};

use super::agent::{Agent, Deadline};
use super::error::GuestError;

/// Bytes written or read in one command: large enough that the round trips do not count, small enough that other
/// commands get their turn soon.
const CHUNK: usize = 512 << 10;

impl Agent {
    /// Writes a file, whole or not at all: under a temporary name beside it, given its mode, then renamed.
    ///
    /// # Errors
    /// The deadline passed, the machine ended, or the file could not be written.
    pub async fn write_file(&self, path: &str, bytes: &[u8], mode: u32, limit: Duration) -> Result<(), GuestError> {
        let step = format!("writing {path}");
        let deadline = Deadline::after(limit);
        let unfinished = format!("{path}.unfinished");
        let handle = self.open(&step, &unfinished, "w", deadline).await?;
        let written = self.write_chunks(&step, handle, bytes, deadline).await;
        let closed = self.call(&step, &guest_file_close { handle }, deadline).await;
        written.and(closed.map(|_| ()))?;
        let script = r#"chmod "$1" "$2"; mv -f "$2" "$3""#;
        self.script(&step, script, &[&format!("{mode:04o}"), &unfinished, path], limit)
            .await
            .map(|_| ())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// The deadline passed, the machine ended, or the file could not be read.
    pub async fn read_file(&self, path: &str, limit: Duration) -> Result<Vec<u8>, GuestError> {
        let step = format!("reading {path}");
        let deadline = Deadline::after(limit);
        let handle = self.open(&step, path, "r", deadline).await?;
        let read = self.read_to_end(&step, handle, deadline).await;
        let closed = self.call(&step, &guest_file_close { handle }, deadline).await;
        let bytes = read?;
        closed?;
        Ok(bytes)
    }

    pub(super) async fn open(&self, step: &str, path: &str, mode: &str, deadline: Deadline) -> Result<i64, GuestError> {
        self.call(
            step,
            &guest_file_open {
                path: path.to_owned(),
                mode: Some(mode.to_owned()),
            },
            deadline,
        )
        .await
    }

    /// What lies in an open file from the present position to its present end.
    pub(super) async fn read_to_end(&self, step: &str, handle: i64, deadline: Deadline) -> Result<Vec<u8>, GuestError> {
        let mut bytes = Vec::new();
        loop {
            let count = i64::try_from(CHUNK).ok();
            let piece = self.call(step, &guest_file_read { handle, count }, deadline).await?;
            bytes.extend_from_slice(&piece.buf_b64);
            if piece.eof || piece.buf_b64.is_empty() {
                return Ok(bytes);
            }
        }
    }

    async fn write_chunks(&self, step: &str, handle: i64, bytes: &[u8], deadline: Deadline) -> Result<(), GuestError> {
        for chunk in bytes.chunks(CHUNK) {
            let command = guest_file_write {
                handle,
                buf_b64: chunk.to_vec(),
                count: None,
            };
            let written = self.call(step, &command, deadline).await?.count;
            if usize::try_from(written).ok() != Some(chunk.len()) {
                let short = io::Error::new(io::ErrorKind::WriteZero, format!("{written} of {} bytes", chunk.len()));
                return Err(self.refused(step, short.to_string()));
            }
        }
        Ok(())
    }
}

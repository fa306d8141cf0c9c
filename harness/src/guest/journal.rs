//! A machine's journal, brought home for the report.

use std::time::Duration;

use super::agent::Agent;
use super::error::GuestError;

impl Agent {
    /// The journal of every boot that the machine remembers, oldest first, one line a message with the wall clock to
    /// the microsecond, so that the journals of several machines can be laid side by side.
    ///
    /// Goes through a file on the machine, since a command's own output is limited to 16 MiB.
    ///
    /// # Errors
    /// The deadline passed, the machine ended, or the journal could not be read.
    pub async fn journal(&self, limit: Duration) -> Result<Vec<u8>, GuestError> {
        let path = "/run/journal-for-report.txt";
        let script = r#"journalctl --quiet --no-pager --output=short-iso-precise --no-hostname >"$1""#;
        self.script("writing out the journal", script, &[path], limit).await?;
        let journal = self.read_file(path, limit).await;
        let removed = self.run(&["rm", "-f", path], limit).await;
        let journal = journal?;
        removed?;
        Ok(journal)
    }
}

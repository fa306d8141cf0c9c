//! What a mail program does in an account that it has open: one session behind a trait, for machines and the simulation.

use async_trait::async_trait;

/// One message as a mail program sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// IMAP UID.
    pub uid: u32,
    /// Its ledger id, else its Message-ID.
    pub id: String,
    /// Flags, system flags with their backslash.
    pub flags: Vec<String>,
}

/// A look into a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// Messages with the UID asked for or a greater one, by UID.
    pub mails: Vec<Stored>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The server said NO or BAD: it certainly did not happen.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection broke or nothing was answered in time: it may have happened. The session is of no more use.
    #[error("{0}")]
    Lost(String),
}

/// An account that is open. Every call has the deadline that the session was opened with, from its own beginning.
#[async_trait]
pub trait MailSession: Send {
    /// Names of all folders that can be opened, INBOX among them.
    async fn folders(&mut self) -> Result<Vec<String>, SessionError>;

    /// Selects a folder and reads its messages from this UID on.
    async fn look(&mut self, folder: &str, from: u32) -> Result<Look, SessionError>;

    /// Puts a message of its own into a folder; its UID if the server tells (RFC 4315).
    async fn append(&mut self, folder: &str, id: &str) -> Result<Option<u32>, SessionError>;

    /// Adds a flag to a message of the folder that was looked into last; refused if it has no message of this UID.
    async fn flag(&mut self, uid: u32, flag: &str) -> Result<(), SessionError>;

    /// Moves a message of the folder that was looked into last (RFC 6851); refused if it has no message of this UID.
    async fn shift(&mut self, uid: u32, to: &str) -> Result<(), SessionError>;

    /// Removes a message of the folder that was looked into last for good (RFC 4315, `UID EXPUNGE`); refused if it has no
    /// message of this UID.
    async fn expunge(&mut self, uid: u32) -> Result<(), SessionError>;

    /// Logs out.
    async fn close(self: Box<Self>) -> Result<(), SessionError>;
}

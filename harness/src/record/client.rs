//! What a mail program sees and does, as the record has it.

use serde::{Deserialize, Serialize};

/// One message in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMail {
    /// IMAP UID.
    pub uid: u32,
    /// Unique id, else Message-ID.
    pub id: String,
    /// Flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// A change that a mail program asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum ClientAction {
    /// A message of its own is put into a folder (APPEND).
    Append {
        /// Folder.
        folder: String,
        /// Unique id of the message.
        mail: String,
    },
    /// A flag is set (UID STORE).
    Flag {
        /// Folder.
        folder: String,
        /// UID there.
        uid: u32,
        /// Unique id of the message.
        mail: String,
        /// The flag.
        flag: String,
    },
    /// A message is moved (UID MOVE).
    Move {
        /// Folder that it leaves.
        folder: String,
        /// UID there.
        uid: u32,
        /// Unique id of the message.
        mail: String,
        /// Folder that it goes to.
        to: String,
    },
    /// A message is removed for good (UID EXPUNGE).
    Expunge {
        /// Folder.
        folder: String,
        /// UID there.
        uid: u32,
        /// Unique id of the message.
        mail: String,
    },
}

impl ClientAction {
    /// The message that it is about.
    pub fn mail(&self) -> &str {
        match self {
            ClientAction::Append { mail, .. }
            | ClientAction::Flag { mail, .. }
            | ClientAction::Move { mail, .. }
            | ClientAction::Expunge { mail, .. } => mail,
        }
    }
}

//! What lies in a simulated store: folders by UID, and the ids of what was delivered, so that a second delivery is none.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{FoundMail, Stored};

const FOLDERS: [&str; 5] = ["INBOX", "Drafts", "Junk", "Sent", "Trash"];
/// How far UIDs are lifted when a standby takes over.
const LIFT: u32 = 1000;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::fleet::fake) struct Message {
    pub id: String,
    pub flags: BTreeSet<String>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fleet::fake) struct Folder {
    pub validity: u32,
    pub next: u32,
    pub mails: BTreeMap<u32, Message>,
}

impl Folder {
    fn add(&mut self, message: Message) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.mails.insert(uid, message);
        uid
    }
}

/// User and folder.
type Key = (String, String);

/// Everything.
#[derive(Debug, Clone, Default)]
pub(in crate::fleet::fake) struct Contents {
    folders: BTreeMap<Key, Folder>,
    delivered: BTreeSet<String>,
    /// What was removed, for the defect that brings it back.
    removed: Vec<(Key, u32, Message)>,
}

impl Contents {
    pub fn of(users: &[String]) -> Contents {
        let mut contents = Contents::default();
        for user in users {
            for (number, folder) in (0..).zip(FOLDERS) {
                let empty = Folder {
                    validity: 1_790_000_000 + number,
                    next: 1,
                    mails: BTreeMap::new(),
                };
                contents.folders.insert((user.clone(), folder.to_owned()), empty);
            }
        }
        contents
    }

    pub fn folders(&self, user: &str) -> Vec<String> {
        let own = self.folders.keys().filter(|(owner, _)| owner == user);
        own.map(|(_, folder)| folder.clone()).collect()
    }

    pub fn folder(&self, user: &str, folder: &str) -> Option<&Folder> {
        self.folders.get(&(user.to_owned(), folder.to_owned()))
    }

    pub fn folder_mut(&mut self, user: &str, folder: &str) -> Option<&mut Folder> {
        self.folders.get_mut(&(user.to_owned(), folder.to_owned()))
    }

    pub fn inbox(&self, user: &str) -> Vec<FoundMail> {
        let inbox = self.folder(user, "INBOX").into_iter();
        let mails = inbox.flat_map(|folder| folder.mails.iter());
        mails
            .map(|(uid, mail)| FoundMail {
                id: mail.id.clone(),
                uid: *uid,
            })
            .collect()
    }

    pub fn ids(&self, user: &str) -> Vec<String> {
        let own = self.folders.iter().filter(|((owner, _), _)| owner == user);
        own.flat_map(|(_, folder)| folder.mails.values().map(|mail| mail.id.clone()))
            .collect()
    }

    /// Delivers a message unless it was delivered before.
    pub fn deliver(&mut self, user: &str, id: &str, copies: u32) {
        if !self.delivered.insert(id.to_owned()) {
            return;
        }
        for _ in 0..copies {
            self.store(user, "INBOX", id);
        }
    }

    /// Puts a message into a folder.
    pub fn store(&mut self, user: &str, folder: &str, id: &str) -> Option<u32> {
        let message = Message {
            id: id.to_owned(),
            flags: BTreeSet::new(),
        };
        Some(self.folder_mut(user, folder)?.add(message))
    }

    /// Moves a message.
    pub fn shift(&mut self, user: &str, from: &str, uid: u32, to: &str) -> Option<u32> {
        self.folder(user, to)?;
        let message = self.folder_mut(user, from)?.mails.remove(&uid)?;
        Some(self.folder_mut(user, to)?.add(message))
    }

    /// Removes a message.
    pub fn expunge(&mut self, user: &str, folder: &str, uid: u32) -> Option<()> {
        let message = self.folder_mut(user, folder)?.mails.remove(&uid)?;
        self.removed.push(((user.to_owned(), folder.to_owned()), uid, message));
        Some(())
    }

    /// The messages of a folder as a client sees them.
    pub fn look(&self, user: &str, folder: &str, from: u32) -> Option<(u32, u32, Vec<Stored>)> {
        let folder = self.folder(user, folder)?;
        let mails = folder.mails.range(from..).map(|(uid, mail)| Stored {
            uid: *uid,
            id: mail.id.clone(),
            flags: mail.flags.iter().cloned().collect(),
        });
        Some((folder.validity, folder.next, mails.collect()))
    }

    /// New messages get UIDs that nobody can have seen.
    pub fn lift(&mut self) {
        self.folders.values_mut().for_each(|folder| folder.next += LIFT);
    }

    /// Every folder, for defects.
    pub fn each_folder(&mut self, change: impl FnMut(&mut Folder)) {
        self.folders.values_mut().for_each(change);
    }

    /// Undoes all moves out of INBOX, for a defect.
    pub fn unmove(&mut self) {
        let users: BTreeSet<String> = self.folders.keys().map(|(user, _)| user.clone()).collect();
        for user in users {
            let trash = self
                .folder(&user, "Trash")
                .map(|folder| folder.mails.clone())
                .unwrap_or_default();
            for uid in trash.into_keys() {
                self.shift(&user, "Trash", uid, "INBOX");
            }
        }
    }

    /// Brings back what was removed, for a defect.
    pub fn unremove(&mut self) {
        for (key, uid, message) in std::mem::take(&mut self.removed) {
            if let Some(folder) = self.folders.get_mut(&key) {
                folder.mails.insert(uid, message);
            }
        }
    }

    /// Takes in what another node wrote since `base`: messages that are not here, moves and flags; removals are not. A
    /// message gets a new UID.
    pub fn merge(&mut self, tail: &Contents, base: &Contents) {
        self.delivered.extend(tail.delivered.iter().cloned());
        let gone: BTreeSet<&str> = self.removed.iter().map(|(_, _, mail)| mail.id.as_str()).collect();
        let gone: BTreeSet<String> = gone.into_iter().map(str::to_owned).collect();
        for ((user, name), folder) in &tail.folders {
            for (uid, message) in &folder.mails {
                let before = base.folder(user, name).and_then(|folder| folder.mails.get(uid));
                if before == Some(message) || gone.contains(&message.id) {
                    continue;
                }
                // Moved there if it was elsewhere before; else it has come to both nodes, and stays where it is here.
                let moved = before.is_none() && base.ids(user).contains(&message.id);
                self.take_in(user, name, message, moved);
            }
        }
    }

    fn take_in(&mut self, user: &str, name: &str, message: &Message, moved: bool) {
        let places: Vec<(String, u32)> = self
            .folders
            .iter()
            .filter(|((owner, _), _)| owner == user)
            .flat_map(|((_, at), folder)| {
                let same = folder.mails.iter().filter(|(_, mail)| mail.id == message.id);
                same.map(|(uid, _)| (at.clone(), *uid))
            })
            .collect();
        match places.first() {
            None => {
                if let Some(folder) = self.folder_mut(user, name) {
                    folder.add(message.clone());
                }
            }
            Some((at, uid)) => {
                if let Some(mail) = self.folder_mut(user, at).and_then(|folder| folder.mails.get_mut(uid)) {
                    mail.flags.extend(message.flags.iter().cloned());
                }
                if moved && at != name {
                    self.shift(user, at, *uid, name);
                }
            }
        }
    }
}

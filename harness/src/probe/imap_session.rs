//! An IMAP session that stays open while a mail program works in it: over TLS, one folder selected at a time. A change counts
//! as done only when the server ended the command with OK and said that it touched a message: a UID that a folder does not
//! have is no error in IMAP, and nothing happens (RFC 9051 section 6.4.9).

use std::net::Ipv4Addr;
use std::time::Duration;

use async_imap::Session;
use async_imap::error::Error;
use async_imap::imap_proto::{AttributeValue, Response, Status};
use async_trait::async_trait;

use super::imap::{ImapAccount, ImapCause, Visit, Wire, found, selectable};
use super::{Deadline, Dial, Failure};
use crate::fleet::Mail;
use crate::fleet::mailbox::{Look, MailSession, SessionError, Stored};
use crate::probe::smtp::{LEDGER_HEADER, build};

/// An open account.
pub struct OpenAccount {
    session: Session<Wire>,
    user: String,
    limit: Duration,
    server: Option<String>,
}

/// Logs in to `account` from `from`; each later call has `limit`, as the log-in has.
///
/// # Errors
/// No connection, or no log-in.
pub async fn open(
    dial: &dyn Dial,
    from: Ipv4Addr,
    account: &ImapAccount<'_>,
    limit: Duration,
) -> Result<OpenAccount, Failure<ImapCause>> {
    let mut visit = Visit::new(limit);
    match visit.log_in(dial, from, account).await {
        Ok(session) => Ok(OpenAccount {
            session,
            user: account.user.to_owned(),
            limit,
            server: visit.server(),
        }),
        Err(cause) => Err(visit.failure(account, cause)),
    }
}

fn lost(cause: impl std::fmt::Display) -> SessionError {
    SessionError::Lost(cause.to_string())
}

fn told(error: Error) -> SessionError {
    match error {
        Error::No(text) | Error::Bad(text) => SessionError::Refused(text),
        other => lost(other),
    }
}

impl OpenAccount {
    /// The first word of the greeting's text: the server's own name, where it gives one.
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Runs a command and returns what `pick` takes from its untagged responses.
    async fn command<T>(
        &mut self,
        command: &str,
        pick: fn(&Response<'_>) -> Option<T>,
    ) -> Result<Vec<T>, SessionError> {
        let deadline = Deadline::after(self.limit);
        let silent = |_| SessionError::Lost(format!("no reply to {command} before the deadline"));
        let id = deadline
            .within(self.session.run_command(command))
            .await
            .map_err(silent)?;
        let id = id.map_err(told)?;
        let mut picked = Vec::new();
        loop {
            let response = deadline.within(self.session.read_response()).await.map_err(silent)?;
            let response = response.map_err(lost)?.ok_or_else(|| lost(Error::ConnectionLost))?;
            match response.parsed() {
                Response::Done {
                    tag,
                    status: Status::Ok,
                    ..
                } if *tag == id => return Ok(picked),
                Response::Done { tag, outcome, .. } if *tag == id => {
                    let text = outcome.information.as_deref().unwrap_or("no reason given");
                    return Err(SessionError::Refused(text.to_owned()));
                }
                response => picked.extend(pick(response)),
            }
        }
    }

    /// A command that has to touch a message.
    async fn touch(&mut self, command: &str, touched: fn(&Response<'_>) -> Option<()>) -> Result<(), SessionError> {
        match self.command(command, touched).await?.is_empty() {
            true => Err(SessionError::Refused(format!("{command} touched no message"))),
            false => Ok(()),
        }
    }
}

/// A message of a FETCH response with UID, flags and header.
fn stored(response: &Response<'_>) -> Option<Stored> {
    let mail = found(response)?;
    let Response::Fetch(_, attributes) = response else {
        return None;
    };
    let flags = attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Flags(flags) => Some(flags.iter().map(ToString::to_string).collect()),
        _ => None,
    })?;
    Some(Stored {
        uid: mail.uid,
        id: mail.id,
        flags,
    })
}

fn flagged(response: &Response<'_>) -> Option<()> {
    matches!(response, Response::Fetch(..)).then_some(())
}

fn gone(response: &Response<'_>) -> Option<()> {
    matches!(response, Response::Expunge(_) | Response::Vanished { .. }).then_some(())
}

fn nothing(_: &Response<'_>) -> Option<()> {
    None
}

#[async_trait]
impl MailSession for OpenAccount {
    async fn folders(&mut self) -> Result<Vec<String>, SessionError> {
        self.command(r#"LIST "" "*""#, selectable).await
    }

    async fn look(&mut self, folder: &str, from: u32) -> Result<Look, SessionError> {
        let deadline = Deadline::after(self.limit);
        let selected = deadline.within(self.session.select(folder)).await;
        let selected = selected
            .map_err(|_| SessionError::Lost("no reply to SELECT before the deadline".into()))?
            .map_err(told)?;
        let missing = |what: &str| SessionError::Refused(format!("SELECT gave no {what}"));
        let uid_validity = selected.uid_validity.ok_or_else(|| missing("UIDVALIDITY"))?;
        let uid_next = selected.uid_next.ok_or_else(|| missing("UIDNEXT"))?;
        let mut mails = Vec::new();
        if selected.exists > 0 {
            let fetch = format!("UID FETCH {from}:* (UID FLAGS BODY.PEEK[HEADER.FIELDS ({LEDGER_HEADER} Message-ID)])");
            mails = self.command(&fetch, stored).await?;
            // `9:*` names the last message even if its UID is smaller.
            mails.retain(|mail| mail.uid >= from);
            mails.sort_by_key(|mail| mail.uid);
        }
        let announced = usize::try_from(selected.exists).unwrap_or(usize::MAX);
        if from == 1 && mails.len() < announced {
            let listed = mails.len();
            return Err(lost(format!("{announced} messages announced, {listed} listed")));
        }
        Ok(Look {
            uid_validity,
            uid_next,
            mails,
        })
    }

    async fn append(&mut self, folder: &str, id: &str) -> Result<Option<u32>, SessionError> {
        let draft = Mail {
            id: id.to_owned(),
            from: self.user.clone(),
            to: self.user.clone(),
            body_bytes: 512,
        };
        let message = build(&draft, std::time::SystemTime::now())
            .map_err(|error| SessionError::Refused(format!("the draft was not built: {error}")))?;
        let deadline = Deadline::after(self.limit);
        let done = deadline.within(self.session.append(folder, None, None, message)).await;
        done.map_err(|_| SessionError::Lost("no reply to APPEND before the deadline".into()))?
            .map_err(told)?;
        Ok(None)
    }

    async fn flag(&mut self, uid: u32, flag: &str) -> Result<(), SessionError> {
        self.touch(&format!("UID STORE {uid} +FLAGS ({flag})"), flagged).await
    }

    async fn shift(&mut self, uid: u32, to: &str) -> Result<(), SessionError> {
        self.touch(&format!("UID MOVE {uid} \"{to}\""), gone).await
    }

    async fn expunge(&mut self, uid: u32) -> Result<(), SessionError> {
        let mark = format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)");
        self.command(&mark, nothing).await?;
        self.touch(&format!("UID EXPUNGE {uid}"), gone).await
    }

    async fn close(mut self: Box<Self>) -> Result<(), SessionError> {
        let deadline = Deadline::after(self.limit);
        let done = deadline.within(self.session.logout()).await;
        done.map_err(|_| SessionError::Lost("no reply to LOGOUT before the deadline".into()))?
            .map_err(told)
    }
}

#[cfg(test)]
#[path = "imap_session_tests.rs"]
mod tests;

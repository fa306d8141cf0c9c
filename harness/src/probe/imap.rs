//! IMAP over TLS (port 993): log in, list what lies in INBOX with its ledger ids, count the other folders, log out.
//!
//! The mailbox is opened with EXAMINE: the look into it changes nothing, not even the `\Recent` flags. A listing is
//! handed out only when the server ended it with OK and every message that it had announced was in it; a listing cut
//! short would read as lost mail.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use async_imap::error::Error;
use async_imap::imap_proto::{AttributeValue, MailboxDatum, MessageSection, Response, SectionPath, Status};
use async_imap::{Client, Session};
use rustls::ClientConfig;
use tokio_rustls::client::TlsStream;

use super::deadline::{Deadline, Elapsed, Failure};
use super::dial::{Dial, DialError, Stream};
use super::heard::{Heard, LastLine};
use super::smtp::LEDGER_HEADER;
use super::tls::{self, TlsError};
use crate::fleet::FoundMail;

/// What a mail account on an IMAP server is reached by.
pub struct ImapAccount<'a> {
    /// The server's name: it is verified, and named in errors.
    pub host: &'a str,
    /// The server's address and port.
    pub address: SocketAddrV4,
    /// Trust in the cluster's authority, see [`tls::trusting`].
    pub tls: Arc<ClientConfig>,
    /// Log-in name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
}

/// What lies in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The messages of INBOX in the order of their UIDs; doubles are listed twice.
    pub inbox: Vec<FoundMail>,
    /// UIDVALIDITY of INBOX: another value than before means that clients have to fetch everything anew.
    pub uid_validity: u32,
    /// Every other folder and the number of messages in it.
    pub folders: Vec<(String, u32)>,
    /// The first word of the greeting's text: the server's own name, where it gives one.
    pub server: Option<String>,
}

/// What went wrong with an IMAP session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImapCause {
    /// No connection came about.
    #[error("{0}")]
    Unreachable(#[from] DialError),
    /// No TLS session came about, or the certificate does not verify.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The server answered NO to LOGIN.
    #[error("log-in refused: {0}")]
    LoginRefused(String),
    /// The server said BAD, NO at another step, or something that is not IMAP.
    #[error("{0}")]
    Protocol(String),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The deadline passed.
    #[error("no reply before the deadline")]
    Silent,
}

impl From<Error> for ImapCause {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(e) => ImapCause::Lost(e.to_string()),
            Error::ConnectionLost => ImapCause::Lost(error.to_string()),
            _ => ImapCause::Protocol(error.to_string()),
        }
    }
}

impl From<Elapsed> for ImapCause {
    fn from(_: Elapsed) -> Self {
        ImapCause::Silent
    }
}

/// The connection, with an ear on what the server says.
pub(super) type Wire = Heard<TlsStream<Box<dyn Stream>>>;

/// Logs in to `account` from `from` and lists what lies in it.
pub async fn list(
    dial: &dyn Dial,
    from: Ipv4Addr,
    account: &ImapAccount<'_>,
    deadline: Duration,
) -> Result<Holdings, Failure<ImapCause>> {
    let mut visit = Visit::new(deadline);
    match visit.all(dial, from, account).await {
        Ok(holdings) => Ok(holdings),
        Err(cause) => Err(visit.failure(account, cause)),
    }
}

/// Where a visit stands.
pub(super) struct Visit {
    deadline: Deadline,
    step: &'static str,
    last: LastLine,
    server: Option<String>,
}

impl Visit {
    pub(super) fn new(deadline: Duration) -> Visit {
        Visit {
            deadline: Deadline::after(deadline),
            step: "connect",
            last: LastLine::default(),
            server: None,
        }
    }

    pub(super) fn server(&self) -> Option<String> {
        self.server.clone()
    }

    pub(super) fn failure(&self, account: &ImapAccount<'_>, cause: ImapCause) -> Failure<ImapCause> {
        Failure {
            host: format!("{} ({})", account.host, account.address),
            step: self.step,
            deadline: self.deadline.total(),
            last_line: self.last.get(),
            cause,
        }
    }

    async fn all(&mut self, dial: &dyn Dial, from: Ipv4Addr, account: &ImapAccount<'_>) -> Result<Holdings, ImapCause> {
        let mut session = self.log_in(dial, from, account).await?;
        let (inbox, uid_validity) = self.inbox(&mut session).await?;
        let folders = self.folders(&mut session).await?;
        self.step = "LOGOUT";
        self.deadline.within(session.logout()).await??;
        Ok(Holdings {
            inbox,
            uid_validity,
            folders,
            server: self.server.take(),
        })
    }

    pub(super) async fn log_in(
        &mut self,
        dial: &dyn Dial,
        from: Ipv4Addr,
        account: &ImapAccount<'_>,
    ) -> Result<Session<Wire>, ImapCause> {
        let left = self.deadline.left();
        let stream = self.deadline.within(dial.dial(from, account.address, left)).await??;
        self.step = "TLS handshake";
        let stream = self
            .deadline
            .within(tls::handshake(&account.tls, account.host, stream))
            .await??;
        let (stream, last) = Heard::new(stream);
        self.last = last;
        let mut client = Client::new(stream);
        self.step = "greeting";
        let greeting = self.deadline.within(client.read_response()).await?.map_err(Error::Io)?;
        match greeting.ok_or(Error::ConnectionLost)?.parsed() {
            Response::Data {
                status: Status::Ok,
                outcome,
                ..
            } => {
                let name = outcome
                    .information
                    .as_deref()
                    .and_then(|text| text.split_whitespace().next());
                self.server = name.map(str::to_owned);
            }
            _ => return Err(ImapCause::Protocol("the greeting is no welcome".into())),
        }
        self.step = "LOGIN";
        match self
            .deadline
            .within(client.login(account.user, account.password))
            .await?
        {
            Ok(session) => Ok(session),
            Err((Error::No(_), _)) => Err(ImapCause::LoginRefused(self.last.get().unwrap_or_default())),
            Err((error, _)) => Err(error.into()),
        }
    }

    async fn inbox(&mut self, session: &mut Session<Wire>) -> Result<(Vec<FoundMail>, u32), ImapCause> {
        self.step = "EXAMINE INBOX";
        let mailbox = self.deadline.within(session.examine("INBOX")).await??;
        let validity = mailbox
            .uid_validity
            .ok_or_else(|| ImapCause::Protocol("no UIDVALIDITY given".into()))?;
        if mailbox.exists == 0 {
            return Ok((Vec::new(), validity));
        }
        self.step = "UID FETCH";
        let fetch = format!("UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS ({LEDGER_HEADER} Message-ID)])");
        let mut mails = self.command(session, &fetch, found).await?;
        let announced = usize::try_from(mailbox.exists).unwrap_or(usize::MAX);
        if mails.len() < announced {
            let listed = mails.len();
            return Err(ImapCause::Protocol(format!(
                "{announced} messages announced, {listed} listed"
            )));
        }
        mails.sort_by_key(|mail| mail.uid);
        Ok((mails, validity))
    }

    async fn folders(&mut self, session: &mut Session<Wire>) -> Result<Vec<(String, u32)>, ImapCause> {
        self.step = "LIST";
        let names = self.command(session, r#"LIST "" "*""#, selectable).await?;
        self.step = "STATUS";
        let mut folders = Vec::new();
        for name in names.into_iter().filter(|name| !name.eq_ignore_ascii_case("INBOX")) {
            let status = self.deadline.within(session.status(&name, "(MESSAGES)")).await??;
            folders.push((name, status.exists));
        }
        Ok(folders)
    }

    /// Runs a command and returns what `pick` takes from its untagged responses, provided that it ended with OK: the
    /// library's own streams of FETCH and LIST end alike for OK and NO.
    async fn command<T>(
        &self,
        session: &mut Session<Wire>,
        command: &str,
        pick: fn(&Response<'_>) -> Option<T>,
    ) -> Result<Vec<T>, ImapCause> {
        let id = self.deadline.within(session.run_command(command)).await??;
        let mut picked = Vec::new();
        loop {
            let response = self
                .deadline
                .within(session.read_response())
                .await?
                .map_err(Error::Io)?;
            match response.ok_or(Error::ConnectionLost)?.parsed() {
                Response::Done {
                    tag,
                    status: Status::Ok,
                    ..
                } if *tag == id => return Ok(picked),
                Response::Done { tag, outcome, .. } if *tag == id => {
                    let text = outcome.information.as_deref().unwrap_or("no reason given");
                    return Err(ImapCause::Protocol(format!("the server declined: {text}")));
                }
                response => picked.extend(pick(response)),
            }
        }
    }
}

/// The message of a FETCH response; `None` for responses without the fields that were asked for, such as a change of
/// flags that another client made.
pub(super) fn found(response: &Response<'_>) -> Option<FoundMail> {
    let Response::Fetch(_, attributes) = response else {
        return None;
    };
    let uid = attributes.iter().find_map(|a| match a {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })?;
    let header = attributes.iter().find_map(|a| match a {
        AttributeValue::BodySection {
            section: Some(SectionPath::Full(MessageSection::Header)),
            data,
            ..
        } => Some(data.as_deref().unwrap_or_default()),
        _ => None,
    })?;
    Some(FoundMail {
        id: ledger_id(header).unwrap_or_else(|| format!("uid-{uid}")),
        uid,
    })
}

/// The ledger id in a message's header, else its Message-ID without brackets.
fn ledger_id(header: &[u8]) -> Option<String> {
    let message = mail_parser::MessageParser::default().parse_headers(header)?;
    let raw = |name: &str| {
        message
            .header_raw(name)
            .map(|v| v.trim().trim_matches(['<', '>']).to_owned())
    };
    raw(LEDGER_HEADER)
        .or_else(|| raw("Message-ID"))
        .filter(|id| !id.is_empty())
}

/// The name of a folder that can be opened.
pub(super) fn selectable(response: &Response<'_>) -> Option<String> {
    use async_imap::imap_proto::NameAttribute::{Extension, NoSelect};
    let Response::MailboxData(MailboxDatum::List(folder)) = response else {
        return None;
    };
    let closed = folder.name_attributes.iter().any(|a| match a {
        NoSelect => true,
        Extension(text) => text.eq_ignore_ascii_case(r"\NonExistent"),
        _ => false,
    });
    (!closed).then(|| folder.name.to_string())
}

#[cfg(test)]
#[path = "imap_tests.rs"]
mod tests;

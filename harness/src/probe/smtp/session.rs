//! One SMTP connection: greeting, EHLO, STARTTLS, the envelope, DATA. Every await ends with the deadline it is given.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio_util::codec::Framed;

use super::codec::{CodecError, Outgoing, Reply, SmtpCodec};
use crate::probe::deadline::{Deadline, Elapsed};
use crate::probe::dial::{DialError, Stream};
use crate::probe::tls::{self, TlsError};

/// Why a step of an SMTP connection gave no reply that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpCause {
    /// No connection came about.
    #[error("{0}")]
    Unreachable(#[from] DialError),
    /// No TLS session came about after STARTTLS was agreed on.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// STARTTLS is demanded and was not offered.
    #[error("the server does not offer STARTTLS")]
    NoStartTls,
    /// The server answered otherwise than the step needs.
    #[error("the server answered {0}")]
    Reply(Reply),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("connection broken: {0}")]
    Broken(String),
    /// The server sent something that is no SMTP reply, or sent it at the wrong time.
    #[error("{0}")]
    Nonsense(String),
    /// The deadline passed.
    #[error("no reply before the deadline")]
    Silent,
}

impl From<CodecError> for SmtpCause {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Io(e) => SmtpCause::Broken(e.to_string()),
            CodecError::NotAReply(_) => SmtpCause::Nonsense(error.to_string()),
        }
    }
}

impl From<Elapsed> for SmtpCause {
    fn from(_: Elapsed) -> Self {
        SmtpCause::Silent
    }
}

/// A connection to a server.
pub(super) struct Session {
    wire: Framed<Box<dyn Stream>, SmtpCodec>,
    /// The step that is under way, for errors.
    pub(super) step: &'static str,
    /// The last reply, for errors.
    pub(super) last: Option<Reply>,
}

impl Session {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            wire: Framed::new(stream, SmtpCodec::default()),
            step: "greeting",
            last: None,
        }
    }

    /// Reads one reply, whatever its code.
    pub(super) async fn reply(&mut self, deadline: Deadline) -> Result<Reply, SmtpCause> {
        let reply = deadline.within(self.wire.next()).await?.ok_or(SmtpCause::Closed)??;
        self.last = Some(reply.clone());
        Ok(reply)
    }

    pub(super) async fn send(&mut self, what: Outgoing<'_>, deadline: Deadline) -> Result<(), SmtpCause> {
        Ok(deadline.within(self.wire.send(what)).await??)
    }

    /// Sends a command and reads its reply, whatever its code.
    pub(super) async fn ask(&mut self, step: &'static str, line: &str, deadline: Deadline) -> Result<Reply, SmtpCause> {
        self.step = step;
        self.send(Outgoing::Line(line), deadline).await?;
        self.reply(deadline).await
    }

    /// Reads the greeting, introduces itself, and returns what the server offers.
    pub(super) async fn introduce(&mut self, hello: &str, deadline: Deadline) -> Result<Reply, SmtpCause> {
        positive(self.reply(deadline).await?)?;
        self.ehlo(hello, deadline).await
    }

    async fn ehlo(&mut self, hello: &str, deadline: Deadline) -> Result<Reply, SmtpCause> {
        positive(self.ask("EHLO", &format!("EHLO {hello}"), deadline).await?)
    }

    /// Turns the connection into a TLS session (RFC 3207) and introduces itself again, since nothing that was said
    /// before counts. After an error the connection is gone.
    pub(super) async fn start_tls(
        &mut self,
        config: &Arc<ClientConfig>,
        name: &str,
        hello: &str,
        deadline: Deadline,
    ) -> Result<Reply, SmtpCause> {
        positive(self.ask("STARTTLS", "STARTTLS", deadline).await?)?;
        self.step = "TLS handshake";
        let nobody: Box<dyn Stream> = Box::new(tokio::io::empty());
        let parts = std::mem::replace(&mut self.wire, Framed::new(nobody, SmtpCodec::default())).into_parts();
        if !parts.read_buf.is_empty() {
            return Err(SmtpCause::Nonsense(
                "the server spoke between STARTTLS and the handshake".into(),
            ));
        }
        let tls = deadline.within(tls::handshake(config, name, parts.io)).await??;
        self.wire = Framed::new(Box::new(tls), SmtpCodec::default());
        self.ehlo(hello, deadline).await
    }
}

/// The reply, if it is positive.
pub(super) fn positive(reply: Reply) -> Result<Reply, SmtpCause> {
    if reply.is_positive() {
        Ok(reply)
    } else {
        Err(SmtpCause::Reply(reply))
    }
}

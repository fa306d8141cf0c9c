//! Submission by a user's mail program (RFC 6409): TLS that verifies the server's name, log-in, one message.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ClientConfig;

use super::QUIT_LIMIT;
use super::codec::{Outgoing, dot_stuff};
use super::message;
use super::session::{Session, SmtpCause, positive};
use crate::fleet::Mail;
use crate::probe::deadline::{Deadline, Failure};
use crate::probe::dial::{Dial, DialError};
use crate::probe::tls;
use crate::record::Outcome;

/// The port with TLS from the first byte (RFC 8314 section 3.3); at any other the client asks for it.
const SUBMISSIONS: u16 = 465;

/// A server for submission, and how its user logs in; the log-in name is the message's sender.
pub struct Account<'a> {
    /// The server's name: it is verified, and named in errors.
    pub host: &'a str,
    /// The server's address and port.
    pub address: SocketAddrV4,
    /// Trust in the cluster's authority, see [`tls::trusting`].
    pub tls: Arc<ClientConfig>,
    /// Password.
    pub password: &'a str,
}

/// Hands `mail` over as its sender. Tells the server by the name in its greeting: behind one address there may be
/// several. An answer to the final dot that is not heard makes the outcome unknown.
pub async fn submit(
    dial: &dyn Dial,
    from: Ipv4Addr,
    account: &Account<'_>,
    mail: &Mail,
    deadline: Duration,
) -> Outcome {
    let deadline = Deadline::after(deadline);
    let failure = |step, last: Option<String>, cause: SmtpCause| Failure {
        host: format!("{} ({})", account.host, account.address),
        step,
        deadline: deadline.total(),
        last_line: last,
        cause,
    };
    let fail = |failure: Failure<SmtpCause>| Outcome::Fail {
        reason: failure.to_string(),
    };
    let mut session = match connect(dial, from, account, deadline).await {
        Ok(session) => session,
        Err((step, cause)) => return fail(failure(step, None, cause)),
    };
    let server = match hand_over(&mut session, account, mail, deadline).await {
        Ok(server) => server,
        Err(cause) => return fail(failure(session.step, last_of(&session), cause)),
    };
    session.step = "final dot";
    let answer = match session.send(Outgoing::Dot, deadline).await {
        Ok(()) => session.reply(deadline).await,
        Err(cause) => Err(cause),
    };
    match answer {
        Ok(reply) if reply.code == 250 => {
            let _ = session.ask("QUIT", "QUIT", deadline.at_most(QUIT_LIMIT)).await;
            Outcome::Ok { served_by: server }
        }
        Ok(reply) => fail(failure(session.step, last_of(&session), SmtpCause::Reply(reply))),
        Err(cause) => Outcome::Unknown {
            reason: failure(session.step, last_of(&session), cause).to_string(),
        },
    }
}

fn last_of(session: &Session) -> Option<String> {
    let last = session.last.as_ref()?.wire();
    last.lines().last().map(str::to_owned)
}

async fn connect(
    dial: &dyn Dial,
    from: Ipv4Addr,
    account: &Account<'_>,
    deadline: Deadline,
) -> Result<Session, (&'static str, SmtpCause)> {
    let dialled = deadline.within(dial.dial(from, account.address, deadline.left())).await;
    let stream = dialled
        .unwrap_or(Err(DialError::Silent(deadline.total())))
        .map_err(|e| ("connect", e.into()))?;
    if account.address.port() != SUBMISSIONS {
        return Ok(Session::new(stream));
    }
    let handshake = deadline
        .within(tls::handshake(&account.tls, account.host, stream))
        .await;
    let encrypted = handshake
        .map_err(SmtpCause::from)
        .and_then(|stream| Ok(stream?))
        .map_err(|cause| ("TLS handshake", cause))?;
    Ok(Session::new(Box::new(encrypted)))
}

/// Everything up to the message's last line; the final dot is not sent. Gives the name in the greeting.
async fn hand_over(
    session: &mut Session,
    account: &Account<'_>,
    mail: &Mail,
    deadline: Deadline,
) -> Result<Option<String>, SmtpCause> {
    let message = message::build(mail, SystemTime::now()).map_err(|e| SmtpCause::Nonsense(e.to_string()))?;
    let greeting = positive(session.reply(deadline).await?)?.text();
    let hello = "laptop.client.example";
    let offers = positive(session.ask("EHLO", &format!("EHLO {hello}"), deadline).await?)?;
    if account.address.port() != SUBMISSIONS {
        if !offers.offers("STARTTLS") {
            return Err(SmtpCause::NoStartTls);
        }
        session.start_tls(&account.tls, account.host, hello, deadline).await?;
    }
    let word = BASE64_STANDARD.encode(format!("\0{}\0{}", mail.from, account.password));
    for (step, line) in [
        ("AUTH", format!("AUTH PLAIN {word}")),
        ("MAIL", format!("MAIL FROM:<{}>", mail.from)),
        ("RCPT", format!("RCPT TO:<{}>", mail.to)),
    ] {
        positive(session.ask(step, &line, deadline).await?)?;
    }
    let go_on = session.ask("DATA", "DATA", deadline).await?;
    if go_on.code != 354 {
        return Err(SmtpCause::Reply(go_on));
    }
    session.step = "message";
    session.send(Outgoing::Message(&dot_stuff(&message)), deadline).await?;
    Ok(greeting.split_whitespace().next().map(str::to_owned))
}

#[cfg(test)]
#[path = "submission_tests.rs"]
mod tests;

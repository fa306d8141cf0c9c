//! A raw dialogue in clear text, for the questions that a well-behaved client never asks: will you relay for a
//! stranger, will you take a password without encryption?

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::codec::Outgoing;
use super::session::{Session, SmtpCause};
use crate::probe::deadline::{Deadline, Failure};
use crate::probe::dial::{Dial, DialError};

/// Plays `lines` to the server at `to` and returns every reply as it stood on the wire, the greeting first, the lines
/// of one reply joined by line feeds.
///
/// After a 354 reply, lines are sent without waiting until one is a single dot. Ends early, without an error, when
/// the server hangs up. A dialogue that takes longer than `deadline`, a connection that does not come about and an
/// answer that is not SMTP are errors.
pub async fn dialogue(
    dial: &dyn Dial,
    from: Ipv4Addr,
    to: SocketAddrV4,
    lines: &[String],
    deadline: Duration,
) -> Result<Vec<String>, Failure<SmtpCause>> {
    let deadline = Deadline::after(deadline);
    let failure = |step, last_line, cause| Failure {
        host: to.to_string(),
        step,
        deadline: deadline.total(),
        last_line,
        cause,
    };
    let dialled = deadline.within(dial.dial(from, to, deadline.left())).await;
    let stream = dialled
        .unwrap_or(Err(DialError::Silent(deadline.total())))
        .map_err(|e| failure("connect", None, SmtpCause::Unreachable(e)))?;
    let mut session = Session::new(stream);
    let mut replies = Vec::new();
    match play(&mut session, lines, &mut replies, deadline).await {
        Ok(()) | Err(SmtpCause::Closed | SmtpCause::Broken(_)) => Ok(replies),
        Err(cause) => Err(failure(session.step, replies.pop(), cause)),
    }
}

async fn play(
    session: &mut Session,
    lines: &[String],
    replies: &mut Vec<String>,
    deadline: Deadline,
) -> Result<(), SmtpCause> {
    replies.push(session.reply(deadline).await?.wire());
    session.step = "dialogue";
    let mut in_message = false;
    for line in lines {
        session.send(Outgoing::Line(line), deadline).await?;
        if in_message && line != "." {
            continue;
        }
        let reply = session.reply(deadline).await?;
        in_message = reply.code == 354;
        replies.push(reply.wire());
    }
    Ok(())
}

//! What became of a message, and the rules that tell it from what the hosts said.

use std::fmt;
use std::time::Duration;

use super::MxHost;
use super::codec::Reply;
use super::session::{Session, SmtpCause};
use crate::probe::deadline::{Deadline, Failure};
use crate::record::Outcome;

/// What became of a message that was handed over, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A host answered 250 to the final dot: it is responsible for the message now.
    Accepted {
        /// The host.
        host: String,
        /// Its reply.
        reply: Reply,
        /// The queue id in the reply, where one is recognised.
        queue_id: Option<String>,
    },
    /// A host answered 5yz: it will never take this message.
    Refused {
        /// The host.
        host: String,
        /// The command that was answered so.
        step: &'static str,
        /// The code of the reply.
        code: u16,
        /// Its text.
        text: String,
    },
    /// No host took the message; a mail server would try again later. It certainly lies nowhere.
    Deferred {
        /// Every host that was tried, in order; empty if there was none.
        attempts: Vec<Attempt>,
    },
    /// A host has the whole message and its answer was not heard: accepted or not, nobody here can tell.
    Unknown {
        /// What happened instead of an answer.
        why: Attempt,
    },
}

/// One host that did not take the message.
pub type Attempt = Failure<SmtpCause>;

impl Attempt {
    pub(super) fn new(
        host: &MxHost,
        step: &'static str,
        deadline: Deadline,
        last: Option<&Reply>,
        cause: SmtpCause,
    ) -> Self {
        Failure {
            host: format!("{} ({})", host.name, host.address),
            step,
            deadline: deadline.total(),
            last_line: last.map(|reply| reply.wire().lines().last().unwrap_or_default().to_owned()),
            cause,
        }
    }

    /// A failure of this side, before any host was asked.
    pub(super) fn own(reason: String) -> Self {
        Failure {
            host: "sender".into(),
            step: "build",
            deadline: Duration::ZERO,
            last_line: None,
            cause: SmtpCause::Nonsense(reason),
        }
    }
}

/// How the visit to one host ended.
pub(super) enum End {
    /// The message's fate is told.
    Told(Delivery),
    /// This host did not take it; another may.
    NextHost(Attempt),
}

impl End {
    /// The host did something else than to let the message through before the final dot was sent.
    pub(super) fn before_dot(host: &MxHost, session: &Session, deadline: Deadline, cause: SmtpCause) -> Self {
        match cause {
            SmtpCause::Reply(reply) if reply.is_permanent() && is_verdict(session.step) => {
                End::Told(refused(host, session.step, &reply))
            }
            cause => End::NextHost(Attempt::new(host, session.step, deadline, session.last.as_ref(), cause)),
        }
    }

    /// The final dot was sent, in part or whole.
    pub(super) fn after_dot(
        host: &MxHost,
        session: &Session,
        deadline: Deadline,
        answer: Result<Reply, SmtpCause>,
    ) -> Self {
        let attempt = |cause| Attempt::new(host, session.step, deadline, session.last.as_ref(), cause);
        match answer {
            Ok(reply) if reply.code == 250 => {
                let queue_id = reply.queue_id();
                End::Told(Delivery::Accepted {
                    host: host.name.clone(),
                    reply,
                    queue_id,
                })
            }
            Ok(reply) if reply.is_permanent() => End::Told(refused(host, session.step, &reply)),
            Ok(reply) if reply.is_transient() => End::NextHost(attempt(SmtpCause::Reply(reply))),
            Ok(reply) => End::Told(Delivery::Unknown {
                why: attempt(SmtpCause::Reply(reply)),
            }),
            Err(cause) => End::Told(Delivery::Unknown { why: attempt(cause) }),
        }
    }

    /// Whether the connection still stands and deserves a QUIT.
    pub(super) fn is_orderly(&self) -> bool {
        match self {
            End::Told(Delivery::Unknown { .. }) => false,
            End::Told(_) => true,
            End::NextHost(attempt) => matches!(attempt.cause, SmtpCause::Reply(_) | SmtpCause::NoStartTls),
        }
    }
}

/// Steps at which 5yz concerns the message; before them it concerns the host only, and another may do better.
fn is_verdict(step: &str) -> bool {
    matches!(step, "MAIL" | "RCPT" | "DATA")
}

fn refused(host: &MxHost, step: &'static str, reply: &Reply) -> Delivery {
    Delivery::Refused {
        host: host.name.clone(),
        step,
        code: reply.code,
        text: reply.text(),
    }
}

impl Delivery {
    /// Every host was tried, `last` as the last one, and none gave a verdict on the message. When all of them refuse any
    /// service for good (5yz to the greeting or to EHLO) that is a refusal, as it is when there is only one host.
    pub(super) fn none_took_it(attempts: Vec<Attempt>, last: Option<&MxHost>) -> Self {
        let closed_for_good = |a: &Attempt| matches!(&a.cause, SmtpCause::Reply(reply) if reply.is_permanent());
        match (attempts.last(), last) {
            (
                Some(Failure {
                    step,
                    cause: SmtpCause::Reply(reply),
                    ..
                }),
                Some(host),
            ) if attempts.iter().all(closed_for_good) => refused(host, step, reply),
            _ => Delivery::Deferred { attempts },
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delivery::Accepted { host, reply, .. } => write!(f, "accepted by {host}: {reply}"),
            Delivery::Refused { host, step, code, text } => write!(f, "refused by {host} at {step}: {code} {text}"),
            Delivery::Deferred { attempts } if attempts.is_empty() => {
                write!(f, "deferred: the domain has no mail host")
            }
            Delivery::Deferred { attempts } => {
                let attempts: Vec<String> = attempts.iter().map(ToString::to_string).collect();
                write!(f, "deferred: {}", attempts.join("; "))
            }
            Delivery::Unknown { why } => write!(f, "unknown: {why}"),
        }
    }
}

impl From<Delivery> for Outcome {
    fn from(delivery: Delivery) -> Self {
        let reason = delivery.to_string();
        match delivery {
            Delivery::Accepted { host, .. } => Outcome::Ok { served_by: Some(host) },
            Delivery::Refused { .. } | Delivery::Deferred { .. } => Outcome::Fail { reason },
            Delivery::Unknown { .. } => Outcome::Unknown { reason },
        }
    }
}

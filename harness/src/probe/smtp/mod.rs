//! SMTP as a foreign mail server speaks it: hosts in order of preference, STARTTLS where offered, one message, and an
//! outcome that never claims more than was seen.
//!
//! Commands are not pipelined: with one message a connection nothing is gained, and each reply belongs to one step.

mod codec;
mod delivery;
mod dialogue;
mod message;
mod receiver;
mod session;
mod submission;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;

pub use codec::Reply;
pub use delivery::{Attempt, Delivery};
pub use dialogue::dialogue;
pub use message::{LEDGER_HEADER, build};
pub use receiver::{Received, receive};
pub use session::SmtpCause;
pub use submission::{Account, submit};

use crate::fleet::Mail;
use crate::probe::deadline::Deadline;
use crate::probe::dial::{Dial, DialError, Stream};
use codec::{Outgoing, dot_stuff};
use delivery::End;
use session::{Session, positive};

/// How long a good-bye may take; the outcome is known by then and must not wait for it.
const QUIT_LIMIT: Duration = Duration::from_secs(1);

/// A host that takes mail for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxHost {
    /// MX preference: lower is tried first.
    pub preference: u16,
    /// Host name, for TLS and for the record.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Whether and how a sender encrypts.
#[derive(Debug, Clone)]
pub enum StartTls {
    /// Never.
    Never,
    /// Where it is offered, with this configuration; see [`crate::probe::tls::opportunistic`]. A handshake that fails
    /// is a failed attempt: the sender does not go on in clear text, so that broken TLS is noticed.
    Offered(Arc<ClientConfig>),
    /// Always; a host that does not offer it is passed over.
    Demanded(Arc<ClientConfig>),
}

/// A host's lot among those of equal preference. The same message draws the same one each time, so that a run can be
/// repeated.
pub(crate) fn lot(message: &str, host: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message, host).hash(&mut hasher);
    hasher.finish()
}

/// A foreign mail server.
pub struct Sender<'a> {
    /// The way to the hosts.
    pub dial: &'a dyn Dial,
    /// The address it sends from.
    pub from: Ipv4Addr,
    /// The name it gives in EHLO.
    pub hello: String,
    /// Its policy of encryption.
    pub tls: StartTls,
    /// Port of the hosts; 25 except in tests on loopback.
    pub port: u16,
    /// How long it waits for a connection to one host before it turns to the next.
    pub connect_limit: Duration,
}

impl Sender<'_> {
    /// Hands `mail` to the first of `hosts` that takes it: by preference, those of equal preference in an order that is
    /// drawn for each message (RFC 5321 section 5.1). One pass, no retries.
    ///
    /// A host that cannot be reached, greets with an error, answers 4yz at any step, or breaks off before the final
    /// dot is followed by the next host. A 5yz answer after EHLO ends the matter, and so does an unclear end after the
    /// final dot: another host could only double the message. Until the final dot each host has an equal share of the
    /// time that is left; the answer to the dot may take all of it.
    pub async fn send(&self, hosts: &[MxHost], mail: &Mail, deadline: Duration) -> Delivery {
        let deadline = Deadline::after(deadline);
        let message = match message::build(mail, SystemTime::now()) {
            Ok(message) => dot_stuff(&message),
            Err(e) => {
                return Delivery::Deferred {
                    attempts: vec![Attempt::own(format!("message not built: {e}"))],
                };
            }
        };
        let mut hosts: Vec<&MxHost> = hosts.iter().collect();
        hosts.sort_by_key(|host| (host.preference, lot(&mail.id, &host.name)));
        let mut attempts = Vec::new();
        for (position, host) in hosts.iter().enumerate() {
            let share = deadline.share(hosts.len() - position);
            match self.try_host(host, mail, &message, share, deadline).await {
                End::Told(delivery) => return delivery,
                End::NextHost(attempt) => attempts.push(attempt),
            }
        }
        Delivery::none_took_it(attempts, hosts.last().copied())
    }

    async fn try_host(&self, host: &MxHost, mail: &Mail, message: &[u8], share: Deadline, whole: Deadline) -> End {
        let stream = match self.connect(host, share).await {
            Ok(stream) => stream,
            Err(error) => return End::NextHost(Attempt::new(host, "connect", share, None, error.into())),
        };
        let mut session = Session::new(stream);
        let end = match self.hand_over(&mut session, host, mail, message, share).await {
            Ok(()) => end_of_data(&mut session, host, whole).await,
            Err(cause) => End::before_dot(host, &session, share, cause),
        };
        if end.is_orderly() {
            let _ = session.ask("QUIT", "QUIT", whole.at_most(QUIT_LIMIT)).await;
        }
        end
    }

    async fn connect(&self, host: &MxHost, share: Deadline) -> Result<Box<dyn Stream>, DialError> {
        let limit = share.at_most(self.connect_limit);
        let dialled = self
            .dial
            .dial(self.from, SocketAddrV4::new(host.address, self.port), limit.left());
        limit
            .within(dialled)
            .await
            .unwrap_or(Err(DialError::Silent(limit.left())))
    }

    /// Everything up to the message's last line; the final dot is not sent.
    async fn hand_over(
        &self,
        session: &mut Session,
        host: &MxHost,
        mail: &Mail,
        message: &[u8],
        deadline: Deadline,
    ) -> Result<(), SmtpCause> {
        let offers = session.introduce(&self.hello, deadline).await?;
        match &self.tls {
            StartTls::Offered(config) | StartTls::Demanded(config) if offers.offers("STARTTLS") => {
                session.start_tls(config, &host.name, &self.hello, deadline).await?;
            }
            StartTls::Demanded(_) => return Err(SmtpCause::NoStartTls),
            StartTls::Never | StartTls::Offered(_) => {}
        }
        positive(
            session
                .ask("MAIL", &format!("MAIL FROM:<{}>", mail.from), deadline)
                .await?,
        )?;
        positive(session.ask("RCPT", &format!("RCPT TO:<{}>", mail.to), deadline).await?)?;
        let go_on = session.ask("DATA", "DATA", deadline).await?;
        if go_on.code != 354 {
            return Err(SmtpCause::Reply(go_on));
        }
        session.step = "message";
        session.send(Outgoing::Message(message), deadline).await
    }
}

/// Sends the final dot. From the first byte of it on, only a clear answer makes a clear end.
async fn end_of_data(session: &mut Session, host: &MxHost, deadline: Deadline) -> End {
    session.step = "final dot";
    let answer = match session.send(Outgoing::Dot, deadline).await {
        Ok(()) => session.reply(deadline).await,
        Err(cause) => Err(cause),
    };
    End::after_dot(host, session, deadline, answer)
}

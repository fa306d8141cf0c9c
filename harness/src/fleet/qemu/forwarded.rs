//! Mail from elsewhere that a user has forwarded there: it goes in signed, and what comes back is looked at as its receiver would.

use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cluster::{QemuFleet, error};
use super::elsewhere;
use crate::fleet::{Departure, FleetError, Mail, Role};
use crate::probe::dial::DialError;
use crate::probe::{seal, smtp};
use crate::record::Outcome;

/// The port between mail servers.
const SMTP: u16 = 25;
/// Position of the reply to the end of a message, the greeting being the first.
const END_OF_MESSAGE: usize = 5;

impl QemuFleet {
    /// Hands a signed message over at the first gateway, and takes what its recipient forwards.
    pub(super) async fn forwards(&self, mail: &Mail, deadline: Duration) -> (Outcome, Result<Departure, FleetError>) {
        let failed = |reason: String| error(&mail.to, &format!("forward {}", mail.id), &reason);
        let (told, hears) = oneshot::channel();
        let hand_over = async {
            let taken = self.hand_over_signed(mail, deadline).await;
            // What was not taken is not waited for.
            let _ = told.send(matches!(taken, Outcome::Ok { .. }));
            taken
        };
        let refused = async {
            if matches!(hears.await, Ok(true)) {
                std::future::pending::<()>().await;
            }
        };
        let back = async {
            tokio::select! {
                back = self.comes_back(deadline) => back.map_err(|error| format!("it did not come back: {error}")),
                () = refused => Err("it was not taken".to_owned()),
            }
        };
        let (taken, back) = tokio::join!(hand_over, back);
        (taken, back.map_err(failed))
    }

    /// Takes a message at the foreign server, and looks at its seal.
    async fn comes_back(&self, deadline: Duration) -> Result<Departure, DialError> {
        let server = SocketAddrV4::new(self.addresses.sender, SMTP);
        let (stream, client) = self.lan.accept(server, deadline).await?;
        let received = timeout(deadline, smtp::receive(stream)).await;
        let received = received.map_err(|_| DialError::Silent(deadline))?;
        let received = received.map_err(|error| DialError::Other(error.to_string()))?;
        let node = self.topology.nodes.iter().find(|node| node.address == client);
        let sealed = seal::verify(&received.message, &self.topology.domain, &self.zones.keys()).await;
        Ok(Departure {
            by: node.map_or_else(|| client.to_string(), |node| node.name.clone()),
            signature: sealed.map_err(|objection| objection.to_string()),
        })
    }

    /// From the address that may send for the domain.
    async fn hand_over_signed(&self, mail: &Mail, deadline: Duration) -> Outcome {
        let gateways = self.topology.of_role(Role::Gateway);
        let Some(gateway) = gateways.first() else {
            return Outcome::Fail {
                reason: "there is no gateway".to_owned(),
            };
        };
        let (lines, to) = match (self.signed_dialogue(mail), self.info(gateway)) {
            (Ok(lines), Ok(info)) => (lines, SocketAddrV4::new(info.address, SMTP)),
            (Err(reason), _) => return Outcome::Fail { reason },
            (_, Err(error)) => {
                return Outcome::Fail {
                    reason: error.to_string(),
                };
            }
        };
        match smtp::dialogue(&self.lan, self.addresses.sender, to, &lines, deadline).await {
            Err(error) => Outcome::Unknown {
                reason: error.to_string(),
            },
            Ok(replies) => match replies.get(END_OF_MESSAGE) {
                Some(reply) if reply.starts_with('2') => Outcome::Ok {
                    served_by: Some((*gateway).to_owned()),
                },
                _ => Outcome::Fail {
                    reason: format!("{gateway} did not take it: {}", replies.join(" / ")),
                },
            },
        }
    }

    /// What the foreign server says.
    fn signed_dialogue(&self, mail: &Mail) -> Result<Vec<String>, String> {
        let mail = Mail {
            from: format!("ledger@{}", elsewhere::DOMAIN),
            ..mail.clone()
        };
        let message = smtp::build(&mail, SystemTime::now()).map_err(|error| error.to_string())?;
        let message = self.elsewhere.signed(&message)?;
        let message = String::from_utf8(message).map_err(|error| error.to_string())?;
        let begin = [
            format!("EHLO {}", elsewhere::DOMAIN),
            format!("MAIL FROM:<{}>", mail.from),
            format!("RCPT TO:<{}>", mail.to),
            "DATA".to_owned(),
        ];
        let end = [".", "QUIT"].map(str::to_owned);
        Ok(begin
            .into_iter()
            .chain(message.lines().map(stuffed))
            .chain(end)
            .collect())
    }
}

/// A line as it goes over the wire (RFC 5321 section 4.5.2).
fn stuffed(line: &str) -> String {
    let dot = if line.starts_with('.') { "." } else { "" };
    format!("{dot}{line}")
}

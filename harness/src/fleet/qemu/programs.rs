//! Users' mail programs, which reach the cluster by its one name through a load balancer.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::timeout;

use super::cluster::{QemuFleet, error};
use crate::fleet::{Departure, FleetError, Mail, VIRTUAL_ADDRESS};
use crate::probe::dial::DialError;
use crate::probe::imap_session::{self, OpenAccount};
use crate::probe::{dkim, imap, smtp};
use crate::record::Outcome;

/// The port for IMAP with TLS from the first byte (RFC 8314).
const IMAPS: u16 = 993;
/// The port for submission with TLS from the first byte (RFC 8314).
const SUBMISSIONS: u16 = 465;
/// The port between mail servers.
const SMTP: u16 = 25;

impl QemuFleet {
    /// Lists a user's inbox; tells the server by the name in its greeting.
    pub(super) async fn list_through(&self, balancer: &str, user: &str, deadline: Duration) -> Outcome {
        let (host, address, password) = match self.door(balancer, IMAPS, user) {
            Ok(door) => door,
            Err(error) => return failed(&error),
        };
        let account = imap::ImapAccount {
            host,
            address,
            tls: self.trusting.clone(),
            user,
            password,
        };
        match imap::list(&self.lan, self.addresses.client, &account, deadline).await {
            Ok(holdings) => Outcome::Ok {
                served_by: holdings.server,
            },
            Err(error) => failed(&error),
        }
    }

    /// Logs in to stay.
    pub(super) async fn open_through(
        &self,
        balancer: &str,
        user: &str,
        deadline: Duration,
    ) -> Result<OpenAccount, FleetError> {
        let (host, address, password) = self.door(balancer, IMAPS, user)?;
        let account = imap::ImapAccount {
            host,
            address,
            tls: self.trusting.clone(),
            user,
            password,
        };
        let opened = imap_session::open(&self.lan, self.addresses.client, &account, deadline).await;
        opened.map_err(|failure| error(balancer, "log in by IMAP", &failure.to_string()))
    }

    /// Submits a message of a user, who is its sender.
    pub(super) async fn submit_through(&self, balancer: &str, port: u16, mail: &Mail, deadline: Duration) -> Outcome {
        let (host, address, password) = match self.door(balancer, port, &mail.from) {
            Ok(door) => door,
            Err(error) => return failed(&error),
        };
        let account = smtp::Account {
            host,
            address,
            tls: self.trusting.clone(),
            password,
        };
        smtp::submit(&self.lan, self.addresses.client, &account, mail, deadline).await
    }

    /// Submits a message of a user for somebody at the foreign server's address, and takes it there. The recipient names the
    /// address (RFC 5321 section 4.1.3), since machines have no name server to ask.
    pub(super) async fn sends_away(
        &self,
        balancer: &str,
        mail: &Mail,
        deadline: Duration,
    ) -> Result<Departure, FleetError> {
        let failed = |reason: &str| error(balancer, &format!("send {} away", mail.id), reason);
        let server = self.addresses.sender;
        let mail = Mail {
            to: format!("somebody@[{server}]"),
            ..mail.clone()
        };
        let arrival = async {
            let (stream, client) = self.lan.accept(SocketAddrV4::new(server, SMTP), deadline).await?;
            let received = timeout(deadline, smtp::receive(stream)).await;
            let received = received.map_err(|_| DialError::Silent(deadline))?;
            Ok((client, received.map_err(|error| DialError::Other(error.to_string()))?))
        };
        let (taken, arrived) = tokio::join!(self.submit_through(balancer, SUBMISSIONS, &mail, deadline), arrival);
        if let Outcome::Fail { reason } | Outcome::Unknown { reason } = taken {
            return Err(failed(&format!("it was not taken: {reason}")));
        }
        let (client, received) =
            arrived.map_err(|error: DialError| failed(&format!("it did not arrive elsewhere: {error}")))?;
        let node = self.topology.nodes.iter().find(|node| node.address == client);
        let signature = dkim::verify(&received.message, &self.zones.keys()).await;
        Ok(Departure {
            by: node.map_or_else(|| client.to_string(), |node| node.name.clone()),
            signature: signature.map_err(|objection| objection.to_string()),
        })
    }

    /// The name, the address and the password for a user at a load balancer's port.
    fn door<'a>(
        &'a self,
        balancer: &str,
        port: u16,
        user: &str,
    ) -> Result<(&'a str, SocketAddrV4, &'a str), FleetError> {
        let Some(host) = &self.topology.access_host else {
            return Err(super::cluster::error(
                balancer,
                "reach it with a mail program",
                "it has no door for one",
            ));
        };
        let address = match self.topology.virtual_address {
            Some(shared) if balancer == VIRTUAL_ADDRESS => shared,
            _ => self.info(balancer)?.address,
        };
        let address = SocketAddrV4::new(address, port);
        Ok((host, address, self.password(user)?))
    }
}

fn failed(error: &dyn std::fmt::Display) -> Outcome {
    Outcome::Fail {
        reason: error.to_string(),
    }
}

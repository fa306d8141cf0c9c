//! Users' mail programs, which reach the cluster by its one name through a load balancer.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::cluster::{QemuFleet, error};
use crate::fleet::{FleetError, Mail, VIRTUAL_ADDRESS};
use crate::probe::imap_session::{self, OpenAccount};
use crate::probe::{imap, smtp};
use crate::record::Outcome;

/// The port for IMAP with TLS from the first byte (RFC 8314).
const IMAPS: u16 = 993;

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

//! What a live cluster shows to programs on this host: forwarded ports and the accounts for them.

use std::net::SocketAddrV4;

use generator::spec::Role;

use super::cluster::QemuFleet;
use crate::live::Forward;

impl QemuFleet {
    /// Forwards ports of 127.0.0.1 to what users reach: webmail, the hosts that take mail, IMAP on each mail node.
    ///
    /// # Errors
    /// No port can be had, or the zone does not tell where webmail is.
    pub async fn open_forwards(&self) -> std::io::Result<Vec<Forward>> {
        let webmail = self.webmail_address().map_err(std::io::Error::other)?;
        let mut services = vec![("webmail (HTTPS)".to_owned(), webmail)];
        for (_, name, address) in self.zones.mx(&self.topology.domain) {
            services.push((format!("SMTP, {name}"), SocketAddrV4::new(address, 25)));
        }
        for info in self.topology.nodes.iter().filter(|info| info.role == Role::Mail) {
            let service = format!("IMAP over TLS, {}", info.name);
            services.push((service, SocketAddrV4::new(info.address, 993)));
        }
        let mut forwards = Vec::new();
        for (service, there) in services {
            forwards.push(Forward::open(&self.lan, self.addresses.client, &service, there).await?);
        }
        Ok(forwards)
    }

    /// Mail addresses and passwords of the accounts.
    pub fn accounts(&self) -> Vec<(String, String)> {
        let accounts = self.passwords.iter();
        accounts
            .map(|(user, password)| (user.clone(), password.clone()))
            .collect()
    }
}

//! What a live cluster shows to programs on this host: forwarded ports and the accounts for them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use generator::spec::Role;

use super::Node;
use super::cluster::QemuFleet;
use crate::live::{Forward, Opener};

/// Where a node answers for a service that it does not show to the network.
const DOOR: u16 = 13306;

/// How long opening a door may take with hardware virtualisation.
const OPEN: Duration = Duration::from_secs(20);

/// Opens a door: its firewall lets one address in, and systemd hands what comes there to the service. `$1` is the address,
/// `$2` the port, `$3` the service's own address or socket. Both are gone when the node boots again; safe to repeat.
const OPEN_DOOR: &str = r#"
    nft list chain inet cluster input | grep -q "tcp dport $2 " \
        || nft insert rule inet cluster input ip saddr "$1" tcp dport "$2" accept
    systemctl is-active --quiet "harness-door-$2.socket" \
        || systemd-run --quiet --collect --unit="harness-door-$2" --socket-property=ListenStream="0.0.0.0:$2" \
            /usr/lib/systemd/systemd-socket-proxyd "$3""#;

impl QemuFleet {
    /// Forwards ports of 127.0.0.1 to what users reach (webmail, the hosts that take mail, IMAP on each mail node) and to
    /// what only administrators do: SQL on each mail node, the statistics of the load balancer.
    ///
    /// # Errors
    /// No port can be had, or the zone does not tell where webmail is.
    pub async fn open_forwards(&self) -> std::io::Result<Vec<Forward>> {
        let webmail = self.webmail_address().map_err(std::io::Error::other)?;
        let mut doors = vec![("webmail (HTTPS)".to_owned(), webmail, None)];
        for (_, name, address) in self.zones.mx(&self.topology.domain) {
            doors.push((format!("SMTP, {name}"), SocketAddrV4::new(address, 25), None));
        }
        for info in self.topology.nodes.iter().filter(|info| info.role == Role::Mail) {
            let service = format!("IMAP over TLS, {}", info.name);
            doors.push((service, SocketAddrV4::new(info.address, 993), None));
        }
        for info in &self.topology.nodes {
            let (what, service) = match info.role {
                Role::Mail => ("SQL (mariadb -u root --skip-ssl)", "/run/mysqld/mysqld.sock"),
                Role::LoadBalancer => ("HAProxy statistics (HTTP)", "127.0.0.1:8404"),
                Role::Gateway => continue,
            };
            let node = self.nodes[&info.name].clone();
            let opener = opener(node, self.addresses.client, service, self.stretch(OPEN));
            let there = SocketAddrV4::new(info.address, DOOR);
            doors.push((format!("{what}, {}", info.name), there, Some(opener)));
        }
        let mut forwards = Vec::new();
        for (service, there, opener) in doors {
            forwards.push(Forward::open(&self.lan, self.addresses.client, &service, there, opener).await?);
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

fn opener(node: Arc<Node>, client: Ipv4Addr, service: &'static str, limit: Duration) -> Opener {
    Arc::new(move || {
        let node = node.clone();
        async move {
            let args = [&client.to_string(), &DOOR.to_string(), service];
            node.agent().script("opening a door", OPEN_DOOR, &args, limit).await?;
            Ok(())
        }
        .boxed()
    })
}

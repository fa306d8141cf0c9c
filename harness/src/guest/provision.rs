//! Making a node of a booted machine the way an administrator does: its name and address first, then the bundle of
//! generated files and the install script that lies in it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::agent::Agent;
use super::error::GuestError;
use super::stream::Stream;
use crate::fleet::ExecOutput;

/// Where the address of a machine goes: `systemd.network(5)`.
const NETWORK_FILE: &str = "/etc/systemd/network/10-lan.network";

/// Pause between two looks at whether the address is there.
const PAUSE: Duration = Duration::from_millis(250);

/// How a machine is known on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Host name, without domain.
    pub hostname: String,
    /// Hardware address of the card that gets the address, `52:54:00:...`.
    pub mac: String,
    /// Address.
    pub address: Ipv4Addr,
    /// Length of the network prefix.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Search domain.
    pub domain: String,
}

impl NetworkPlan {
    /// The network file for systemd-networkd.
    fn network_file(&self) -> String {
        let Self {
            mac,
            address,
            prefix,
            gateway,
            ..
        } = self;
        format!(
            "[Match]\nMACAddress={mac}\n\n\
             [Network]\nAddress={address}/{prefix}\nGateway={gateway}\n\
             LinkLocalAddressing=no\nIPv6AcceptRA=no\nLLDP=no\n"
        )
    }

    /// `resolv.conf(5)`.
    fn resolv_conf(&self) -> String {
        let servers = self.dns.iter().map(|server| format!("nameserver {server}\n"));
        servers.chain([format!("search {}\n", self.domain)]).collect()
    }
}

/// Makes a copy of a running machine a machine of its own: its network card gets the hardware address `mac`, and the system
/// a machine id (machine-id(5)) that no other copy has.
///
/// # Errors
/// The deadline passed, the machine ended, or a command failed.
pub async fn individualize(agent: &Agent, mac: &str, limit: Duration) -> Result<(), GuestError> {
    // The journal is kept by machine id, and its keeper has to look again.
    let script = r#"
        set -e
        for card in /sys/class/net/*; do
            [ ! -e "$card/device" ] || ip link set dev "${card##*/}" address "$1"
        done
        tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
        if [ -e /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then
            cp /etc/machine-id /var/lib/dbus/machine-id
        fi
        systemctl restart systemd-journald"#;
    agent
        .script("giving the copy an identity of its own", script, &[mac], limit)
        .await?;
    Ok(())
}

/// Gives a machine its name, address, gateway and name servers, and waits until the address is up. Safe to run again.
///
/// # Errors
/// The deadline passed (the last view of the machine's addresses is told), the machine ended, or a command failed.
pub async fn provision(agent: &Agent, plan: &NetworkPlan, limit: Duration) -> Result<(), GuestError> {
    let start = Instant::now();
    // A link to a resolver of the image's own would be written through; the plan's file takes its place.
    // The network service may be starting by itself and have looked for files just before this one was there: whether it
    // was running, starting or stopped, it is running after `start`, and reads the file at `reload`. A machine that was booted
    // without a network has waited for one in vain; that is no failure of the machine that it is now.
    let script = r#"
        hostname "$1"
        printf '%s\n' "$1" >/etc/hostname
        mkdir -p /etc/systemd/network
        printf '%s' "$3" >"$2"
        chmod 0644 "$2"
        rm -f /etc/resolv.conf
        printf '%s' "$4" >/etc/resolv.conf
        systemctl is-enabled --quiet systemd-networkd || systemctl enable --quiet systemd-networkd
        systemctl start systemd-networkd
        networkctl reload
        systemctl reset-failed systemd-networkd-wait-online.service 2>/dev/null || :"#;
    let (network, resolver) = (plan.network_file(), plan.resolv_conf());
    let args = [plan.hostname.as_str(), NETWORK_FILE, &network, &resolver];
    agent.script("setting name and address", script, &args, limit).await?;
    wait_for_address(agent, plan, start + limit, limit).await
}

async fn wait_for_address(
    agent: &Agent,
    plan: &NetworkPlan,
    until: Instant,
    limit: Duration,
) -> Result<(), GuestError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let addresses = agent
            .run(&["ip", "-oneline", "-family", "inet", "address", "show", "up"], left)
            .await?;
        let routes = agent
            .run(&["ip", "-oneline", "-family", "inet", "route", "show", "default"], left)
            .await?;
        if has_address(&addresses, plan) && routes.contains(&format!("via {} ", plan.gateway)) {
            return Ok(());
        }
        if Instant::now() + PAUSE >= until {
            return Err(GuestError::Deadline {
                machine: agent.machine().to_owned(),
                step: format!("waiting for the address {}/{}", plan.address, plan.prefix),
                limit,
                last: format!("addresses: {:?}, default route: {:?}", addresses.trim(), routes.trim()),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether `ip -oneline address` lists the plan's address.
fn has_address(listing: &str, plan: &NetworkPlan) -> bool {
    let wanted = format!("{}/{}", plan.address, plan.prefix);
    listing
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == wanted))
}

/// Where a bundle is unpacked on the machine.
const BUNDLE_FOLDER: &str = "/root/bundle";

/// Brings a bundle (a gzipped tar) to the machine and unpacks it in place of the one that was there.
///
/// # Errors
/// The deadline passed, the machine ended, or it is no bundle.
pub async fn unpack_bundle(agent: &Agent, tar_gz: &[u8], limit: Duration) -> Result<(), GuestError> {
    unpack_bundle_in(agent, BUNDLE_FOLDER, tar_gz, limit).await
}

/// The same in another folder; those above it are made.
///
/// # Errors
/// As [`unpack_bundle`].
pub async fn unpack_bundle_in(agent: &Agent, folder: &str, tar_gz: &[u8], limit: Duration) -> Result<(), GuestError> {
    let archive = "/root/bundle.tar.gz";
    agent.write_file(archive, tar_gz, 0o600, limit).await?;
    let unpack = r#"
        rm -rf "$2"
        mkdir -p -m 0700 "$2"
        tar --extract --gzip --same-permissions --file "$1" --directory "$2"
        test -f "$2/install""#;
    agent
        .script("unpacking the bundle", unpack, &[archive, folder], limit)
        .await?;
    Ok(())
}

/// Unpacks a bundle and runs the `install` script that lies at its top, telling its lines as they come. Gives what the
/// script said.
///
/// # Errors
/// The deadline passed, the machine ended, or the script failed; the end of its output is told.
pub async fn install_bundle(
    agent: &Agent,
    tar_gz: &[u8],
    limit: Duration,
    tell: impl FnMut(Stream, &str) + Send,
) -> Result<ExecOutput, GuestError> {
    unpack_bundle(agent, tar_gz, limit).await?;
    let run = r#"cd "$1" && exec sh ./install"#;
    let argv = ["/bin/sh", "-c", run, "install", BUNDLE_FOLDER];
    let output = agent
        .exec_streaming("install", &argv, "/root/install", limit, tell)
        .await?;
    if output.status == 0 {
        Ok(output)
    } else {
        Err(agent.failed("install", &output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> NetworkPlan {
        NetworkPlan {
            hostname: "mail1".to_owned(),
            mac: "52:54:00:00:00:0a".to_owned(),
            address: Ipv4Addr::new(192, 168, 1, 10),
            prefix: 24,
            gateway: Ipv4Addr::new(192, 168, 1, 1),
            dns: vec![Ipv4Addr::new(192, 168, 1, 1)],
            domain: "example.org".to_owned(),
        }
    }

    #[test]
    fn the_network_file_finds_the_card_by_its_hardware_address() {
        insta::assert_snapshot!(plan().network_file(), @r"
        [Match]
        MACAddress=52:54:00:00:00:0a

        [Network]
        Address=192.168.1.10/24
        Gateway=192.168.1.1
        LinkLocalAddressing=no
        IPv6AcceptRA=no
        LLDP=no
        ");
    }

    #[test]
    fn the_resolver_asks_the_plans_servers() {
        assert_eq!(plan().resolv_conf(), "nameserver 192.168.1.1\nsearch example.org\n");
    }

    #[test]
    fn an_address_is_found_whole_and_with_its_prefix() {
        let listing =
            "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.168.1.10/24 brd 192.168.1.255 scope";
        assert!(has_address(listing, &plan()));
    }

    #[test]
    fn a_longer_address_with_the_same_beginning_is_another_one() {
        assert!(!has_address(
            "2: eth0    inet 192.168.1.101/24 scope global eth0",
            &plan()
        ));
    }
}

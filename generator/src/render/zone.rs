//! The DNS zone of a mail domain in master-file format (RFC 1035 section 5): addresses, MX, SPF, keys, services. All names that stand
//! as data are absolute: without its final dot a name would get the domain appended once more.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use super::authenticity;
use crate::secrets::Secrets;
use crate::spec::{Cluster, DOORS, Door, Encryption, MAIL_NODES, Role};

/// Seconds for which answers may be cached; short, so that a change of address is seen soon.
const TTL: u32 = 300;

/// The zone of one of the cluster's domains. The serial number is derived from the contents, so that rendering is
/// reproducible and a change is noticed by comparison (RFC 1982 order is left to whoever publishes the zone).
pub(super) fn zone(cluster: &Cluster, secrets: &Secrets, domain: &str) -> String {
    let records = records(cluster, secrets, domain);
    let digest = Sha256::digest(records.as_bytes());
    let serial = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 1;
    let main = &cluster.cluster.domain;
    format!(
        "; Written by the generator: zone of {domain}, cluster {name}.\n\
         $ORIGIN {domain}.\n$TTL {TTL}\n\
         @ IN SOA ns.{main}. hostmaster.{main}. {serial} 3600 900 1209600 {TTL}\n\
         @ IN NS ns.{main}.\n{records}",
        name = cluster.cluster.name,
    )
}

fn records(cluster: &Cluster, secrets: &Secrets, domain: &str) -> String {
    let mut text = String::new();
    let mut line = |record: String| {
        let _ = writeln!(text, "{record}");
    };
    let main = &cluster.cluster.domain;
    if domain == main {
        // The router answers for the cluster's names until they are delegated elsewhere.
        line(format!("ns IN A {}", cluster.network.router));
        for node in &cluster.nodes {
            line(format!("{} IN A {}", node.name, node.address));
        }
        let suffix = format!(".{main}");
        let label = |host: &'_ str| match host == main {
            true => Some("@".to_owned()),
            false => host.strip_suffix(&suffix).map(str::to_owned),
        };
        let programs = cluster.access.iter().map(|access| access.host.as_str());
        let mut labels: Vec<String> = programs
            .chain([cluster.webmail.host.as_str()])
            .filter_map(label)
            .collect();
        labels.dedup();
        for label in labels {
            for (name, address) in entrances(cluster) {
                if name != Some(label.as_str()) {
                    line(format!("{label} IN A {address}"));
                }
            }
        }
    }
    for published in cluster.published() {
        if published.domain == domain {
            for (_, address) in entrances(cluster) {
                line(format!("{} IN A {address}", published.what.label()));
            }
        }
    }
    if domain == main && cluster.pmg_gateways().next().is_some() {
        for (rank, node) in cluster.mail_nodes().into_iter().enumerate() {
            line(format!(
                "{MAIL_NODES} IN MX {} {}.",
                10 * (rank + 1),
                cluster.fqdn(node)
            ));
        }
    }
    let exchangers = exchangers(cluster);
    for (preference, name, _) in &exchangers {
        line(format!("@ IN MX {preference} {name}."));
    }
    let senders: Vec<String> = exchangers
        .iter()
        .map(|(_, _, address)| format!("ip4:{address}"))
        .collect();
    line(format!("@ IN TXT \"v=spf1 {} -all\"", senders.join(" ")));
    authenticity::records(cluster, secrets, domain)
        .into_iter()
        .for_each(&mut line);
    services(cluster).into_iter().for_each(&mut line);
    for record in &cluster.dns.records {
        if domain == main {
            line(format!("{} IN {} {}", record.name, record.kind, record.data));
        }
    }
    text
}

/// Where users come in: the addresses, and whose name each has. The shared one has no name of its own.
fn entrances(cluster: &Cluster) -> Vec<(Option<&str>, Ipv4Addr)> {
    if let Some(shared) = cluster.virtual_address() {
        return vec![(None, shared.address)];
    }
    let balancers: Vec<_> = cluster.of_role(Role::LoadBalancer).collect();
    let doors = if balancers.is_empty() {
        cluster.mail_nodes()
    } else {
        balancers
    };
    doors
        .into_iter()
        .map(|node| (Some(node.name.as_str()), node.address))
        .collect()
}

/// Where mail for the cluster's domains goes: preference, name, address.
fn exchangers(cluster: &Cluster) -> Vec<(usize, String, Ipv4Addr)> {
    let gateways: Vec<_> = cluster.of_role(Role::Gateway).collect();
    if gateways.is_empty() {
        let nodes = cluster.mail_nodes();
        let ranked = nodes.iter().enumerate();
        ranked
            .map(|(rank, node)| (10 * (rank + 1), cluster.fqdn(node), node.address))
            .collect()
    } else {
        gateways
            .iter()
            .map(|node| (10, cluster.fqdn(node), node.address))
            .collect()
    }
}

/// Everybody to whom the zone of this domain has mail sent, the operator's own records included.
pub(super) fn exchanger_names(cluster: &Cluster, domain: &str) -> Vec<String> {
    let mut names: Vec<String> = exchangers(cluster).into_iter().map(|(_, name, _)| name).collect();
    let main = &cluster.cluster.domain;
    if domain == main {
        let own = cluster.dns.records.iter().filter(|record| {
            record.kind.eq_ignore_ascii_case("MX") && (record.name == "@" || record.name == format!("{main}."))
        });
        let targets = own.filter_map(|record| record.data.split_whitespace().nth(1));
        names.extend(targets.map(|target| match target.strip_suffix('.') {
            Some(whole) => whole.to_owned(),
            None => format!("{target}.{main}"),
        }));
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.to_lowercase()));
    names
}

/// Where mail programs find what (RFC 6186, RFC 8314 section 5.1, RFC 5804 section 1.8). Of two services of a kind, the
/// one with TLS from the first byte goes first.
fn services(cluster: &Cluster) -> Vec<String> {
    let Some(access) = &cluster.access else {
        return Vec::new();
    };
    let record = |door: &Door| {
        let priority = match door.encryption {
            Encryption::StartTls if door.name != "sieve" => 10,
            Encryption::StartTls | Encryption::Implicit => 0,
        };
        format!("_{}._tcp IN SRV {priority} 1 {} {}.", door.name, door.port, access.host)
    };
    DOORS.iter().map(record).collect()
}

//! Additional DNS records beside those that are generated: what a record means in the whole zone.

use std::net::Ipv4Addr;

use super::{Finding, Findings};
use crate::spec::{Cluster, DnsRecord, Role};

pub(super) fn check(findings: &mut Findings<'_>) {
    for index in 0..findings.cluster().dns.records.len() {
        let rules = [alone, exchanger, address];
        for rule in rules {
            if let Some(finding) = rule(findings, index) {
                findings.push(finding);
            }
        }
    }
}

/// A record's name, whole, in small letters and without its final dot.
pub(super) fn whole(domain: &str, name: &str) -> String {
    let domain = domain.to_lowercase();
    match name.to_lowercase() {
        name if name == "@" => domain,
        name if name.ends_with('.') => name.trim_end_matches('.').to_owned(),
        name => format!("{name}.{domain}"),
    }
}

/// The name lies in the zone of the domain.
pub(super) fn is_within(domain: &str, name: &str) -> bool {
    let name = whole(domain, name);
    name.strip_suffix(&domain.to_lowercase())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is(record: &DnsRecord, kind: &str) -> bool {
    record.kind.eq_ignore_ascii_case(kind)
}

/// The names that get an address in the generated zone.
fn generated(cluster: &Cluster) -> Vec<(String, Vec<Ipv4Addr>)> {
    let mut names: Vec<(String, Vec<Ipv4Addr>)> = cluster
        .nodes
        .iter()
        .map(|node| (cluster.fqdn(node).to_lowercase(), vec![node.address]))
        .collect();
    let domain = cluster.cluster.domain.to_lowercase();
    names.push((format!("ns.{domain}"), vec![cluster.network.router]));
    let balancers: Vec<Ipv4Addr> = cluster.of_role(Role::LoadBalancer).map(|n| n.address).collect();
    let doors = if balancers.is_empty() {
        cluster.of_role(Role::Mail).map(|n| n.address).collect()
    } else {
        balancers
    };
    if let Some(access) = &cluster.access {
        names.push((access.host.to_lowercase(), doors.clone()));
    }
    let published = cluster.published().into_iter();
    names.extend(published.map(|published| (published.host.to_lowercase(), doors.clone())));
    names.push((cluster.webmail.host.to_lowercase(), doors));
    names
}

/// A CNAME stands alone at its name (RFC 1034 section 3.6.2).
fn alone(findings: &Findings<'_>, index: usize) -> Option<Finding> {
    let cluster = findings.cluster();
    let records = &cluster.dns.records;
    if !is(&records[index], "CNAME") {
        return None;
    }
    let domain = &cluster.cluster.domain;
    let name = whole(domain, &records[index].name);
    let policy = cluster.authenticity.is_some() && name == format!("_dmarc.{}", domain.to_lowercase());
    let made = policy || name == domain.to_lowercase() || generated(cluster).iter().any(|(n, _)| *n == name);
    let mut others = records.iter().enumerate().filter(|(other, _)| *other != index);
    let other = others.any(|(_, record)| whole(domain, &record.name) == name);
    (made || other).then(|| {
        findings
            .at(
                "dns-record-invalid",
                &format!("dns.record[{index}].name"),
                "has other records",
                format!("{name} has a CNAME and other records"),
            )
            .why("a name server refuses the whole zone for one bad record")
            .help("choose another name for the alias, or give it an A record")
    })
}

/// What an MX record leads to.
fn exchanger(findings: &Findings<'_>, index: usize) -> Option<Finding> {
    let cluster = findings.cluster();
    let record = &cluster.dns.records[index];
    if !is(record, "MX") {
        return None;
    }
    let [_, target] = record.data.split_whitespace().collect::<Vec<_>>()[..] else {
        return None;
    };
    let path = format!("dns.record[{index}].data");
    if target == "." {
        return Some(null_exchanger(findings, &path));
    }
    if let Ok(address) = target.trim_end_matches('.').parse() {
        return Some(address_as_exchanger(findings, &path, address));
    }
    let name = meant(&cluster.cluster.domain, target);
    bypass(findings, &path, &name).or_else(|| alias_or_missing(findings, &path, &name))
}

/// The host that a target names. One with dots is taken for whole: that its final dot is missing is told elsewhere.
fn meant(domain: &str, target: &str) -> String {
    if target.contains('.') {
        target.trim_end_matches('.').to_lowercase()
    } else {
        whole(domain, target)
    }
}

fn null_exchanger(findings: &Findings<'_>, path: &str) -> Finding {
    findings
        .at("mx-without-address", path, "takes no mail", "the zone says that it takes no mail")
        .why("an MX record with the target `.` means that the domain has no mail (RFC 7505), beside records that name the cluster's mail servers")
        .help("remove the record")
}

fn address_as_exchanger(findings: &Findings<'_>, path: &str, address: Ipv4Addr) -> Finding {
    findings
        .at("mx-to-address", path, "an address", format!("the MX record leads to the address {address}"))
        .why(format!("an MX record names a host (RFC 1035 section 3.3.9): senders look for the address of a host called {address} and find none"))
        .help("name the host; the nodes have A records already")
}

/// Past the gateway, straight to a mail node.
fn bypass(findings: &Findings<'_>, path: &str, name: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    cluster.of_role(Role::Gateway).next()?;
    let node = cluster
        .of_role(Role::Mail)
        .find(|n| cluster.fqdn(n).to_lowercase() == name)?;
    Some(
        findings
            .at(
                "mx-bypasses-gateway",
                path,
                "a mail node",
                format!("the MX record leads past the gateway to {}", node.name),
            )
            .why("senders use any MX record when another stutters, and spammers choose the last on purpose: they meet the node's closed port, and where it is open, mail reaches the stand-by without being checked")
            .help("remove the record: the gateways are the MX already, and mail waits there while a node is down"),
    )
}

fn alias_or_missing(findings: &Findings<'_>, path: &str, name: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    let domain = &cluster.cluster.domain;
    if !is_within(domain, &format!("{name}.")) {
        return None;
    }
    let at_name = |kind: &str| {
        let mut records = cluster.dns.records.iter();
        records.any(|r| is(r, kind) && whole(domain, &r.name) == name)
    };
    if at_name("CNAME") {
        return Some(
            findings
                .at(
                    "mx-to-alias",
                    path,
                    "an alias",
                    format!("the MX record leads to the alias {name}"),
                )
                .why("an MX record must not lead to a CNAME (RFC 2181 section 10.3): some senders refuse to follow it")
                .help("name the host that the alias leads to"),
        );
    }
    let known = generated(cluster).iter().any(|(n, _)| n == name) || at_name("A") || at_name("AAAA");
    // A wildcard answers for names that nothing else does.
    let wildcard = cluster.dns.records.iter().any(|r| r.name.starts_with('*'));
    (!known && !wildcard).then(|| {
        findings
            .at(
                "mx-without-address",
                path,
                "no such name in the zone",
                format!("the MX record leads to {name}, which has no address"),
            )
            .why("senders find no server there and lose time, or give up if it is the only one")
            .help("name a host of the zone, or add an A record for it")
    })
}

/// Another address for a name that the zone has already.
fn address(findings: &Findings<'_>, index: usize) -> Option<Finding> {
    let cluster = findings.cluster();
    let record = &cluster.dns.records[index];
    let given: Ipv4Addr = record.data.trim().parse().ok().filter(|_| is(record, "A"))?;
    let name = whole(&cluster.cluster.domain, &record.name);
    let (_, own) = generated(cluster).into_iter().find(|(n, _)| *n == name)?;
    (!own.contains(&given)).then(|| {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        findings
            .at(
                "dns-address-conflict",
                &format!("dns.record[{index}].data"),
                "a second address",
                format!("{name} has the address {} already", own.join(" and ")),
            )
            .why("clients take either of the two: every other attempt goes where the service is not")
            .help("choose another name, or mend the node's address")
    })
}

//! Databases: which are replicated, who may replicate, and what they hold already.

use std::net::Ipv4Addr;

use super::Findings;
use crate::diag::did_you_mean;
use crate::spec::{KNOWN_DATABASES, Role};

pub(super) fn check(findings: &mut Findings<'_>) {
    databases(findings);
    replication_host(findings);
    existing(findings);
}

fn databases(findings: &mut Findings<'_>) {
    let replicate = &findings.cluster().database.replicate;
    for (index, name) in replicate.iter().enumerate() {
        let path = format!("database.replicate[{index}]");
        if !KNOWN_DATABASES.contains(&name.as_str()) {
            let finding = findings
                .at(
                    "unknown-database",
                    &path,
                    "not a database of the cluster",
                    format!("there is no database {name:?}"),
                )
                .why("each replicated database is created with its schema and accounts; for this one nothing is known")
                .help(did_you_mean(name, &KNOWN_DATABASES).unwrap_or_default());
            findings.push(finding);
        } else if let Some(first) = replicate[..index].iter().position(|n| n == name) {
            let finding = findings
                .at(
                    "duplicate-database",
                    &path,
                    "listed again",
                    format!("the database {name} is listed twice"),
                )
                .related(
                    findings.span(&format!("database.replicate[{first}]")),
                    "first listed here",
                )
                .why("it would be created twice")
                .help("remove one of the two")
                .fix(findings.instead("database.replicate", list(once(replicate))));
            findings.push(finding);
        }
    }
    if !replicate.iter().any(|n| n == "vmail") {
        let finding = findings
            .at("missing-vmail", "database.replicate", "`vmail` is missing", "the accounts' database `vmail` is not replicated")
            .why("accounts, passwords and aliases would exist on one node only, and after a failover nobody could log in; lists without it come from set-ups that keep accounts in LDAP")
            .help("add \"vmail\" to the list")
            .fix(findings.instead("database.replicate", list(replicate.iter().map(String::as_str).chain(["vmail"]))));
        findings.push(finding);
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(super::toml).collect();
    format!("[{}]", names.join(", "))
}

/// Each name where it stands first.
fn once(names: &[String]) -> impl Iterator<Item = &str> {
    let first = |(index, name): &(usize, &String)| !names[..*index].contains(name);
    names.iter().enumerate().filter(first).map(|(_, name)| name.as_str())
}

fn replication_host(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let Some(host) = &cluster.database.replication_host else {
        return;
    };
    let nodes: Vec<Ipv4Addr> = cluster.mail_nodes().iter().map(|n| n.address).collect();
    let others = cluster.nodes.iter().map(|n| n.address).filter(|a| !nodes.contains(a));
    let strangers: Vec<Ipv4Addr> = others.chain([cluster.network.router]).collect();
    let (label, message) = match Admitted::of(host) {
        Admitted::Pattern => ("a pattern", format!("{host:?} lets other hosts replicate too")),
        Admitted::Nothing => ("not an address", format!("{host:?} is not the peer's address")),
        Admitted::Network { base, mask } => {
            let lets_in = |a: &Ipv4Addr| u32::from(*a) & u32::from(mask) == u32::from(base);
            if strangers.iter().any(lets_in) {
                (
                    "more than the mail nodes",
                    format!("{host:?} lets other hosts replicate too"),
                )
            } else if !nodes.iter().all(lets_in) {
                (
                    "not both mail nodes",
                    format!("{host:?} does not let both mail nodes in"),
                )
            } else {
                return;
            }
        }
    };
    let finding = findings
        .at("replication-host", "database.replication_host", label, message)
        .why("the account reads every row of every database, password hashes included, and both nodes need it")
        .help("remove the line: each node then admits its peer's address only")
        .fix(findings.without("database.replication_host"));
    findings.push(finding);
}

/// Rows that were there before a link is made are no part of the stream that it carries.
fn existing(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let Some(existing) = &cluster.database.existing else {
        return;
    };
    let mail: Vec<&str> = cluster.of_role(Role::Mail).map(|n| n.name.as_str()).collect();
    if !mail.contains(&existing.node.as_str()) {
        let finding = findings
            .at(
                "existing-data-node",
                "database.existing.node",
                "not a mail node",
                format!("{:?} is not a mail node", existing.node),
            )
            .why("databases are on mail nodes only")
            .help(did_you_mean(&existing.node, &mail).unwrap_or_else(|| "name a mail node".to_owned()));
        findings.push(finding);
        return;
    }
    if existing.copied {
        return;
    }
    let other = mail
        .iter()
        .find(|name| **name != existing.node)
        .unwrap_or(&"the other node");
    let finding = findings
        .at(
            "existing-data-not-copied",
            "database.existing",
            "stays on this node",
            format!("what {} holds already never reaches {other}", existing.node),
        )
        .why("replication carries what is written after the link was made; after a failover the older rows are missing, and the first change of one stops replication")
        .help(format!("copy it first: mariadb-backup on {}, restore and `gtid_slave_pos` on {other}; then write copied = true", existing.node));
    findings.push(finding);
}

/// Whom the host part of a MariaDB account lets in.
enum Admitted {
    /// `%` and `_` are wildcards.
    Pattern,
    /// One address, or `base/netmask`.
    Network { base: Ipv4Addr, mask: Ipv4Addr },
    /// No address at all: names are not looked up (`skip_name_resolve`).
    Nothing,
}

impl Admitted {
    fn of(host: &str) -> Admitted {
        if host.is_empty() || host.contains(['%', '_']) {
            return Admitted::Pattern;
        }
        let (base, mask) = host.split_once('/').unwrap_or((host, "255.255.255.255"));
        match (base.parse(), mask.parse()) {
            (Ok(base), Ok(mask)) => Admitted::Network { base, mask },
            _ => Admitted::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::Cluster;

    fn refused(host: &str) -> bool {
        let text = include_str!("../../examples/pair.toml");
        let text = format!("{text}\n[database]\nreplication_host = {host:?}\n");
        let found = crate::check::check(&Cluster::parse("c.toml", &text).unwrap());
        found.iter().any(|f| f.code == "replication-host")
    }

    #[test]
    fn a_replication_host_admits_both_mail_nodes_and_nobody_else() {
        assert!(!refused("192.168.1.10/255.255.255.254"));
        for host in [
            "%",
            "192.168.1.%",
            "",
            "mail2",
            "192.168.1.11",
            "192.168.1.0/255.255.255.0",
            "10.0.0.1",
        ] {
            assert!(refused(host), "{host}");
        }
    }
}

//! Databases: which are replicated, who may replicate, and options that break two-way replication.

use std::net::Ipv4Addr;

use super::{Finding, Findings};
use crate::diag::{Spans, did_you_mean};
use crate::spec::KNOWN_DATABASES;

/// Options that name what is replicated, by normalised name.
const FILTERS: [&str; 9] = [
    "binlog_do_db",
    "binlog_ignore_db",
    "replicate_do_db",
    "replicate_do_table",
    "replicate_ignore_db",
    "replicate_ignore_table",
    "replicate_rewrite_db",
    "replicate_wild_do_table",
    "replicate_wild_ignore_table",
];

/// Options whose value differs between the nodes or that replication cannot do without.
const MANAGED: [&str; 15] = [
    "auto_increment_increment",
    "auto_increment_offset",
    "datadir",
    "gtid_domain_id",
    "gtid_strict_mode",
    "log_bin",
    "log_slave_updates",
    "require_secure_transport",
    "server_id",
    "grant_tables",
    "networking",
    "slave_start",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
];

/// An option that guards acknowledged writes, the values that do, and what happens with others.
const DURABLE: [(&str, &[&str], &str); 8] = [
    (
        "init_rpl_role",
        &["MASTER", "0"],
        "after a crash this node drops writes that the other one may have received already, and never gets them back",
    ),
    (
        "innodb_doublewrite",
        &["ON", "1", "TRUE"],
        "a page that was half written at a power cut cannot be repaired",
    ),
    (
        "innodb_flush_log_at_trx_commit",
        &["1", "3"],
        "up to a second of acknowledged writes is lost in a power cut",
    ),
    (
        "relay_log_recovery",
        &["ON", "1", "TRUE"],
        "after a crash replication may stop at a damaged relay log",
    ),
    (
        "rpl_semi_sync_master_enabled",
        &["ON", "1", "TRUE"],
        "a write is acknowledged before the peer has it",
    ),
    (
        "rpl_semi_sync_master_wait_point",
        &["AFTER_SYNC", "0"],
        "clients see rows that the peer may never get",
    ),
    (
        "rpl_semi_sync_slave_enabled",
        &["ON", "1", "TRUE"],
        "the peer acknowledges writes that this node does not have",
    ),
    (
        "sync_binlog",
        &["1"],
        "a power cut loses acknowledged writes out of the binary log, and the peer never gets them",
    ),
];

pub(super) fn check(findings: &mut Findings<'_>) {
    databases(findings);
    replication_host(findings);
    let options = &findings.cluster().database.options;
    for (key, value) in options {
        if let Some(finding) = option(findings, key, value) {
            findings.push(finding);
        }
    }
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
                .help("remove one of the two");
            findings.push(finding);
        }
    }
    if !replicate.iter().any(|n| n == "vmail") {
        let finding = findings
            .at("missing-vmail", "database.replicate", "`vmail` is missing", "the accounts' database `vmail` is not replicated")
            .why("accounts, passwords and aliases would exist on one node only, and after a failover nobody could log in; lists without it come from set-ups that keep accounts in LDAP")
            .help("add \"vmail\" to the list");
        findings.push(finding);
    }
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
        .help("remove the line: each node then admits its peer's address only");
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

fn option(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let path = Spans::join("database.options", key);
    let name = normal(key);
    let given = value.trim().to_uppercase();
    if FILTERS.contains(&name.as_str()) {
        let said = findings
            .at("binlog-filter", &path, "a filter", format!("`{key}` filters replication"))
            .why("which statements pass depends on the client's current database: one write is silently not replicated, another stops the peer")
            .help("remove the option; name the databases in database.replicate");
        return Some(said);
    }
    if name == "binlog_format" && given != "ROW" {
        let said = findings
            .at(
                "binlog-format",
                &path,
                "not ROW",
                format!("the binary log format is {value}"),
            )
            .why("statements can have another effect on the peer, and the two copies drift apart without an error")
            .help("remove the option: ROW is set already");
        return Some(said);
    }
    let hides = name == "slave_exec_mode" && given != "STRICT" || name == "slave_skip_errors" && given != "OFF";
    if hides {
        let said = findings
            .at("slave-exec-mode", &path, "hides conflicts", format!("`{key} = {value}` hides conflicts between the nodes"))
            .why("when both nodes write one key, each keeps the other's row: the copies differ for ever and no one is told")
            .help("remove the option: replication then stops at a conflict, with an error that can be read");
        return Some(said);
    }
    if let Some((_, good, effect)) = DURABLE.iter().find(|(durable, ..)| *durable == name) {
        return (!good.contains(&given.as_str())).then(|| {
            findings
                .at(
                    "unsafe-durability",
                    &path,
                    format!("must be {}", good[0]),
                    format!("`{key} = {value}` risks acknowledged writes"),
                )
                .why(*effect)
                .help(format!("remove the option: {} is set already", good[0]))
        });
    }
    MANAGED.contains(&name.as_str()).then(|| {
        findings
            .at("managed-option", &path, "set by the generator", format!("`{key}` is set for each node already"))
            .why("two-way replication is built on its value; many differ between the nodes, a raw option is the same on both")
            .help("remove the option")
    })
}

/// One spelling for an option: MariaDB takes `-` for `_`, and the prefixes `loose_`, `skip_`, `disable_`, `enable_`,
/// and `connection.` (a named replication link).
fn normal(key: &str) -> String {
    let lower = key.trim().to_lowercase().replace('-', "_");
    let mut name = lower.rsplit('.').next().unwrap_or(&lower);
    while let Some(rest) = ["loose_", "skip_", "disable_", "enable_"]
        .iter()
        .find_map(|p| name.strip_prefix(p))
    {
        // `slave_skip_errors` keeps its middle; only prefixes fall away.
        name = rest;
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::normal;
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

    #[test]
    fn spellings_of_an_option_are_one() {
        for spelling in [
            "log_bin",
            "log-bin",
            "skip-log-bin",
            "disable_log_bin",
            "loose-skip_LOG_bin",
            "peer.log_bin",
        ] {
            assert_eq!(normal(spelling), "log_bin", "{spelling}");
        }
        assert_eq!(normal("slave-skip-errors"), "slave_skip_errors");
    }
}

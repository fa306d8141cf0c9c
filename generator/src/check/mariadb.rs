//! Raw options of MariaDB: those that break two-way replication, lose acknowledged writes or show a secret.

use super::{Finding, Findings};
use crate::diag::Spans;

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

/// Options whose value differs between the nodes or that replication cannot do without, and what another value does.
const MANAGED: [(&str, &str); 15] = [
    (
        "auto_increment_increment",
        "with steps of 1 both nodes give the same number to different rows, and replication stops at the second",
    ),
    (
        "auto_increment_offset",
        "with the same offset both nodes give the same number to different rows, and replication stops at the second",
    ),
    ("datadir", OTHER),
    ("grant_tables", OTHER),
    (
        "gtid_domain_id",
        "with one domain for both nodes their writes are taken for one ordered stream, which they are not",
    ),
    ("gtid_strict_mode", OTHER),
    ("log_bin", OTHER),
    (
        "log_slave_updates",
        "without it a node cannot pass on what it received: it cannot be the source when the other is set up anew",
    ),
    ("networking", OTHER),
    ("require_secure_transport", OTHER),
    (
        "server_id",
        "a node passes over whatever carries its own number: with one number on both nothing is replicated at all",
    ),
    ("slave_start", OTHER),
    ("ssl_ca", OTHER),
    ("ssl_cert", OTHER),
    ("ssl_key", OTHER),
];

const OTHER: &str = "two-way replication is built on its value";

/// Words of `CHANGE MASTER TO` that name a place in a binary log.
const POSITION: [&str; 5] = [
    "master_log_file",
    "master_log_pos",
    "master_use_gtid",
    "relay_log_file",
    "relay_log_pos",
];

/// Further words of `CHANGE MASTER TO`, which are no options of the server.
const LINK: [&str; 4] = ["master_connect_retry", "master_host", "master_port", "master_user"];

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
    for (key, value) in &findings.cluster().database.options {
        let rules = [secret, position, replication, durability, managed];
        if let Some(finding) = rules.iter().find_map(|rule| rule(findings, key, value)) {
            findings.push(finding);
        }
    }
}

fn path(key: &str) -> String {
    Spans::join("database.options", key)
}

fn secret(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let name = normal(key);
    let is = name.ends_with("password") && name != "disconnect_on_expired_password";
    is.then(|| super::in_the_open(findings, "database.options", key, value))
}

fn position(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    POSITION.contains(&normal(key).as_str()).then(|| {
        findings
            .at(
                "binlog-position",
                &path(key),
                "copied by hand",
                format!("`{key} = {value}` is a place in one server's binary log"),
            )
            .why("after a reset, a restore or a failover the same number means another place: writes are skipped or made twice, without an error. It is no option of the server either, which would not start")
            .help("remove the option: the link uses GTIDs, which mean the same on both nodes")
            .fix(findings.without(&path(key)))
    })
}

fn replication(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let path = path(key);
    let name = normal(key);
    let given = value.trim().to_uppercase();
    if FILTERS.contains(&name.as_str()) {
        let said = findings
            .at("binlog-filter", &path, "a filter", format!("`{key}` filters replication"))
            .why("which statements pass depends on the client's current database: one write is silently not replicated, another stops the peer")
            .help("remove the option; name the databases in database.replicate")
            .fix(findings.without(&path));
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
            .help("remove the option: ROW is set already")
            .fix(findings.without(&path));
        return Some(said);
    }
    let hides = name == "slave_exec_mode" && given != "STRICT" || name == "slave_skip_errors" && given != "OFF";
    if hides {
        let said = findings
            .at("slave-exec-mode", &path, "hides conflicts", format!("`{key} = {value}` hides conflicts between the nodes"))
            .why("when both nodes write one key, each keeps the other's row: the copies differ for ever and no one is told")
            .help("remove the option: replication then stops at a conflict, with an error that can be read")
            .fix(findings.without(&path));
        return Some(said);
    }
    None
}

fn durability(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let name = normal(key);
    let (_, good, effect) = DURABLE.iter().find(|(durable, ..)| *durable == name)?;
    (!good.contains(&value.trim().to_uppercase().as_str())).then(|| {
        findings
            .at(
                "unsafe-durability",
                &path(key),
                format!("must be {}", good[0]),
                format!("`{key} = {value}` risks acknowledged writes"),
            )
            .why(*effect)
            .help(format!("remove the option: {} is set already", good[0]))
            .fix(findings.without(&path(key)))
    })
}

fn managed(findings: &Findings<'_>, key: &str, _: &str) -> Option<Finding> {
    let name = normal(key);
    let (label, message, why) = if let Some((_, why)) = MANAGED.iter().find(|(managed, _)| *managed == name) {
        (
            "set by the generator",
            format!("`{key}` is set for each node already"),
            *why,
        )
    } else if LINK.contains(&name.as_str()) {
        let why = "the server does not start with an option that it does not know";
        (
            "no option of the server",
            format!("`{key}` is a word of CHANGE MASTER TO"),
            why,
        )
    } else {
        return None;
    };
    Some(
        findings
            .at("managed-option", &path(key), label, message)
            .why(why)
            .help("remove the option: links, numbers and offsets are made for each node")
            .fix(findings.without(&path(key))),
    )
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

//! The list of everything that the rules can say.

use crate::diag::Severity::{self, Error, Warning};

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The code that its findings carry.
    pub code: &'static str,
    /// Whether it stops a rendering.
    pub severity: Severity,
    /// What it is about, one line.
    pub summary: &'static str,
}

const fn error(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        code,
        severity: Error,
        summary,
    }
}

const fn warning(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        code,
        severity: Warning,
        summary,
    }
}

/// All rules, by code.
pub const RULES: &[Rule] = &[
    error("address-outside-subnet", "a node's address lies outside the subnet"),
    error(
        "address-reserved",
        "a node has the subnet's own, its broadcast or the router's address",
    ),
    warning("admin-from-everywhere", "SSH is open to every address"),
    error(
        "bad-option",
        "a raw option would break the file that it is written into",
    ),
    error("binlog-filter", "a replication filter loses or stops replication"),
    error("binlog-format", "a binary log format other than ROW"),
    error("dns-mx-form", "the data of an MX record is not a preference and a name"),
    error("dns-name-relative", "a name in a record's data lacks its final dot"),
    error("dns-record-invalid", "a record that no name server would load"),
    error("duplicate-address", "two nodes have one address"),
    error("duplicate-database", "a database is listed twice"),
    error("duplicate-domain", "a mail domain is given twice"),
    error("duplicate-mailbox", "a mailbox is described twice"),
    error("duplicate-name", "two nodes have one name"),
    error("invalid-cluster-name", "the cluster's name is no plain label"),
    error("invalid-domain", "a mail domain is no domain name"),
    error("invalid-mailbox", "a mailbox is no mail address"),
    error(
        "invalid-node-name",
        "a node's name is no host name, or one that is taken",
    ),
    error("invalid-webmail-host", "webmail's name is no host name, or a node's"),
    error("lmtp-inet-list", "an LMTP next-hop list in a form that stops Postfix"),
    error("mail-node-count", "fewer or more than two mail nodes"),
    error(
        "mailbox-outside-domains",
        "a mailbox lies in a domain that the cluster does not serve",
    ),
    error(
        "managed-option",
        "a raw option overrides what two-way replication is built on",
    ),
    error("missing-vmail", "the accounts' database is not replicated"),
    warning("no-load-balancer", "nothing moves webmail to the other node"),
    error("no-primary", "no mail node is the primary"),
    error("open-relay", "a raw option lets everybody relay"),
    error("primary-not-mail", "the primary is not a mail node"),
    error("queue-days-zero", "mail would not wait for a node that is down"),
    error("queue-lifetime-short", "mail or its bounces wait less than a day"),
    error("relay-without-brackets", "a next hop is an address without brackets"),
    error("repeated-secret", "one secret serves two purposes"),
    error("replication-host", "the replication account is not limited to the peer"),
    error("router-outside-subnet", "the router lies outside the subnet"),
    warning("single-gateway", "one gateway is a single point of failure"),
    warning("single-load-balancer", "one load balancer is a single point of failure"),
    error("slave-exec-mode", "replication that hides conflicts"),
    error("smtp-fallback-relay", "a fallback that applies to all mail"),
    error("soft-bounce", "permanent refusals are turned into temporary ones"),
    error("subnet-host-bits", "the subnet is not a network's address"),
    error("two-primaries", "more than one mail node is the primary"),
    error("unknown-database", "a database that the cluster does not know"),
    error(
        "unsafe-durability",
        "a raw option that loses acknowledged writes in a crash",
    ),
    error("weak-secret", "a secret that can be guessed"),
    warning(
        "webmail-outside-domains",
        "webmail's name is not in a zone that is generated",
    ),
];

/// The severity of a rule's findings.
pub(super) fn severity(code: &str) -> Severity {
    RULES.iter().find(|r| r.code == code).map_or(Error, |r| r.severity)
}

//! The list of everything that the rules can say.

use crate::diag::Diagnostic;
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
    /// Whether a description can silence it: every warning about the description, and errors that are a matter of
    /// judgement. Not what makes the files unusable or unsafe, and nothing about secrets.
    pub silenceable: bool,
}

const fn error(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        code,
        severity: Error,
        summary,
        silenceable: false,
    }
}

/// An error that an operator may have a reason for.
const fn judgement(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        silenceable: true,
        ..error(code, summary)
    }
}

const fn warning(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        code,
        severity: Warning,
        summary,
        silenceable: true,
    }
}

/// A warning that stays.
const fn standing(code: &'static str, summary: &'static str) -> Rule {
    Rule {
        silenceable: false,
        ..warning(code, summary)
    }
}

/// All rules, by code.
pub const RULES: &[Rule] = &[
    warning("accept-unwatched", "mail is taken in on one node, and nobody is told"),
    warning(
        "access-outside-domains",
        "the name for mail programs is not in a zone that is generated",
    ),
    error(
        "access-port-conflict",
        "a port of the doors for mail programs is let in for something else",
    ),
    error("access-without-balancer", "doors for mail programs on no load balancer"),
    error(
        "address-outside-subnet",
        "a node's or the virtual address lies outside the subnet",
    ),
    error(
        "address-reserved",
        "a node has, or the virtual address is, the subnet's own, its broadcast or the router's address",
    ),
    warning("admin-from-everywhere", "SSH is open to every address"),
    warning(
        "admin-from-unset",
        "administrators are let in from the cluster's own subnet only",
    ),
    error("amavisd-with-store", "the mail store takes mail in past amavisd"),
    error("attachment-invalid", "an ending that no attachment has"),
    error(
        "bad-option",
        "a raw option would break the file that it is written into",
    ),
    error("binlog-filter", "a replication filter loses or stops replication"),
    error("binlog-format", "a binary log format other than ROW"),
    error("binlog-position", "a place in a binary log that was copied by hand"),
    error("certificate-expired", "a certificate whose time is over"),
    standing(
        "certificate-expiring",
        "a certificate whose time is over within 30 days",
    ),
    error(
        "certificate-name",
        "a certificate that does not cover a name which clients look for",
    ),
    standing(
        "certificate-private",
        "a certificate of the cluster's own authority, which a policy for TLS under test names",
    ),
    error(
        "certificate-private-enforced",
        "a certificate of the cluster's own authority, which a policy for TLS has others refuse",
    ),
    error("certificate-unreadable", "a certificate that is none"),
    warning(
        "disk-by-place",
        "a disk by a name that the kernel gives anew at each start",
    ),
    error("disk-invalid", "a disk that is no path of one"),
    judgement("dkim-invalid", "a DKIM record that receivers cannot use"),
    error("dkim-selector-invalid", "a selector that is no label"),
    error(
        "dkim-selector-taken",
        "a record where the key of the signatures is published",
    ),
    error("dkim-without-gateway", "mail is to be signed, and nothing signs it"),
    judgement("dmarc-invalid", "a DMARC record that receivers pass over"),
    warning(
        "dmarc-reports-elsewhere",
        "reports go to a domain that has to agree, and is not the cluster's",
    ),
    error("dmarc-reports-invalid", "reports that can go to no address"),
    warning("dmarc-without-dkim", "a strict DMARC policy without signatures"),
    judgement("dns-address-conflict", "another address for a name that has one"),
    error("dns-mx-form", "the data of an MX record is not a preference and a name"),
    error("dns-name-relative", "a name in a record's data lacks its final dot"),
    error("dns-record-invalid", "a record that no name server would load"),
    error(
        "duplicate-address",
        "two nodes have one address, or the virtual address is a node's own",
    ),
    error("duplicate-database", "a database is listed twice"),
    error("duplicate-disk", "a disk is named twice"),
    error("duplicate-domain", "a mail domain is given twice"),
    error("duplicate-mailbox", "a mailbox is described twice"),
    error("duplicate-name", "two nodes have one name"),
    error("existing-data-node", "existing data on a machine that is no mail node"),
    judgement(
        "existing-data-not-copied",
        "rows from before the link never reach the other node",
    ),
    error(
        "filesystem-is-no-replication",
        "a file system that is taken for replication",
    ),
    error(
        "filter-without-gateway",
        "mail is to be filtered, and nothing filters it",
    ),
    standing("former-secret", "a value that a rotation replaced is accepted still"),
    error(
        "invalid-access-host",
        "the name for mail programs is no host name, or a node's",
    ),
    error("invalid-cluster-name", "the cluster's name is no plain label"),
    error("invalid-domain", "a mail domain is no domain name"),
    error("invalid-mailbox", "a mailbox is no mail address"),
    error(
        "invalid-node-name",
        "a node's name is no host name, or one that is taken",
    ),
    error("invalid-webmail-host", "webmail's name is no host name, or a node's"),
    error("iredmail-mixed", "one mail node is iRedMail's and the other is not"),
    error("iredmail-with-access", "iRedMail has no ports with the PROXY protocol"),
    error(
        "iredmail-with-mailboxes",
        "accounts of iRedMail nodes are made in iRedAdmin",
    ),
    error("iredmail-with-programs", "iRedMail brings its own SOGo and amavisd"),
    error("iredmail-with-store", "the mail store takes mail in past iRedMail"),
    error("lmtp-inet-list", "an LMTP next-hop list in a form that stops Postfix"),
    error("load-balancer-count", "more than two load balancers"),
    warning("load-not-shared", "a way of sharing load among one server"),
    warning("local-signatures", "clamd knows the test file only"),
    error("mail-node-count", "fewer or more than two mail nodes"),
    error(
        "mailbox-name",
        "a person's name that the accounts' database does not take",
    ),
    error(
        "mailbox-outside-domains",
        "a mailbox lies in a domain that the cluster does not serve",
    ),
    error(
        "managed-option",
        "a raw option overrides what two-way replication is built on",
    ),
    warning(
        "manual-role",
        "nobody takes over when the writer of the mail store dies",
    ),
    error(
        "message-size",
        "a largest message that is none, or larger than anything takes",
    ),
    error("missing-secret", "the description needs a secret that is not there"),
    error("missing-vmail", "the accounts' database is not replicated"),
    error(
        "monitoring-without-readers",
        "figures are exported, and nobody may read them",
    ),
    error("mta-sts-without-balancer", "a policy for TLS that nobody publishes"),
    judgement("mx-bypasses-gateway", "an MX record that leads past the gateway"),
    error("mx-to-address", "an MX record that leads to an address"),
    error("mx-to-alias", "an MX record that leads to an alias"),
    judgement("mx-without-address", "an MX record that leads nowhere"),
    warning("no-load-balancer", "nothing moves webmail to the other node"),
    error("no-primary", "no mail node is the primary"),
    warning("no-time-source", "nothing keeps the nodes' clocks"),
    judgement("no-timeouts", "a time limit of HAProxy that is none"),
    error("open-relay", "a raw option lets everybody relay"),
    error("outgoing-nothing", "no user may send anything"),
    error("pmg-name-taken", "a node has the name of both mail nodes"),
    error("pmg-setting-invalid", "a setting that pmg.conf cannot hold"),
    error(
        "pmg-setting-twice",
        "a setting of pmg.conf that follows from the description already",
    ),
    error("pmg-unused", "settings for a Proxmox Mail Gateway that is not there"),
    error("pmg-with-filter", "a Proxmox Mail Gateway filters by itself"),
    error("pmg-with-store", "a Proxmox Mail Gateway cannot follow the writer"),
    error("pool-name", "a name that no pool can have"),
    judgement("port-open-to-world", "an inner service's port is open to the world"),
    error("primary-not-mail", "the primary is not a mail node"),
    error("program-without-database", "a program's database is not replicated"),
    error("quarantine-days", "what is kept back is kept for no time, or for ever"),
    warning("queue-days-few", "mail waits less long than is the custom"),
    error("queue-days-many", "mail waits longer than Postfix can"),
    error("queue-days-zero", "mail would not wait for a node that is down"),
    judgement("queue-lifetime-short", "mail or its bounces wait less than a day"),
    judgement("relay-without-brackets", "a next hop is an address without brackets"),
    error("repeated-secret", "one secret serves two purposes"),
    error("replication-host", "the replication account is not limited to the peer"),
    warning("retention-short", "what was set aside goes before the queue is done"),
    error(
        "role-limits",
        "time limits of the writer's role that do not go together",
    ),
    warning("role-without-store", "a decision about a mail store that is not there"),
    error("router-outside-subnet", "the router lies outside the subnet"),
    error("sealer-invalid", "a seal that no domain makes"),
    error("sealers-without-key", "seals are to be believed, and none would be"),
    error("secret-in-description", "a secret stands in the description"),
    judgement(
        "shallow-health-check",
        "a health check that a node passes which cannot serve",
    ),
    error("silence-refused", "a silence for what is no matter of judgement"),
    error("silence-unknown-code", "a silence for a rule that does not exist"),
    standing("silence-unused", "a silence that nothing needs"),
    error("silence-without-reason", "a silence that does not say why"),
    warning("single-gateway", "one gateway is a single point of failure"),
    warning("single-load-balancer", "one load balancer is a single point of failure"),
    error("slave-exec-mode", "replication that hides conflicts"),
    warning(
        "slow-detection",
        "a dead node is noticed later than requests are given up",
    ),
    warning("slow-retries", "mail is tried again only minutes after a node's return"),
    judgement("smtp-fallback-relay", "a fallback that applies to all mail"),
    judgement("soft-bounce", "permanent refusals are turned into temporary ones"),
    warning("software-watchdog", "a watchdog that a kernel which hangs takes along"),
    error("spf-duplicate", "a name has two SPF records"),
    judgement("spf-invalid", "an SPF record that receivers count as an error"),
    judgement("spf-permissive", "an SPF record that vouches for everybody"),
    error("ssh-cut-off", "the firewalls would let no administrator in"),
    error("storage-contradicts-store", "two statements about what mail lies on"),
    warning("storage-without-redundancy", "mail lies on one disk"),
    error("store-disks", "more or fewer disks than the pool's layout takes"),
    error("store-keep", "too few snapshots stay for the nodes to go on from"),
    error("store-limits", "time limits of the mail store that do not go together"),
    error("store-without-gateway", "a mail store to which nobody brings mail"),
    error("subnet-host-bits", "the subnet is not a network's address"),
    error("target-wrong-role", "a product that cannot have the node's role"),
    error("third-vote", "a third vote that no machine can have"),
    error(
        "time-server-invalid",
        "a time server that is neither a name nor an address",
    ),
    error("time-zone-invalid", "a time zone that is none"),
    warning("tls-old-clients", "clients without TLS 1.3 are shut out"),
    error("tls-record-taken", "a second record for TLS between mail servers"),
    error("tls-reports-invalid", "reports about TLS that can go to no address"),
    error("two-primaries", "more than one mail node is the primary"),
    error("unknown-database", "a database that the cluster does not know"),
    standing("unknown-secret", "a secret that belongs to nothing in the description"),
    error("unquotable-secret", "a secret that would break a file which holds it"),
    error(
        "unsafe-durability",
        "a raw option that loses acknowledged writes in a crash",
    ),
    error("unverified-backend", "the load balancer does not verify the nodes"),
    judgement(
        "virtual-address-missing",
        "two load balancers without an address that moves between them",
    ),
    warning(
        "virtual-address-unused",
        "a virtual address without a second load balancer",
    ),
    error(
        "voting-name-taken",
        "the name by which the third vote knows the mail nodes is another machine's",
    ),
    error("watchdog-invalid", "a watchdog that is no kernel module"),
    error("weak-secret", "a secret that can be guessed"),
    warning(
        "webmail-outside-domains",
        "webmail's name is not in a zone that is generated",
    ),
];

/// A finding of a rule, as severe as the rule says.
pub(super) fn finding(code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: severity(code),
        ..Diagnostic::error(code, message)
    }
}

fn severity(code: &str) -> Severity {
    RULES.iter().find(|r| r.code == code).map_or(Error, |r| r.severity)
}

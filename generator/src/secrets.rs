//! Passwords, keys and certificates: random for production, reproducible from a seed for tests.

use std::collections::BTreeMap;

/// Everything of a cluster that must stay secret, and the certificates made with it.
#[derive(Clone)]
pub struct Secrets {
    /// Password of the `replicator` account on both nodes.
    pub replication_password: String,
    /// Passwords of the database accounts: `roundcube` (owns `roundcubemail`), `vmail` (read-only on `vmail`, used by
    /// Postfix and Dovecot), `health` (used by the health address).
    pub database_passwords: BTreeMap<String, String>,
    /// Roundcube's `des_key`, 24 characters, equal on both nodes so that sessions survive a failover.
    pub roundcube_des_key: String,
    /// Initial password of each described mailbox, by address.
    pub mailbox_passwords: BTreeMap<String, String>,
    /// The cluster's own certificate authority: certificate, PEM.
    pub ca_certificate: String,
    /// The authority's private key, PEM. Never leaves the machine that renders.
    pub ca_key: String,
    /// One certificate and key a node, by node name; its names cover the node's FQDN, its address, and what it serves
    /// (a load balancer: the webmail host; a mail node: the webmail host too).
    pub certificates: BTreeMap<String, Certificate>,
}

/// A certificate chain and its key.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate, PEM (leaf first).
    pub certificate: String,
    /// The private key, PEM (PKCS#8, ECDSA P-256).
    pub key: String,
}

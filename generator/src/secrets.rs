//! Passwords, keys and certificates: random for production, reproducible from a seed for tests.
//!
//! [`Secrets::random`] makes them once; they are kept in a file that only its owner can read ([`Secrets::create`],
//! [`Secrets::load`]) and used again at every rendering. [`Secrets::complete`] adds what a changed description needs
//! and leaves everything else as it is; [`Secrets::rotate`] gives new values to what is in use. No `Debug`, log or error
//! text of this module shows a secret.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::spec::Cluster;
use certificate::{Authority, DeterministicKey, Validity, key_and_serial, names_of};
use derive::Source;
use hashes::Hashes;

mod certificate;
mod derive;
mod dkim;
mod file;
mod hashes;
mod import;
mod password;
mod rotate;

pub use dkim::DkimKey;
pub use import::{ImportError, PROGRAMS};
pub use password::{ROUNDS, mailbox_hash};
pub use rotate::{
    AUTHORITY, CERTIFICATES, COROSYNC, DATABASE, DKIM, MAILBOXES, Previous, REPLICATION, RotateError, Rotated, WEBMAIL,
};

/// The database accounts that get a password of their own: `roundcube` owns `roundcubemail`, `vmail` reads `vmail` for
/// Postfix and Dovecot, `health` is asked by the health address; `sogo` and `amavisd` write the databases of their names,
/// where these programs run.
pub fn database_accounts(cluster: &Cluster) -> Vec<&'static str> {
    let mut accounts = vec!["health", "roundcube", "vmail"];
    accounts.extend(cluster.amavisd.is_some().then_some("amavisd"));
    accounts.extend(cluster.sogo.is_some().then_some("sogo"));
    accounts
}

/// Days for which the cluster's authority is valid.
const AUTHORITY_DAYS: i64 = 3653;
/// Days for which a node's certificate is valid: the longest that common clients accept.
const LEAF_DAYS: i64 = 825;
/// [`Secrets::complete`] renews a certificate that ends within so many days.
const RENEW_DAYS: i64 = 30;

const PASSWORD_LENGTH: usize = 32;
const DES_KEY_LENGTH: usize = 24;
/// Bytes of corosync's key: corosync-keygen(8) makes 256 and allows 128 to 4096.
const AUTHKEY_LENGTH: usize = 256;

/// Everything of a cluster that must stay secret, and the certificates made with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Password of the `replicator` account on both nodes.
    pub replication_password: String,
    /// Roundcube's `des_key`, 24 characters, equal on both nodes so that sessions survive a failover.
    pub roundcube_des_key: String,
    /// The key with which the mail nodes' corosync encrypts and authenticates what it says; made where a program decides who
    /// is the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corosync_authkey: Option<String>,
    /// Input of the salts of the mailbox passwords' hashes, so that rendering again gives the same bytes.
    pub salt_key: String,
    /// Common name of the authority; kept so that it stays when the cluster is renamed.
    pub ca_name: String,
    /// The cluster's own certificate authority: certificate, PEM.
    pub ca_certificate: String,
    /// The authority's private key, PEM. Never leaves the machine that renders.
    pub ca_key: String,
    /// Passwords of the database accounts: `roundcube` (owns `roundcubemail`), `vmail` (read-only on `vmail`, used by
    /// Postfix and Dovecot), `health` (used by the health address). See [`database_accounts`].
    pub database_passwords: BTreeMap<String, String>,
    /// Initial password of each described mailbox, by address.
    pub mailbox_passwords: BTreeMap<String, String>,
    /// One certificate and key a node, by node name; its names cover the node's FQDN, its short name, its address, and
    /// what it serves (a load balancer: the webmail host, and the names under which it publishes policy and settings; a mail node: the webmail host, `localhost` and the name for mail programs).
    pub certificates: BTreeMap<String, Certificate>,
    /// The certificate that the mail nodes show to mail programs, by the name that those are set to ([access]); without one
    /// they show the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs_certificate: Option<Certificate>,
    /// The key with which mail is signed; made where the description asks for signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<DkimKey>,
    /// What a rotation has replaced and the nodes accept until it is finished.
    #[serde(default, skip_serializing_if = "Previous::is_empty")]
    pub previous: Previous,
    #[serde(skip)]
    hashes: Hashes,
}

/// A certificate chain and its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The names and addresses that the certificate covers; the first is its common name.
    pub names: Vec<String>,
    /// The end of its validity, seconds since 1970 UTC.
    pub expires: i64,
    /// The certificate, PEM (leaf first).
    pub certificate: String,
    /// The private key, PEM (PKCS#8, ECDSA P-256).
    pub key: String,
}

/// Why secrets could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
    /// A certificate could not be made, e.g. since a name is not ASCII.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A private key cannot be read or written.
    #[error("a private key is unusable: {0}")]
    Key(String),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// There is a file already, which would be lost.
    #[error("{path} exists already and holds secrets that nodes may be using; nothing was written")]
    Exists {
        /// The file.
        path: String,
    },
    /// The file's permissions let others read it.
    #[error("{path}: others can read this file of secrets (mode {mode:04o}); mend it with: chmod 600 {path}")]
    TooOpen {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not what [`Secrets::save`] writes. The text never quotes the file.
    #[error("{path}: not a file of secrets: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Secrets {
    /// Secrets for tests: the same cluster and seed give the same bytes, keys and certificates included. The
    /// certificates hold from 2024-01-01 to 2044-01-01.
    ///
    /// # Errors
    /// [`SecretsError::Certificate`] if a name of the cluster cannot stand in a certificate.
    pub fn from_seed(cluster: &Cluster, seed: u64) -> Result<Secrets, SecretsError> {
        Secrets::make(cluster, &Source::seeded(seed), Validity::fixed(), Validity::fixed())
    }

    /// Secrets for production, out of the operating system's randomness. The authority holds for ten years, the
    /// certificates for 825 days from now.
    ///
    /// # Errors
    /// [`SecretsError::Randomness`], or [`SecretsError::Certificate`] if a name cannot stand in a certificate.
    pub fn random(cluster: &Cluster) -> Result<Secrets, SecretsError> {
        let now = OffsetDateTime::now_utc();
        let (authority, leaf) = (Validity::days(now, AUTHORITY_DAYS), Validity::days(now, LEAF_DAYS));
        Secrets::make(cluster, &Source::system()?, authority, leaf)
    }

    /// These secrets with what the description needs in addition (a new mailbox, a new node), and those certificates of
    /// the cluster's own authority renewed whose names changed or which end within 30 days of `now`. Gives what was added,
    /// for people to read.
    ///
    /// # Errors
    /// As [`Secrets::random`], or [`SecretsError::Key`] if the authority's key cannot be read.
    pub fn complete(&self, cluster: &Cluster, now: OffsetDateTime) -> Result<(Secrets, Vec<String>), SecretsError> {
        let mut secrets = self.clone();
        let added = secrets.add_missing(cluster, &Source::system()?, Validity::days(now, LEAF_DAYS), now)?;
        Ok((secrets, added))
    }

    /// The hash of a mailbox's initial password, `{SHA512-CRYPT}$6$...`; `None` if the mailbox has no password here.
    pub fn mailbox_hash(&self, address: &str) -> Option<String> {
        let password = self.mailbox_passwords.get(address)?;
        let mut hash = Sha256::new();
        hash.update(self.salt_key.as_bytes());
        hash.update([0]);
        hash.update(address.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut salt = [0; 12];
        salt.copy_from_slice(&digest[..12]);
        Some(self.hashes.of(password, salt))
    }

    /// Every password with a name for people: what [`crate::check`] looks at.
    pub(crate) fn passwords(&self) -> Vec<(String, &str)> {
        let mut passwords = vec![
            ("replication_password".to_owned(), self.replication_password.as_str()),
            ("roundcube_des_key".to_owned(), self.roundcube_des_key.as_str()),
        ];
        passwords.extend(
            self.corosync_authkey
                .iter()
                .map(|key| (COROSYNC.to_owned(), key.as_str())),
        );
        passwords.extend(
            self.database_passwords
                .iter()
                .map(|(k, v)| (format!("database_passwords.{k}"), v.as_str())),
        );
        passwords.extend(
            self.mailbox_passwords
                .iter()
                .map(|(k, v)| (format!("mailbox_passwords.{k:?}"), v.as_str())),
        );
        passwords
    }

    fn make(
        cluster: &Cluster,
        source: &Source,
        authority_validity: Validity,
        leaf: Validity,
    ) -> Result<Secrets, SecretsError> {
        let ca_name = format!("{} cluster authority", cluster.cluster.name);
        let (ca_key, serial) = key_and_serial(source, "authority");
        let ca_key_pem = ca_key.to_pem()?;
        let ca_certificate = Authority::new(&ca_name, ca_key).self_signed(authority_validity, serial)?;
        let mut secrets = Secrets {
            replication_password: source.password("replication", PASSWORD_LENGTH),
            roundcube_des_key: source.password("roundcube des_key", DES_KEY_LENGTH),
            corosync_authkey: None,
            salt_key: source.password("salts", PASSWORD_LENGTH),
            ca_name,
            ca_certificate,
            ca_key: ca_key_pem,
            database_passwords: BTreeMap::new(),
            mailbox_passwords: BTreeMap::new(),
            certificates: BTreeMap::new(),
            programs_certificate: None,
            dkim: None,
            previous: Previous::default(),
            hashes: Hashes::default(),
        };
        secrets.add_missing(cluster, source, leaf, leaf.from)?;
        Ok(secrets)
    }

    fn add_missing(
        &mut self,
        cluster: &Cluster,
        source: &Source,
        leaf: Validity,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, SecretsError> {
        let mut added = Vec::new();
        for account in database_accounts(cluster) {
            self.database_passwords.entry(account.to_owned()).or_insert_with(|| {
                added.push(format!("password of the database account {account}"));
                source.password(&format!("database {account}"), PASSWORD_LENGTH)
            });
        }
        if cluster.decides_itself() && self.corosync_authkey.is_none() {
            self.corosync_authkey = Some(source.password("corosync authkey", AUTHKEY_LENGTH));
            added.push("key of corosync".to_owned());
        }
        if cluster.authenticity.is_some() && self.dkim.is_none() {
            self.dkim = Some(DkimKey::make(source, 1)?);
            added.push("key for signatures".to_owned());
        }
        for mailbox in &cluster.mailboxes {
            self.mailbox_passwords
                .entry(mailbox.address.clone())
                .or_insert_with(|| {
                    added.push(format!("password of the mailbox {}", mailbox.address));
                    source.password(&format!("mailbox {}", mailbox.address), PASSWORD_LENGTH)
                });
        }
        let authority = Authority::new(&self.ca_name, DeterministicKey::from_pem(&self.ca_key)?);
        let renew_before = (now + time::Duration::days(RENEW_DAYS)).unix_timestamp();
        let foreign: Vec<String> = self.foreign().map(str::to_owned).collect();
        for node in &cluster.nodes {
            let names = names_of(cluster, node);
            let current = self.certificates.get(&node.name);
            let good = |c: &Certificate| c.names == names && c.expires > renew_before;
            if current.is_some_and(good) || foreign.contains(&node.name) {
                continue;
            }
            let (key, serial) = key_and_serial(source, &format!("node {}", node.name));
            let certificate = authority.issue(&names, &key, leaf, serial)?;
            let entry = Certificate {
                names,
                expires: leaf.to.unix_timestamp(),
                certificate,
                key: key.to_pem()?,
            };
            self.certificates.insert(node.name.clone(), entry);
            added.push(format!("certificate of the node {}", node.name));
        }
        Ok(added)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(not shown)")
    }
}

impl fmt::Debug for DkimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DkimKey")
            .field("number", &self.number)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

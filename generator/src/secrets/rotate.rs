//! New values for secrets that are in use. Where one node would refuse another until both have the new value, the former
//! one is kept beside it ([`Previous`]) and accepted, until the rotation is finished.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::pem::parse_x509_pem;

use super::certificate::{Authority, Validity, key_and_serial};
use super::derive::Source;
use super::{AUTHORITY_DAYS, DES_KEY_LENGTH, DkimKey, LEAF_DAYS, PASSWORD_LENGTH, Secrets, SecretsError};
use crate::spec::Cluster;

/// What a rotation has replaced, and what the nodes accept until it is finished.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Previous {
    /// The former password of the replication account: a node's link goes on using it until it is made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_password: Option<String>,
    /// The former authority's certificate, PEM: trusted until no node shows a certificate of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// The former key for signatures: published for as long as mail that it signed is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dkim: Option<DkimKey>,
}

impl Previous {
    /// True if no rotation waits for its end.
    pub fn is_empty(&self) -> bool {
        *self == Previous::default()
    }

    /// What waits, by the names that [`Secrets::rotate`] takes.
    pub fn names(&self) -> Vec<&'static str> {
        let replication = self.replication_password.as_ref().map(|_| REPLICATION);
        let authority = self.ca_certificate.as_ref().map(|_| AUTHORITY);
        let signatures = self.dkim.as_ref().map(|_| DKIM);
        replication.into_iter().chain(authority).chain(signatures).collect()
    }
}

/// The name of the replication account's password.
pub const REPLICATION: &str = "replication_password";
/// The name of the key with which webmail encrypts its sessions.
pub const WEBMAIL: &str = "roundcube_des_key";
/// The name of corosync's key.
pub const COROSYNC: &str = "corosync_authkey";
/// The name of the key for signatures.
pub const DKIM: &str = "dkim";
/// The name of the authority: its certificate and key.
pub const AUTHORITY: &str = "ca";
/// The name of all certificates together; `certificates.mail1` is one.
pub const CERTIFICATES: &str = "certificates";
/// The name of the passwords of all database accounts.
pub const DATABASE: &str = "database_passwords";
/// The name of the first passwords of all mailboxes.
pub const MAILBOXES: &str = "mailbox_passwords";

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// The name means no secret of this cluster.
    #[error("there is no secret {name:?}; {help}")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest one, or all.
        help: String,
    },
    /// A third value would leave nodes behind that know only the first.
    #[error("the last rotation of {name} is not finished; bring it to its end first, with --finish")]
    Unfinished {
        /// What waits.
        name: &'static str,
    },
    /// There is nothing to finish.
    #[error("no rotation waits for its end")]
    NothingToFinish,
    /// Nodes still show certificates of the former authority.
    #[error("certificates of the former authority are still in use ({}); rotate `certificates` first", .nodes.join(", "))]
    InUse {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// The new values could not be made.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// Secrets after a rotation.
pub struct Rotated {
    /// All of them.
    pub secrets: Secrets,
    /// What has a new value, for people to read.
    pub changed: Vec<String>,
}

impl Secrets {
    /// Every certificate that a node trusts: the authority's, and until its rotation is finished the former one's.
    pub fn trusted(&self) -> String {
        let former = self.previous.ca_certificate.as_deref().unwrap_or_default();
        format!("{}{former}", self.ca_certificate)
    }

    /// The names that can be rotated, for [`Secrets::rotate`].
    pub fn rotatable(&self, cluster: &Cluster) -> Vec<String> {
        let mut names: Vec<String> = [REPLICATION, WEBMAIL, AUTHORITY, CERTIFICATES, DATABASE, MAILBOXES]
            .map(str::to_owned)
            .into();
        names.extend(cluster.decides_itself().then(|| COROSYNC.to_owned()));
        names.extend(cluster.authenticity.as_ref().map(|_| DKIM.to_owned()));
        names.extend(cluster.nodes.iter().map(|node| format!("{CERTIFICATES}.{}", node.name)));
        let accounts = super::database_accounts(cluster).into_iter();
        names.extend(accounts.map(|account| format!("{DATABASE}.{account}")));
        names.extend(cluster.mailboxes.iter().map(|m| format!("{MAILBOXES}.{}", m.address)));
        names
    }

    /// These secrets with new values for what is named, and with what [`Secrets::complete`] adds and renews.
    ///
    /// # Errors
    /// [`RotateError`]; nothing is changed then.
    pub fn rotate(&self, cluster: &Cluster, names: &[String], now: OffsetDateTime) -> Result<Rotated, RotateError> {
        let (mut secrets, mut changed) = (self.clone(), Vec::new());
        let source = Source::system()?;
        let known = self.rotatable(cluster);
        for name in names {
            if !known.contains(name) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                return Err(RotateError::Unknown {
                    name: name.clone(),
                    help: crate::diag::did_you_mean(name, &known).unwrap_or_default(),
                });
            }
            secrets.replace(name, &source, now, &mut changed)?;
        }
        let added = secrets.add_missing(cluster, &source, Validity::days(now, LEAF_DAYS), now)?;
        changed.extend(added);
        Ok(Rotated { secrets, changed })
    }

    /// Gives one named secret a new value, or takes it out so that it is made anew as if it were missing.
    fn replace(
        &mut self,
        name: &str,
        source: &Source,
        now: OffsetDateTime,
        changed: &mut Vec<String>,
    ) -> Result<(), RotateError> {
        match name.split_once('.') {
            Some((CERTIFICATES, node)) => drop(self.certificates.remove(node)),
            Some((DATABASE, account)) => drop(self.database_passwords.remove(account)),
            Some((MAILBOXES, address)) => drop(self.mailbox_passwords.remove(address)),
            _ if name == CERTIFICATES => {
                let foreign: Vec<String> = self.foreign().map(str::to_owned).collect();
                self.certificates.retain(|node, _| foreign.contains(node));
            }
            _ if name == DATABASE => self.database_passwords.clear(),
            _ if name == MAILBOXES => self.mailbox_passwords.clear(),
            _ if name == COROSYNC => self.corosync_authkey = None,
            _ if name == WEBMAIL => {
                self.roundcube_des_key = source.password("roundcube des_key", DES_KEY_LENGTH);
                changed.push(WEBMAIL.to_owned());
            }
            _ if name == REPLICATION => {
                if self.previous.replication_password.is_some() {
                    return Err(RotateError::Unfinished { name: REPLICATION });
                }
                let fresh = source.password("replication", PASSWORD_LENGTH);
                self.previous.replication_password = Some(std::mem::replace(&mut self.replication_password, fresh));
                changed.push(REPLICATION.to_owned());
            }
            _ if name == DKIM => self.replace_dkim(source, changed)?,
            _ => self.replace_authority(source, now, changed)?,
        }
        Ok(())
    }

    /// A key that is missing has no former one; it is made with what is missing.
    fn replace_dkim(&mut self, source: &Source, changed: &mut Vec<String>) -> Result<(), RotateError> {
        if self.previous.dkim.is_some() {
            return Err(RotateError::Unfinished { name: DKIM });
        }
        if let Some(former) = self.dkim.take() {
            self.dkim = Some(DkimKey::make(source, former.number.saturating_add(1))?);
            self.previous.dkim = Some(former);
            changed.push("key for signatures".to_owned());
        }
        Ok(())
    }

    fn replace_authority(
        &mut self,
        source: &Source,
        now: OffsetDateTime,
        changed: &mut Vec<String>,
    ) -> Result<(), RotateError> {
        if self.previous.ca_certificate.is_some() {
            return Err(RotateError::Unfinished { name: AUTHORITY });
        }
        self.ca_name = next_name(&self.ca_name);
        let (key, serial) = key_and_serial(source, "authority");
        self.ca_key = key.to_pem()?;
        let fresh = Authority::new(&self.ca_name, key).self_signed(Validity::days(now, AUTHORITY_DAYS), serial)?;
        self.previous.ca_certificate = Some(std::mem::replace(&mut self.ca_certificate, fresh));
        changed.push("the cluster's certificate authority".to_owned());
        Ok(())
    }

    /// These secrets without what a rotation has replaced.
    ///
    /// # Errors
    /// [`RotateError::NothingToFinish`], or [`RotateError::InUse`] if a node still shows a certificate of the former
    /// authority.
    pub fn finish_rotation(&self) -> Result<Rotated, RotateError> {
        if self.previous.is_empty() {
            return Err(RotateError::NothingToFinish);
        }
        if let Some(former) = self.previous.ca_certificate.as_deref().map(key_of) {
            let shown = |(_, c): &(&String, &super::Certificate)| issuer_of(&c.certificate) == former;
            let nodes: Vec<String> = self
                .certificates
                .iter()
                .filter(shown)
                .map(|(node, _)| node.clone())
                .collect();
            if !nodes.is_empty() {
                return Err(RotateError::InUse { nodes });
            }
        }
        let changed = self.previous.names().into_iter();
        Ok(Rotated {
            changed: changed.map(|name| format!("the former {name}")).collect(),
            secrets: Secrets {
                previous: Previous::default(),
                ..self.clone()
            },
        })
    }

    /// The nodes whose certificate comes from somebody else's authority: it is renewed there and not here.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &str> {
        let former = self.previous.ca_certificate.as_deref();
        let own: Vec<Option<Vec<u8>>> = [Some(self.ca_certificate.as_str()), former]
            .into_iter()
            .flatten()
            .map(key_of)
            .collect();
        let foreign = self
            .certificates
            .iter()
            .filter(move |(_, c)| !own.contains(&issuer_of(&c.certificate)));
        foreign.map(|(node, _)| node.as_str())
    }
}

/// The key identifier of an authority; `None` if the text is no certificate or carries none.
fn key_of(pem: &str) -> Option<Vec<u8>> {
    extension(pem, |extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    })
}

/// The key identifier of the authority that issued a certificate.
fn issuer_of(pem: &str) -> Option<Vec<u8>> {
    extension(pem, |extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(issuer) => issuer.key_identifier.as_ref().map(|key| key.0.to_vec()),
        _ => None,
    })
}

fn extension(pem: &str, wanted: impl Fn(&ParsedExtension<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = block.parse_x509().ok()?;
    certificate
        .extensions()
        .iter()
        .find_map(|e| wanted(e.parsed_extension()))
}

/// `x authority` to `x authority 2`, `x authority 2` to `x authority 3`: authorities of one name confuse people, and
/// programs that look an issuer up by its name.
fn next_name(name: &str) -> String {
    let numbered = name
        .rsplit_once(' ')
        .and_then(|(base, number)| Some((base, number.parse::<u32>().ok()?)));
    match numbered {
        Some((base, number)) => format!("{base} {}", number.saturating_add(1)),
        None => format!("{name} 2"),
    }
}

#[cfg(test)]
mod tests;

//! Certificates of authorities that everybody trusts, taken over from the files in which an ACME client keeps them.

use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::GeneralName;

use rcgen::{KeyPair, PublicKeyData};

use super::{CERTIFICATES, Certificate, Secrets};
use crate::spec::{Cluster, Node, Role};

/// The name of the certificate that mail programs are shown, see [`Secrets::programs_certificate`].
pub const PROGRAMS: &str = "programs_certificate";

/// Why a certificate was not taken over. No text quotes the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Nothing of that name shows a certificate of another authority.
    #[error("`{name}` cannot have a certificate of another authority{reason}\nhelp: what can: {}", .known.join(", "))]
    Name {
        /// What was named.
        name: String,
        /// Why not; empty where it names nothing.
        reason: &'static str,
        /// What can be named.
        known: Vec<String>,
    },
    /// There is no certificate in PEM form.
    #[error("there is no certificate in PEM form; an ACME client calls the right file fullchain.pem or NAME.crt")]
    Empty,
    /// A certificate of the chain cannot be read; they count from 1.
    #[error("certificate {0} of the chain cannot be read")]
    Unreadable(usize),
    /// The first one is an authority's.
    #[error("the chain begins with the certificate of an authority, {0}; the server's own comes first")]
    Authority(String),
    /// One did not issue the one before it.
    #[error(
        "certificate {number} of the chain, {subject}, did not issue the one before it; the order is that of fullchain.pem"
    )]
    Order {
        /// Counted from 1.
        number: usize,
        /// Whose it is.
        subject: String,
    },
    /// The key is none that daemons can read by themselves.
    #[error("{0}")]
    Key(&'static str),
    /// The key is that of another certificate.
    #[error("the key does not belong to the certificate of {0}")]
    Mismatch(String),
}

const NO_KEY: &str = "there is no private key in PEM form; an ACME client calls the right file privkey.pem or NAME.key";
const LOCKED: &str =
    "the key has a passphrase, which nobody types when a node starts: openssl pkey -in KEY -out FILE takes it away";
const OTHER_FORM: &str = "the key is not in the form PKCS#8: openssl pkey -in KEY -out FILE brings it into that form";
const UNKNOWN_KEY: &str = "the key cannot be read, or is of a kind that no public authority signs; RSA from 2048 bits, and ECDSA P-256 or P-384 can be used";

impl Secrets {
    /// These secrets with the certificate of another authority, e.g. a public one, in place of the own authority's:
    /// `certificates.NODE` of a load balancer or gateway, or [`PROGRAMS`]. `chain` is the certificate followed by those of
    /// the authorities in between, `key` its key, both in PEM form.
    ///
    /// Whether it covers the names that clients look for, and until when it holds, is told by
    /// [`crate::check::check_certificate`].
    ///
    /// # Errors
    /// [`ImportError`]; it quotes nothing of the key.
    pub fn import(&self, cluster: &Cluster, name: &str, chain: &str, key: &str) -> Result<Secrets, ImportError> {
        importable(cluster, name)?;
        let certificate = read(chain, key)?;
        let mut secrets = self.clone();
        match name.strip_prefix(CERTIFICATES).and_then(|rest| rest.strip_prefix('.')) {
            Some(node) => drop(secrets.certificates.insert(node.to_owned(), certificate)),
            None => secrets.programs_certificate = Some(certificate),
        }
        Ok(secrets)
    }
}

/// Mail nodes and who has the third vote show theirs to the other nodes, which believe the cluster's own authority only.
fn importable(cluster: &Cluster, name: &str) -> Result<(), ImportError> {
    let may = |node: &&Node| node.role != Role::Mail && !cluster.has_third_vote(node);
    let label = |node: &Node| format!("{CERTIFICATES}.{}", node.name);
    let mut known: Vec<String> = cluster.nodes.iter().filter(may).map(label).collect();
    known.extend(cluster.access.as_ref().map(|_| PROGRAMS.to_owned()));
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let reason = match cluster.nodes.iter().find(|node| label(node) == name) {
        Some(node) if node.role == Role::Mail => {
            ": mail nodes show it to each other, and believe the cluster's own authority only"
        }
        Some(_) => ": the mail nodes ask it for the third vote, and believe the cluster's own authority only",
        None if name == PROGRAMS => ": the description lets no mail programs in ([access])",
        None => "",
    };
    Err(ImportError::Name {
        name: name.to_owned(),
        reason,
        known,
    })
}

fn read(chain: &str, key: &str) -> Result<Certificate, ImportError> {
    let blocks = blocks(chain, "CERTIFICATE");
    let mut parsed = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let unreadable = ImportError::Unreadable(index + 1);
        let Ok((_, pem)) = parse_x509_pem(block.as_bytes()) else {
            return Err(unreadable);
        };
        parsed.push(pem);
    }
    let mut certificates = Vec::new();
    for (index, pem) in parsed.iter().enumerate() {
        certificates.push(pem.parse_x509().map_err(|_| ImportError::Unreadable(index + 1))?);
    }
    let Some(own) = certificates.first() else {
        return Err(ImportError::Empty);
    };
    if own.is_ca() {
        return Err(ImportError::Authority(own.subject().to_string()));
    }
    in_order(&certificates)?;
    let key = private_key(key)?;
    let public = KeyPair::from_pem(&key).map_err(|_| ImportError::Key(UNKNOWN_KEY))?;
    if public.subject_public_key_info() != own.public_key().raw {
        return Err(ImportError::Mismatch(own.subject().to_string()));
    }
    Ok(Certificate {
        names: names(own),
        expires: own.validity().not_after.timestamp(),
        certificate: blocks.concat(),
        key,
    })
}

fn in_order(certificates: &[X509Certificate<'_>]) -> Result<(), ImportError> {
    for (index, pair) in certificates.windows(2).enumerate() {
        if pair[0].issuer() != pair[1].subject() {
            return Err(ImportError::Order {
                number: index + 2,
                subject: pair[1].subject().to_string(),
            });
        }
    }
    Ok(())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let given = certificate.subject_alternative_name().ok().flatten();
    let names = given.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

fn private_key(text: &str) -> Result<String, ImportError> {
    if let Some(key) = blocks(text, "PRIVATE KEY").into_iter().next() {
        return Ok(key);
    }
    Err(ImportError::Key(match text {
        locked if locked.contains("ENCRYPTED") => LOCKED,
        other if other.contains(" PRIVATE KEY-----") => OTHER_FORM,
        _ => NO_KEY,
    }))
}

/// The blocks of a kind in a text in PEM form, each with its line ends as they are written here. Files of ACME clients may
/// hold words between them.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let (begin, end) = (format!("-----BEGIN {kind}-----"), format!("-----END {kind}-----"));
    let after = text.split(&begin).skip(1);
    let bodies = after.filter_map(|rest| rest.split_once(&end).map(|(body, _)| body));
    bodies
        .map(|body| {
            let lines: String = body
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(|line| format!("{line}\n"))
                .collect();
            format!("{begin}\n{lines}{end}\n")
        })
        .collect()
}

#[cfg(test)]
mod tests;

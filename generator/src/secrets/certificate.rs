//! The cluster's own certificate authority and the certificates it gives to nodes.
//!
//! Keys are ECDSA P-256. Signatures are deterministic (RFC 6979), so the same keys, names and dates give the same
//! certificate byte for byte; ring, rcgen's default signer, randomises each signature.

use std::net::IpAddr;

use p256::ecdsa::signature::Signer;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;

use super::SecretsError;
use super::derive::Source;
use crate::spec::{Cluster, Node, Role};

/// The dates between which a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
}

impl Validity {
    /// From now minus one hour (clocks of the nodes may be behind) for so many days.
    pub(super) fn days(now: OffsetDateTime, days: i64) -> Validity {
        let now = now.replace_nanosecond(0).unwrap_or(now);
        Validity {
            from: now - time::Duration::HOUR,
            to: now + time::Duration::days(days),
        }
    }

    /// 2024-01-01 to 2044-01-01, for secrets that come from a seed.
    pub(super) fn fixed() -> Validity {
        Validity {
            from: rcgen::date_time_ymd(2024, 1, 1),
            to: rcgen::date_time_ymd(2044, 1, 1),
        }
    }
}

/// A P-256 key that signs deterministically.
pub(super) struct DeterministicKey {
    key: p256::ecdsa::SigningKey,
    secret: p256::SecretKey,
    /// Uncompressed SEC1 point.
    public: Vec<u8>,
}

impl DeterministicKey {
    pub(super) fn new(secret: p256::SecretKey) -> DeterministicKey {
        let key = p256::ecdsa::SigningKey::from(&secret);
        let public = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        DeterministicKey { key, secret, public }
    }

    /// Reads a PKCS#8 PEM.
    pub(super) fn from_pem(pem: &str) -> Result<DeterministicKey, SecretsError> {
        p256::SecretKey::from_pkcs8_pem(pem)
            .map(DeterministicKey::new)
            .map_err(|e| SecretsError::Key(e.to_string()))
    }

    /// Writes a PKCS#8 PEM.
    pub(super) fn to_pem(&self) -> Result<String, SecretsError> {
        let pem = self
            .secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| SecretsError::Key(e.to_string()))?;
        Ok(pem.to_string())
    }
}

impl PublicKeyData for DeterministicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for DeterministicKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: p256::ecdsa::Signature = self.key.try_sign(message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// A certificate authority that can sign.
pub(super) struct Authority {
    name: String,
    key: DeterministicKey,
}

impl Authority {
    pub(super) fn new(name: &str, key: DeterministicKey) -> Authority {
        Authority {
            name: name.to_owned(),
            key,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&self.name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// The authority's own certificate, PEM.
    pub(super) fn self_signed(&self, validity: Validity, serial: [u8; 16]) -> Result<String, SecretsError> {
        let mut params = self.params();
        params.not_before = validity.from;
        params.not_after = validity.to;
        params.serial_number = Some(positive(serial));
        Ok(params.self_signed(&self.key)?.pem())
    }

    /// A certificate for `names`, the first of which is its common name, PEM. It serves as a server's and as a
    /// client's: MariaDB shows the node's certificate to its peer when it dials it.
    pub(super) fn issue(
        &self,
        names: &[String],
        key: &DeterministicKey,
        validity: Validity,
        serial: [u8; 16],
    ) -> Result<String, SecretsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(names.first().map_or("", String::as_str));
        params.subject_alt_names = names.iter().map(|n| subject(n)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.is_ca = IsCa::ExplicitNoCa;
        params.not_before = validity.from;
        params.not_after = validity.to;
        params.serial_number = Some(positive(serial));
        let issuer_params = self.params();
        let issuer = Issuer::from_params(&issuer_params, &self.key);
        Ok(params.signed_by(key, &issuer)?.pem())
    }
}

/// The names that a node's certificate covers; the FQDN comes first.
pub(super) fn names_of(cluster: &Cluster, node: &Node) -> Vec<String> {
    let mut names = vec![cluster.fqdn(node), node.name.clone(), node.address.to_string()];
    match node.role {
        Role::Mail => names.extend(["localhost".to_owned(), cluster.webmail.host.clone()]),
        Role::LoadBalancer => {
            names.push(cluster.webmail.host.clone());
            names.extend(cluster.published().into_iter().map(|published| published.host));
        }
        Role::Gateway => {}
    }
    if let Some(access) = cluster.access.as_ref().filter(|_| node.role == Role::Mail) {
        names.push(access.host.clone());
    }
    if cluster.decides_itself() && node.role == Role::Mail {
        names.push(cluster.voting_name());
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|n| seen.insert(n.clone()));
    names
}

/// A key for a label, and sixteen bytes of serial number for the same.
pub(super) fn key_and_serial(source: &Source, label: &str) -> (DeterministicKey, [u8; 16]) {
    let key = DeterministicKey::new(source.p256_key(&format!("key of {label}")));
    (key, source.bytes(&format!("serial of {label}")))
}

fn subject(name: &str) -> Result<SanType, SecretsError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // RFC 5280 allows 64 characters; the subject alternative names carry the whole name.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// RFC 5280 section 4.1.2.2: positive, at most 20 octets. The fixed high bits also rule out leading zeros.
fn positive(mut serial: [u8; 16]) -> SerialNumber {
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&serial)
}

//! The key with which the cluster's mail is signed (RFC 6376): RSA of 2048 bits, which every receiver takes (RFC 8301
//! section 3.2); Ed25519 is not known to all.

use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use serde::{Deserialize, Serialize};

use super::SecretsError;
use super::derive::Source;

/// Bits of the modulus.
const BITS: usize = 2048;

/// A key for signatures.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimKey {
    /// Which one it is: the selector ends with it, so no number comes twice.
    pub number: u32,
    /// The public key as it stands in the zone: base64 of a SubjectPublicKeyInfo.
    pub public: String,
    /// The private key, PEM (PKCS#8).
    pub private: String,
}

impl DkimKey {
    /// The key of that number.
    pub(super) fn make(source: &Source, number: u32) -> Result<DkimKey, SecretsError> {
        let failed = |e: &dyn std::fmt::Display| SecretsError::Key(e.to_string());
        let key = source
            .rsa_key(&format!("dkim {number}"), BITS)
            .map_err(|e| failed(&e))?;
        let public = key.to_public_key().to_public_key_pem(LineEnding::LF);
        let public = public.map_err(|e| failed(&e))?;
        let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| failed(&e))?;
        Ok(DkimKey {
            number,
            // What stands between the first and the last line of a PEM is base64.
            public: public.lines().filter(|line| !line.starts_with("-----")).collect(),
            private: private.to_string(),
        })
    }
}

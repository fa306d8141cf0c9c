//! Mozilla's guideline for TLS on servers, version 6.0 (<https://ssl-config.mozilla.org/guidelines/6.0.json>): what a
//! profile means in the words of OpenSSL, which every daemon here is built with.

use serde::Serialize;

use crate::spec::TlsProfile;

/// Ciphers of TLS 1.2, in the names of OpenSSL.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Cipher suites of TLS 1.3.
const SUITES: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// Groups for the exchange of keys; the first is safe against quantum computers and known to OpenSSL from 3.5 on.
const CURVES: [&str; 4] = ["X25519MLKEM768", "X25519", "prime256v1", "secp384r1"];

/// A profile, ready for configuration files.
#[derive(Serialize)]
pub(super) struct Tls {
    /// Every version from the oldest on, oldest first.
    versions: &'static [&'static str],
    /// Ciphers of TLS 1.2 with colons between; empty if that version is not spoken.
    ciphers: String,
    /// Cipher suites of TLS 1.3 with colons between.
    suites: String,
    /// Groups with colons between.
    curves: String,
}

impl Tls {
    pub(super) fn new(profile: TlsProfile) -> Tls {
        let (versions, ciphers): (&[_], _) = match profile {
            TlsProfile::Intermediate => (&["TLSv1.2", "TLSv1.3"], CIPHERS.join(":")),
            TlsProfile::Modern => (&["TLSv1.3"], String::new()),
        };
        Tls {
            versions,
            ciphers,
            suites: SUITES.join(":"),
            curves: CURVES.join(":"),
        }
    }
}

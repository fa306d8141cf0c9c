//! Which clients the cluster's TLS is made for.

use schemars::JsonSchema;
use serde::Deserialize;

/// TLS towards users: webmail, IMAP, submission, managesieve. Mail between servers is not concerned.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A profile of Mozilla's guideline.
    pub profile: TlsProfile,
}

/// The profiles of Mozilla's guideline, <https://wiki.mozilla.org/Security/Server_Side_TLS>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsProfile {
    /// TLS 1.2 and 1.3, with ciphers that keep what was said secret when a key is lost later.
    #[default]
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

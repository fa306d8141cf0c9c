//! How receivers tell the cluster's mail from forgeries: signatures (DKIM) and what is to be done without them (DMARC). Who
//! may send (SPF) follows from the nodes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Cluster;

/// Signed mail. With this section the gateways sign what the cluster's users send, with one key for all domains; the zones
/// publish the key and the policy, and `generator secrets` makes and rotates it. Left out, nothing is signed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticity {
    /// What the selector of the key begins with; its number follows: `dkim` gives `dkim1`, and `dkim2` after a rotation.
    #[serde(default = "dkim")]
    pub selector: String,
    /// What receivers are asked to do with mail that says it comes from a domain of the cluster, and does not (`p=` of the
    /// DMARC record).
    #[serde(default)]
    pub dmarc_policy: DmarcPolicy,
    /// The mail address to which receivers send their daily reports (`rua=` of the DMARC record).
    pub dmarc_reports: String,
}

/// What receivers are asked to do with mail that neither SPF nor DKIM vouches for (RFC 7489 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DmarcPolicy {
    /// Nothing but reports: to begin with.
    #[default]
    None,
    /// Treat it as suspicious.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl DmarcPolicy {
    /// The value of the tag `p=`.
    pub fn as_str(self) -> &'static str {
        match self {
            DmarcPolicy::None => "none",
            DmarcPolicy::Quarantine => "quarantine",
            DmarcPolicy::Reject => "reject",
        }
    }
}

fn dkim() -> String {
    "dkim".to_owned()
}

impl Cluster {
    /// The domains whose reports go to an address of another domain of the cluster: the domain of the address has to say
    /// that it takes them (RFC 7489 section 7.1). Nothing if the address belongs to no domain of the cluster.
    pub fn reported_elsewhere(&self) -> Option<(&str, Vec<&str>)> {
        let (_, home) = self.authenticity.as_ref()?.dmarc_reports.rsplit_once('@')?;
        let home = self.domains().find(|domain| domain.eq_ignore_ascii_case(home))?;
        Some((home, self.domains().filter(|domain| *domain != home).collect()))
    }
}

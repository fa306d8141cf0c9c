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
    /// The mail address to which other servers report daily how TLS with the cluster's mail servers went (RFC 8460). Left
    /// out, nobody is asked to.
    #[serde(default)]
    pub tls_reports: Option<String>,
    /// What other servers are to do when TLS with the cluster's mail servers fails (RFC 8461). The load balancers publish the
    /// policy under `mta-sts.DOMAIN`, the zone says that there is one. Left out, there is none.
    #[serde(default)]
    pub mta_sts: Option<TransportPolicy>,
}

/// The mode of the policy for TLS between servers, MTA-STS (RFC 8461 section 5). Servers believe certificates of public
/// authorities only: the load balancers need one for the policy, and what the MX records lead to needs one for mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransportPolicy {
    /// Mail is given also where TLS fails, and the failure is reported: to begin with.
    Testing,
    /// Mail is given over TLS with a good certificate only, and waits otherwise.
    Enforce,
    /// What was said before holds no longer: for as long as others keep the former policy, before the line is taken away.
    None,
}

impl TransportPolicy {
    /// The value of the field `mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportPolicy::Testing => "testing",
            TransportPolicy::Enforce => "enforce",
            TransportPolicy::None => "none",
        }
    }

    /// For how long others keep it, in seconds: a day for what is to change soon, and four weeks, within which no attacker
    /// makes them forget it, for what is meant (RFC 8461 section 3.2 asks for weeks or more).
    pub fn max_age(self) -> u32 {
        match self {
            TransportPolicy::Testing | TransportPolicy::None => 86_400,
            TransportPolicy::Enforce => 2_419_200,
        }
    }
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

//! What the gateways look at before they take mail in.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Cluster;

/// A filter on every gateway: rspamd refuses the test message of filters for spam and attachments that are programs, clamd
/// refuses what it knows as a virus, in mail that comes and in mail that leaves, while the sender is still there; and no user
/// sends without bounds. While one of
/// them is away mail waits with its sender. Nothing is asked of the internet; left out, nothing is looked at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Where clamd knows viruses from.
    #[serde(default)]
    pub signatures: Signatures,
    /// Attachments whose names end so are refused, also within archives; without the dot, e.g. `exe`. Empty: none.
    #[serde(default = "programs")]
    pub refused_attachments: Vec<String>,
    /// Recipients to whom one of the cluster's own senders may write within an hour, on each gateway. What is above waits on
    /// the mail node and leaves later: an account that somebody has taken over does little harm before it is noticed.
    #[serde(default = "five_hundred")]
    pub outgoing_per_hour: u32,
    /// Whether mail from elsewhere is from whom it says. Left out, nobody looks, and the name server is not asked.
    #[serde(default)]
    pub authentication: Option<Authentication>,
}

/// Mail from elsewhere is compared with what its sender's domain publishes: who may send for it (SPF), its keys (DKIM), and what
/// is to be done with mail that neither vouches for (DMARC). What a domain wants refused is refused, what it wants in quarantine
/// lies in Junk; the result stands in `Authentication-Results`. With `[authenticity]` the gateways seal the result (ARC), so
/// that mail which a user forwards is believed elsewhere. The gateways need a name server; while it does not answer nothing is
/// refused.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// Domains whose seals are believed: a message that one of them found authentic, before it changed or forwarded it, is not
    /// refused. For a mailing list's host or a former address of many users, e.g. `lists.example.net`.
    #[serde(default)]
    pub trusted_sealers: Vec<String>,
}

fn five_hundred() -> u32 {
    500
}

/// Where clamd knows viruses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// ClamAV's own databases, which freshclam fetches and keeps new. clamd needs some 1.5 GB of memory for them, twice that
    /// while it loads new ones.
    #[default]
    Freshclam,
    /// What lies in `/etc/clamav/signatures`: the test file EICAR, and what the operator puts there. For places without the
    /// internet.
    Local,
}

/// What Windows runs when it is opened, and what such things are wrapped in.
fn programs() -> Vec<String> {
    [
        "bat", "chm", "cmd", "com", "cpl", "dll", "exe", "hta", "iso", "jar", "js", "jse", "lnk", "msi", "pif", "ps1",
        "reg", "scr", "vbe", "vbs", "wsf",
    ]
    .map(str::to_owned)
    .into()
}

impl Cluster {
    /// Whether gateways find out who mail from elsewhere is from.
    pub fn authenticates(&self) -> bool {
        self.filter
            .as_ref()
            .is_some_and(|filter| filter.authentication.is_some())
    }

    /// Whether somebody marks mail for the folder Junk: a gateway by its sender's policy, or amavisd by its contents.
    pub fn marks_junk(&self) -> bool {
        self.amavisd.is_some() || self.authenticates()
    }
}

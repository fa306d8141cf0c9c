//! What the gateways look at before they take mail in.

use schemars::JsonSchema;
use serde::Deserialize;

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

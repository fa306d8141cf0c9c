//! How users' mail programs reach the cluster: IMAP, submission and managesieve through the load balancers.

use schemars::JsonSchema;
use serde::Deserialize;

/// The doors for mail programs on the load balancers. Left out, there are none: users have webmail.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The name that mail programs are set to, without a final dot: `mail.example.org`. It leads to the load balancers;
    /// the mail nodes' certificates cover it, for TLS ends there.
    pub host: String,
    /// Whether programs get these settings by themselves: the load balancers tell them under `autoconfig.DOMAIN`
    /// (Thunderbird and many others) and `autodiscover.DOMAIN` (Outlook), for each domain of the cluster. The certificate of
    /// the load balancers has to cover these names.
    #[serde(default)]
    pub autoconfig: bool,
}

/// Which of the two ends of a door encrypts, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// TLS from the first byte (RFC 8314 section 3).
    Implicit,
    /// The client asks for it (`STARTTLS`); nobody logs in before.
    StartTls,
}

/// One service for mail programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Its name in the services registry, which names HAProxy's sections as well.
    pub name: &'static str,
    /// The port that clients know, on the load balancers.
    pub port: u16,
    /// The port on the mail nodes that only the load balancers reach and where the PROXY protocol is spoken.
    pub inner: u16,
    /// When TLS begins.
    pub encryption: Encryption,
}

/// Every service for mail programs, by public port.
pub const DOORS: [Door; 5] = [
    door("imap", 143, 10143, Encryption::StartTls),
    door("submissions", 465, 10465, Encryption::Implicit),
    door("submission", 587, 10587, Encryption::StartTls),
    door("imaps", 993, 10993, Encryption::Implicit),
    door("sieve", 4190, 14190, Encryption::StartTls),
];

const fn door(name: &'static str, port: u16, inner: u16, encryption: Encryption) -> Door {
    Door {
        name,
        port,
        inner,
        encryption,
    }
}

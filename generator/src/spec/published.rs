//! Names under which the load balancers publish what other programs look up: the policy for TLS between mail servers, and the
//! settings of mail programs.

use super::Cluster;

/// One such name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The whole name, without a final dot.
    pub host: String,
    /// The domain that it is about.
    pub domain: String,
    /// What is found there.
    pub what: Publication,
}

/// What is published under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// The policy of MTA-STS (RFC 8461 section 3.2).
    TransportPolicy,
    /// Settings in the form of Thunderbird's autoconfiguration.
    Autoconfig,
    /// Settings in the form of Outlook's Autodiscover.
    Autodiscover,
}

impl Publication {
    /// The first label of its names.
    pub fn label(self) -> &'static str {
        match self {
            Publication::TransportPolicy => "mta-sts",
            Publication::Autoconfig => "autoconfig",
            Publication::Autodiscover => "autodiscover",
        }
    }
}

impl Cluster {
    /// Everything that the load balancers publish, each domain's names together.
    pub fn published(&self) -> Vec<Published> {
        let policy = self.authenticity.as_ref().is_some_and(|a| a.mta_sts.is_some());
        let settings = self.access.as_ref().is_some_and(|access| access.autoconfig);
        let kinds = [
            (Publication::TransportPolicy, policy),
            (Publication::Autoconfig, settings),
            (Publication::Autodiscover, settings),
        ];
        let of = |domain: &str| {
            let made = kinds.iter().filter(|(_, made)| *made);
            let published = made.map(|(what, _)| Published {
                host: format!("{}.{domain}", what.label()),
                domain: domain.to_owned(),
                what: *what,
            });
            published.collect::<Vec<_>>()
        };
        self.domains().flat_map(of).collect()
    }
}

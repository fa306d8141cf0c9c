//! What signing looks like from outside: the records of the zone that receivers ask for; and what templates see of it.

use serde::Serialize;

use super::{RenderError, policy};
use crate::secrets::{DkimKey, Secrets};
use crate::spec::{Authenticity, Cluster, Role};

/// The longest text within one pair of quotes, octets (RFC 1035 section 3.3: a length octet goes before it).
const STRING: usize = 255;

/// What templates see of signing.
#[derive(Serialize)]
pub(super) struct Signing {
    /// The selector under which the key is published that signs.
    selector: String,
    /// The private key, PEM.
    key: String,
}

impl Signing {
    /// Nothing where nothing is signed.
    pub(super) fn new(cluster: &Cluster, secrets: &Secrets) -> Result<Option<Signing>, RenderError> {
        let Some(authenticity) = &cluster.authenticity else {
            return Ok(None);
        };
        let key = secrets.dkim.as_ref().ok_or_else(|| RenderError::Secret {
            what: "signatures (`dkim`)".to_owned(),
        })?;
        Ok(Some(Signing {
            selector: selector(authenticity, key),
            key: key.private.clone(),
        }))
    }

    /// The selector under which the key is published that signs.
    pub(super) fn selector(&self) -> &str {
        &self.selector
    }
}

fn selector(authenticity: &Authenticity, key: &DkimKey) -> String {
    format!("{}{}", authenticity.selector, key.number)
}

/// The records of one of the cluster's domains: keys, the former one too for as long as its rotation is not finished
/// (RFC 6376 section 3.6.2); policy; and, beside the policy of other domains, that reports for them are taken here.
/// Gateways also say that they speak for themselves: the sender of a bounce is empty, and then SPF is about the name
/// that the gateway greets with (RFC 7208 section 2.3).
pub(super) fn records(cluster: &Cluster, secrets: &Secrets, domain: &str) -> Vec<String> {
    let Some(authenticity) = &cluster.authenticity else {
        return Vec::new();
    };
    let mut records = Vec::new();
    if domain == cluster.cluster.domain {
        let gateways = cluster.of_role(Role::Gateway);
        records.extend(gateways.map(|gateway| format!("{} IN TXT \"v=spf1 a -all\"", gateway.name)));
    }
    for key in secrets.dkim.iter().chain(&secrets.previous.dkim) {
        let text = format!("v=DKIM1; h=sha256; k=rsa; p={}", key.public);
        records.push(format!(
            "{}._domainkey IN TXT {}",
            selector(authenticity, key),
            quoted(&text)
        ));
    }
    let (policy, reports) = (authenticity.dmarc_policy.as_str(), &authenticity.dmarc_reports);
    let text = format!("v=DMARC1; p={policy}; rua=mailto:{reports}");
    records.push(format!("_dmarc IN TXT {}", quoted(&text)));
    if let Some(address) = &authenticity.tls_reports {
        let text = format!("v=TLSRPTv1; rua=mailto:{address}");
        records.push(format!("_smtp._tls IN TXT {}", quoted(&text)));
    }
    if let Some(policy) = policy::transport(cluster, domain) {
        records.push(format!("_mta-sts IN TXT \"v=STSv1; id={}\"", policy::id(&policy)));
    }
    if let Some((home, others)) = cluster.reported_elsewhere().filter(|(home, _)| *home == domain) {
        let taken = |other: &str| format!("{other}._report._dmarc.{home}. IN TXT \"v=DMARC1\"");
        records.extend(others.into_iter().map(taken));
    }
    records
}

/// A text as the strings of one TXT record, which whoever reads it joins.
fn quoted(text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING).map(String::from_utf8_lossy);
    strings
        .map(|string| format!("\"{string}\""))
        .collect::<Vec<_>>()
        .join(" ")
}

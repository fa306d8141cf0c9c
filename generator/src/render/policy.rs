//! The policy for TLS between mail servers (MTA-STS, RFC 8461), which the load balancers publish and the zone announces.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::zone;
use crate::spec::Cluster;

/// Characters of a policy's id, of which there may be 32 (RFC 8461 section 3.1).
const ID: usize = 32;

/// Where a load balancer has the policy of a domain.
pub(super) fn path(domain: &str) -> String {
    format!("/etc/haproxy/mta-sts/{domain}.txt")
}

/// The policy of one of the cluster's domains (RFC 8461 section 3.2): everybody that its MX records name. Nothing where none
/// is described.
pub(super) fn transport(cluster: &Cluster, domain: &str) -> Option<String> {
    let mode = cluster.authenticity.as_ref()?.mta_sts?;
    let mut text = format!("version: STSv1\nmode: {}\n", mode.as_str());
    for name in zone::exchanger_names(cluster, domain) {
        let _ = writeln!(text, "mx: {name}");
    }
    let _ = writeln!(text, "max_age: {}", mode.max_age());
    Some(text)
}

/// By this others notice that a policy has changed. It follows from the text, so that it changes exactly then.
pub(super) fn id(policy: &str) -> String {
    let digest = Sha256::digest(policy.as_bytes());
    let mut id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    id.truncate(ID);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DnsRecord, TransportPolicy};

    fn cluster() -> Cluster {
        let mut cluster: Cluster = toml::from_str(include_str!("../../examples/redundant.toml")).unwrap();
        let access: Cluster = toml::from_str(include_str!("../../examples/access.toml")).unwrap();
        cluster.authenticity = access.authenticity;
        cluster.cluster.more_domains = vec!["example.net".to_owned()];
        cluster
    }

    #[test]
    fn a_policy_names_everybody_to_whom_mail_is_sent() {
        let mut cluster = cluster();
        cluster.dns.records.push(DnsRecord {
            name: "@".to_owned(),
            kind: "MX".to_owned(),
            data: "20 backup.example.com.".to_owned(),
        });
        let main = transport(&cluster, "example.org").unwrap();
        assert_eq!(
            main,
            "version: STSv1\nmode: testing\nmx: gateway1.example.org\nmx: gateway2.example.org\nmx: backup.example.com\nmax_age: 86400\n"
        );
        let other = transport(&cluster, "example.net").unwrap();
        assert!(
            !other.contains("backup"),
            "records of the main domain are no other one's: {other}"
        );
    }

    #[test]
    fn another_policy_has_another_id_and_the_same_one_the_same() {
        let mut cluster = cluster();
        let testing = id(&transport(&cluster, "example.org").unwrap());
        assert_eq!(testing, id(&transport(&cluster, "example.org").unwrap()));
        cluster.authenticity.as_mut().unwrap().mta_sts = Some(TransportPolicy::Enforce);
        let enforced = id(&transport(&cluster, "example.org").unwrap());
        assert_ne!(testing, enforced);
        assert!(enforced.len() <= 32 && enforced.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}

//! Who vouches for the certificates that other mail servers look at when there is a policy for TLS (MTA-STS).

use x509_parser::pem::parse_x509_pem;

use super::{Finding, rules};
use crate::secrets::Secrets;
use crate::spec::{Cluster, Node, Role, TransportPolicy};

pub(super) fn check(secrets: &Secrets, cluster: &Cluster) -> Vec<Finding> {
    let policy = cluster.authenticity.as_ref().and_then(|a| a.mta_sts);
    let code = match policy {
        None | Some(TransportPolicy::None) => return Vec::new(),
        Some(TransportPolicy::Testing) => "certificate-private",
        Some(TransportPolicy::Enforce) => "certificate-private-enforced",
    };
    let private = |node: &&Node| {
        let certificate = secrets.certificates.get(&node.name);
        certificate.is_some_and(|c| is_private(&c.certificate, &secrets.ca_certificate))
    };
    let found = cluster
        .nodes
        .iter()
        .filter(|node| is_looked_at(cluster, node))
        .filter(private);
    found.map(|node| finding(code, cluster, node)).collect()
}

/// A load balancer, where the policy is fetched, or a machine that an MX record names.
fn is_looked_at(cluster: &Cluster, node: &Node) -> bool {
    match node.role {
        Role::LoadBalancer | Role::Gateway => true,
        Role::Mail => cluster.of_role(Role::Gateway).next().is_none(),
    }
}

/// Signed by the cluster's own authority. What cannot be read is told elsewhere.
fn is_private(certificate: &str, authority: &str) -> bool {
    let (Ok((_, certificate)), Ok((_, authority))) = (
        parse_x509_pem(certificate.as_bytes()),
        parse_x509_pem(authority.as_bytes()),
    ) else {
        return false;
    };
    match (certificate.parse_x509(), authority.parse_x509()) {
        (Ok(certificate), Ok(authority)) => certificate.issuer() == authority.subject(),
        _ => false,
    }
}

fn finding(code: &'static str, cluster: &Cluster, node: &Node) -> Finding {
    let (where_to, consequence) = match node.role {
        Role::LoadBalancer => (
            format!("the policy of mta-sts.{} is fetched there", cluster.cluster.domain),
            "other servers believe public authorities only (RFC 8461 section 3.3): they do not get the policy, and those that had it keep the former one",
        ),
        Role::Gateway | Role::Mail => (
            "an MX record names it".to_owned(),
            "other servers believe public authorities only (RFC 8461 section 4.1): under test they report each delivery as a failure, and with `enforce` their mail does not come",
        ),
    };
    rules::finding(
        code,
        format!("the certificate of {} is the cluster's own, and {where_to}", node.name),
    )
    .why(consequence)
    .help(format!(
        "take one of a public authority over: generator secrets import certificates.{}; until then `mta_sts = \"testing\"`",
        node.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(policy: Option<TransportPolicy>, change: impl Fn(&mut Secrets, &Secrets)) -> Vec<String> {
        let mut cluster: Cluster = toml::from_str(include_str!("../../examples/access.toml")).unwrap();
        cluster.authenticity.as_mut().unwrap().mta_sts = policy;
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        let mut elsewhere = cluster.clone();
        elsewhere.cluster.name = "elsewhere".to_owned();
        let others = Secrets::from_seed(&elsewhere, 2).unwrap();
        change(&mut secrets, &others);
        let found = check(&secrets, &cluster);
        found
            .into_iter()
            .map(|f| format!("{}: {}", f.code, f.message))
            .collect()
    }

    #[test]
    fn without_a_policy_that_holds_nobody_looks() {
        assert_eq!(told(None, |_, _| {}), [""; 0]);
        assert_eq!(told(Some(TransportPolicy::None), |_, _| {}), [""; 0]);
    }

    #[test]
    fn the_cluster_s_own_authority_vouches_for_nothing_outside() {
        let found = told(Some(TransportPolicy::Testing), |_, _| {});
        assert_eq!(
            found,
            [
                "certificate-private: the certificate of gateway is the cluster's own, and an MX record names it",
                "certificate-private: the certificate of lb is the cluster's own, and the policy of mta-sts.example.org is fetched there",
            ]
        );
        let enforced = told(Some(TransportPolicy::Enforce), |_, _| {});
        assert!(
            enforced.iter().all(|f| f.starts_with("certificate-private-enforced: ")),
            "{enforced:?}"
        );
    }

    #[test]
    fn another_authority_s_certificates_are_nothing_to_tell() {
        let found = told(Some(TransportPolicy::Enforce), |secrets, others| {
            for (name, certificate) in &mut secrets.certificates {
                certificate
                    .certificate
                    .clone_from(&others.certificates[name].certificate);
            }
        });
        assert_eq!(found, [""; 0]);
    }
}

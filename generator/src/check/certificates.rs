//! The certificates in a file of secrets: do they cover what clients look for, and until when.

use std::net::IpAddr;

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::{Finding, rules};
use crate::secrets::{CERTIFICATES, Secrets};
use crate::spec::{Cluster, Node, Role};

/// Days before its end from which a certificate is warned about; a rotation renews those of the cluster's own authority
/// then.
const SOON: i64 = 30;

pub(super) fn check(secrets: &Secrets, cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    let mut found = read("`ca_certificate`", &secrets.ca_certificate, &[], now);
    for node in &cluster.nodes {
        found.extend(of_node(secrets, cluster, node, now));
    }
    found.extend(of_programs(secrets, cluster, now));
    found
}

/// The certificate of that name among the secrets: `certificates.NODE`, or that of mail programs.
pub(super) fn check_one(secrets: &Secrets, cluster: &Cluster, name: &str, now: OffsetDateTime) -> Vec<Finding> {
    let node = cluster
        .nodes
        .iter()
        .find(|node| format!("{CERTIFICATES}.{}", node.name) == name);
    match node {
        Some(node) => of_node(secrets, cluster, node, now),
        None => of_programs(secrets, cluster, now),
    }
}

fn of_node(secrets: &Secrets, cluster: &Cluster, node: &Node, now: OffsetDateTime) -> Vec<Finding> {
    let Some(certificate) = secrets.certificates.get(&node.name) else {
        return Vec::new();
    };
    let what = format!("the certificate of {}", node.name);
    read(&what, &certificate.certificate, &wanted(cluster, node), now)
}

fn of_programs(secrets: &Secrets, cluster: &Cluster, now: OffsetDateTime) -> Vec<Finding> {
    match (&secrets.programs_certificate, &cluster.access) {
        (Some(certificate), Some(access)) => {
            let wanted = std::slice::from_ref(&access.host);
            read(
                "the certificate for mail programs",
                &certificate.certificate,
                wanted,
                now,
            )
        }
        _ => Vec::new(),
    }
}

/// The names under which clients of the node look for it.
fn wanted(cluster: &Cluster, node: &Node) -> Vec<String> {
    // The mail nodes ask the third vote for its name, and it asks them for the one that only they have.
    let third = cluster.has_third_vote(node).then(|| node.name.clone());
    let voting = (cluster.decides_itself() && node.role == Role::Mail).then(|| cluster.voting_name());
    let mut names = match node.role {
        // HAProxy and the gateway's Postfix ask for the name, MariaDB for the address, mail programs for the name that
        // they are set to.
        Role::Mail => {
            let programs = cluster.access.iter().map(|access| access.host.clone());
            [cluster.fqdn(node), node.address.to_string()]
                .into_iter()
                .chain(programs)
                .collect()
        }
        Role::Gateway => vec![cluster.fqdn(node)],
        Role::LoadBalancer => {
            let published = cluster.published().into_iter().map(|published| published.host);
            [cluster.webmail.host.clone()].into_iter().chain(published).collect()
        }
    };
    names.extend(third.into_iter().chain(voting));
    names
}

fn finding(code: &'static str, message: String, why: &str) -> Finding {
    rules::finding(code, message).why(why).help("one of the cluster's own authority: generator secrets rotate; one from elsewhere: once it is renewed, generator secrets import; then render, and install on the node")
}

fn read(what: &str, pem: &str, wanted: &[String], now: OffsetDateTime) -> Vec<Finding> {
    let block = parse_x509_pem(pem.as_bytes());
    let Some(certificate) = block.as_ref().ok().and_then(|(_, block)| block.parse_x509().ok()) else {
        let why = "the program that reads it does not start";
        return vec![finding(
            "certificate-unreadable",
            format!("{what} is not a certificate in PEM form"),
            why,
        )];
    };
    let mut found = Vec::new();
    let left = certificate.validity().not_after.to_datetime() - now;
    if left.is_negative() {
        let message = format!("{what} ended {} days ago", -left.whole_days());
        found.push(finding(
            "certificate-expired",
            message,
            "clients and the other nodes refuse the connection",
        ));
    } else if left.whole_days() < SOON {
        let message = format!("{what} ends in {} days", left.whole_days());
        let why = "from that day clients and the other nodes refuse the connection, all of them at once";
        found.push(finding("certificate-expiring", message, why));
    }
    let names: Vec<GeneralName<'_>> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| extension.value.general_names.clone())
        .unwrap_or_default();
    for name in wanted
        .iter()
        .filter(|name| !names.iter().any(|given| is_covered(given, name)))
    {
        let why =
            "who connects looks for that name in the certificate (RFC 9525) and takes the machine for another one";
        found.push(finding(
            "certificate-name",
            format!("{what} does not cover {name}"),
            why,
        ));
    }
    found
}

/// RFC 9525 section 6.3: a wildcard stands for exactly the first label.
fn is_covered(given: &GeneralName<'_>, name: &str) -> bool {
    match given {
        GeneralName::DNSName(given) => match (given.strip_prefix("*."), name.split_once('.')) {
            (Some(parent), Some((_, rest))) => rest.eq_ignore_ascii_case(parent),
            _ => given.eq_ignore_ascii_case(name),
        },
        GeneralName::IPAddress(bytes) => match name.parse() {
            Ok(IpAddr::V4(address)) => address.octets() == *bytes,
            Ok(IpAddr::V6(address)) => address.octets() == *bytes,
            Err(_) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(change: impl Fn(&mut Secrets, &mut Cluster), year: i32) -> Vec<String> {
        let mut cluster: Cluster = ::toml::from_str(include_str!("../../examples/pair.toml")).unwrap();
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        change(&mut secrets, &mut cluster);
        let found = check(&secrets, &cluster, rcgen::date_time_ymd(year, 12, 10));
        found
            .into_iter()
            .map(|f| format!("{}: {}", f.code, f.message))
            .collect()
    }

    #[test]
    fn generated_certificates_cover_what_is_looked_for() {
        assert_eq!(told(|_, _| {}, 2030), [""; 0]);
    }

    #[test]
    fn a_renamed_webmail_is_not_covered() {
        let found = told(|_, cluster| cluster.webmail.host = "post.example.org".into(), 2030);
        assert_eq!(
            found,
            ["certificate-name: the certificate of lb does not cover post.example.org"]
        );
    }

    #[test]
    fn the_one_for_mail_programs_has_to_cover_the_name_that_they_are_set_to() {
        let mut cluster: Cluster = ::toml::from_str(include_str!("../../examples/access.toml")).unwrap();
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        secrets.programs_certificate = secrets.certificates.get("mail1").cloned();
        let messages = |cluster: &Cluster| -> Vec<String> {
            let found = check(&secrets, cluster, rcgen::date_time_ymd(2030, 12, 10));
            let of_programs = found.into_iter().filter(|f| f.message.contains("mail programs"));
            of_programs.map(|f| f.message).collect()
        };
        assert_eq!(messages(&cluster), [""; 0]);
        cluster.access.as_mut().unwrap().host = "post.example.org".into();
        assert_eq!(
            messages(&cluster),
            ["the certificate for mail programs does not cover post.example.org"]
        );
    }

    #[test]
    fn the_end_is_warned_of_and_then_an_error() {
        let soon = told(|_, _| {}, 2043);
        assert_eq!(soon.len(), 5, "{soon:?}");
        assert_eq!(soon[0], "certificate-expiring: `ca_certificate` ends in 22 days");
        let late = told(|_, _| {}, 2044);
        assert!(late.iter().all(|f| f.starts_with("certificate-expired: ")), "{late:?}");
    }

    #[test]
    fn anything_else_is_unreadable() {
        let found = told(|secrets, _| secrets.ca_certificate = "none".into(), 2030);
        assert_eq!(
            found,
            ["certificate-unreadable: `ca_certificate` is not a certificate in PEM form"]
        );
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let wildcard = GeneralName::DNSName("*.example.org");
        assert!(is_covered(&wildcard, "webmail.example.org"));
        assert!(!is_covered(&wildcard, "a.webmail.example.org"));
        assert!(!is_covered(&wildcard, "example.org"));
    }
}

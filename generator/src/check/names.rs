//! Names: of the cluster, its domains, its nodes and webmail.

use super::{Finding, Findings};

const DOMAIN_HELP: &str =
    "labels of letters, digits and hyphens (1 to 63, no hyphen at an end), at least two of them, with dots between";
const LABEL_HELP: &str = "letters, digits and hyphens, 1 to 63 of them, no hyphen at an end";

/// Names that mean something else on every node or in the bundle's folder.
const TAKEN: [&str; 6] = [
    "localhost",
    "dns",
    "monitoring",
    "mta-sts",
    "autoconfig",
    "autodiscover",
];

pub(super) fn check(findings: &mut Findings<'_>) {
    cluster_name(findings);
    domains(findings);
    nodes(findings);
    webmail(findings);
}

/// One label of a host name: RFC 1123 section 2.1, RFC 1035 section 2.3.4.
pub(super) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A host name without final dot, of at least two labels and at most 253 characters, the last not all digits.
pub(super) fn is_domain(name: &str) -> bool {
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(is_label)
        && !name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// The host name is the domain or lies below it.
pub(super) fn is_below(domain: &str, host: &str) -> bool {
    host.to_lowercase()
        .strip_suffix(&domain.to_lowercase())
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn cluster_name(findings: &mut Findings<'_>) {
    let name = &findings.cluster().cluster.name;
    if !is_label(name) {
        let finding = findings
            .at(
                "invalid-cluster-name",
                "cluster.name",
                "not a plain name",
                format!("{name:?} cannot be the cluster's name"),
            )
            .why("it is written into certificates and file names")
            .help(LABEL_HELP);
        findings.push(finding);
    }
}

fn domains(findings: &mut Findings<'_>) {
    let identity = &findings.cluster().cluster;
    let mut seen: Vec<(String, String)> = Vec::new();
    let more = identity
        .more_domains
        .iter()
        .enumerate()
        .map(|(i, d)| (format!("cluster.more_domains[{i}]"), d));
    for (path, domain) in std::iter::once(("cluster.domain".to_owned(), &identity.domain)).chain(more) {
        let lower = domain.to_lowercase();
        if !is_domain(domain) {
            let finding = findings
                .at(
                    "invalid-domain",
                    &path,
                    "not a domain name",
                    format!("{domain:?} is not a mail domain"),
                )
                .why("zone, MX records and certificates are made from it");
            findings.push(domain_help(finding, domain));
        } else if let Some((first, _)) = seen.iter().find(|(_, d)| *d == lower) {
            let finding = findings
                .at(
                    "duplicate-domain",
                    &path,
                    "given again",
                    format!("the mail domain {domain} is given twice"),
                )
                .related(findings.span(first), "first given here")
                .why("its zone and its row in the accounts' database would be made twice")
                .help("remove one of the two");
            findings.push(finding);
        }
        seen.push((path, lower));
    }
}

pub(super) fn domain_help(finding: Finding, domain: &str) -> Finding {
    match domain.strip_suffix('.') {
        Some(bare) if is_domain(bare) => finding.help(format!("here a domain stands without final dot: \"{bare}\"")),
        _ if !domain.is_ascii() => finding.help("write an internationalised domain in its ASCII form (xn--...)"),
        _ => finding.help(DOMAIN_HELP),
    }
}

fn nodes(findings: &mut Findings<'_>) {
    let nodes = &findings.cluster().nodes;
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("node[{index}].name");
        let same = |n: &crate::spec::Node| n.name.eq_ignore_ascii_case(&node.name);
        if let Some(first) = nodes[..index].iter().position(same) {
            let finding = findings
                .at(
                    "duplicate-name",
                    &path,
                    "used again",
                    format!("two nodes have the name {}", node.name),
                )
                .related(findings.span(&format!("node[{first}].name")), "first used here")
                .why("certificates, records and folders are kept by node name")
                .help("give each node a name of its own");
            findings.push(finding);
        } else if !is_label(&node.name) {
            let help = if node.name.contains('.') {
                "give the short name; the domain is added to it".to_owned()
            } else {
                LABEL_HELP.to_owned()
            };
            let finding = findings
                .at(
                    "invalid-node-name",
                    &path,
                    "not a host name",
                    format!("{:?} cannot be a node's name", node.name),
                )
                .why("it becomes the machine's host name")
                .help(help);
            findings.push(finding);
        } else if findings.cluster().fqdn(node).len() > 253 {
            let finding = findings
                .at(
                    "invalid-node-name",
                    &path,
                    "too long with its domain",
                    format!("{} and the domain are longer than a host name can be", node.name),
                )
                .why("a name has at most 253 characters (RFC 1035 section 2.3.4); the zone would be refused")
                .help("choose a shorter name");
            findings.push(finding);
        } else if TAKEN.contains(&node.name.to_lowercase().as_str()) {
            let finding = findings
                .at(
                    "invalid-node-name",
                    &path,
                    "a name with a meaning of its own",
                    format!("a node cannot be called {}", node.name),
                )
                .why("the name means something else on every node, in the zone or in the rendered folder")
                .help("choose another name");
            findings.push(finding);
        }
    }
}

fn webmail(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let host = &cluster.webmail.host;
    if !is_domain(host) {
        let finding = findings
            .at(
                "invalid-webmail-host",
                "webmail.host",
                "not a host name",
                format!("{host:?} is not a host name"),
            )
            .why("it is the name that users type and that the certificate covers");
        findings.push(domain_help(finding, host));
        return;
    }
    let is_host = |n: &&crate::spec::Node| cluster.fqdn(n).eq_ignore_ascii_case(host);
    if let Some(node) = cluster.nodes.iter().find(is_host) {
        let finding = findings
            .at(
                "invalid-webmail-host",
                "webmail.host",
                format!("the name of the node {}", node.name),
                "webmail has the name of a node",
            )
            .why("the name must lead to what is alive, a node's name leads to that node only")
            .help(format!(
                "choose another name, e.g. \"webmail.{}\"",
                cluster.cluster.domain
            ));
        findings.push(finding);
        return;
    }
    // The zones of further domains hold no host names.
    if !is_below(&cluster.cluster.domain, host) {
        let finding = findings
            .at(
                "webmail-outside-domains",
                "webmail.host",
                "outside the cluster's domains",
                format!("{host} is in none of the zones that are generated"),
            )
            .why("its A record has to be kept by hand")
            .help(format!(
                "choose a name below {}, or add the record where {host} is kept",
                cluster.cluster.domain
            ));
        findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_host_name_rules() {
        for good in ["mail1", "a", "x-1", "3com", &"a".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "ä", "a.b", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn a_domain_has_two_labels_and_is_no_address() {
        for good in ["example.org", "a.b.c", "xn--mller-kva.de"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "",
            "org",
            "example.org.",
            ".org",
            "a..b",
            "192.168.1.1",
            &format!("{}.org", "a.".repeat(130)),
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}

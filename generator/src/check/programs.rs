//! How mail programs reach the cluster: the doors of `[access]`, and the TLS that they are made for.

use super::{Finding, Findings, names};
use crate::spec::{DOORS, Door, Role, TlsProfile};

pub(super) fn check(findings: &mut Findings<'_>) {
    let found: Vec<Finding> = [balancer, host, outside, old_clients]
        .iter()
        .filter_map(|rule| rule(findings))
        .chain(ports(findings))
        .collect();
    for finding in found {
        findings.push(finding);
    }
}

fn balancer(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    cluster.access.as_ref()?;
    if cluster.of_role(Role::LoadBalancer).next().is_some() {
        return None;
    }
    Some(
        findings
            .at(
                "access-without-balancer",
                "access",
                "no load balancer",
                "mail programs have a name and no load balancer behind it",
            )
            .why("the doors for mail programs are on the load balancer, which leads them to the node that is alive")
            .help("add a node with `role = \"load-balancer\"`, or remove `[access]`: without it mail programs reach ports 465 and 993 of each mail node by its own name"),
    )
}

fn host(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    let host = &cluster.access.as_ref()?.host;
    if !names::is_domain(host) {
        let finding = findings
            .at(
                "invalid-access-host",
                "access.host",
                "not a host name",
                format!("{host:?} is not a host name"),
            )
            .why("it is the name that mail programs are set to and that the certificates cover");
        return Some(names::domain_help(finding, host));
    }
    let node = cluster
        .nodes
        .iter()
        .find(|n| cluster.fqdn(n).eq_ignore_ascii_case(host))?;
    Some(
        findings
            .at(
                "invalid-access-host",
                "access.host",
                format!("the name of the node {}", node.name),
                "mail programs have the name of a node",
            )
            .why("the name must lead to what is alive, a node's name leads to that node only")
            .help(format!("choose another name, e.g. \"mail.{}\"", cluster.cluster.domain)),
    )
}

fn outside(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    let host = &cluster.access.as_ref()?.host;
    if !names::is_domain(host) || names::is_below(&cluster.cluster.domain, host) {
        return None;
    }
    Some(
        findings
            .at(
                "access-outside-domains",
                "access.host",
                "outside the cluster's domains",
                format!("{host} is in none of the zones that are generated"),
            )
            .why("its A record has to be kept by hand, and mail programs that find the name by the domain's SRV records ask the user whether to trust it (RFC 6186 section 4)")
            .help(format!(
                "choose a name below {}, or add the record where {host} is kept",
                cluster.cluster.domain
            )),
    )
}

fn old_clients(findings: &Findings<'_>) -> Option<Finding> {
    if findings.cluster().tls.profile != TlsProfile::Modern {
        return None;
    }
    Some(
        findings
            .at(
                "tls-old-clients",
                "tls.profile",
                "TLS 1.3 only",
                "clients without TLS 1.3 are shut out",
            )
            .why("Outlook on Windows 10 is one of them, and so are programs with OpenSSL 1.1.0 and phones with Android 9")
            .help("use the profile `intermediate`, or accept it with a `[[silence]]` if you know every client")
            .fix(findings.instead("tls.profile", "\"intermediate\"")),
    )
}

/// Ports of `network.allow` that the doors use.
fn ports(findings: &Findings<'_>) -> Vec<Finding> {
    let cluster = findings.cluster();
    if cluster.access.is_none() {
        return Vec::new();
    }
    let allowed = cluster.network.allowed.iter().enumerate();
    allowed
        .filter_map(|(index, allowed)| {
            let port = allowed.port.get();
            let is = |of: fn(&Door) -> u16| DOORS.iter().find(|door| of(door) == port);
            let (label, why) = match allowed.role {
                Role::LoadBalancer => {
                    let door = is(|door| door.port)?;
                    let why = "HAProxy listens there, so no other service can; and it is open to everybody already";
                    (format!("the door of {}", door.name), why)
                }
                Role::Mail => {
                    let door = is(|door| door.inner)?;
                    let why = "it is the load balancer's way in: whoever else reaches it says by the PROXY protocol who they are, and is believed, in logs, headers and limits";
                    (format!("{} behind the load balancer", door.name), why)
                }
                Role::Gateway => return None,
            };
            let role = allowed.role.as_str();
            let finding = findings
                .at(
                    "access-port-conflict",
                    &format!("network.allow[{index}].port"),
                    label,
                    format!("port {port} of the {role} nodes belongs to the doors for mail programs"),
                )
                .why(why)
                .help("remove the entry, or give the other service another port");
            Some(finding)
        })
        .collect()
}

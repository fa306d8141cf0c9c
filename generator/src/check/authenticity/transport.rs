//! TLS between mail servers: where reports go (TLSRPT), and who publishes the policy (MTA-STS).

use super::super::{Finding, Findings, zone};
use super::signing::is_plain_address;
use crate::spec::Role;

pub(super) fn check(findings: &mut Findings<'_>) {
    let found: Vec<Finding> = [reports, balancer].iter().filter_map(|rule| rule(findings)).collect();
    for finding in found {
        findings.push(finding);
    }
}

fn reports(findings: &Findings<'_>) -> Option<Finding> {
    let address = findings.cluster().authenticity.as_ref()?.tls_reports.as_ref()?;
    (!is_plain_address(address)).then(|| {
        findings
            .at(
                "tls-reports-invalid",
                "authenticity.tls_reports",
                "not a mail address",
                format!("{address:?} is no address that reports can go to"),
            )
            .why("other servers pass over a record that they cannot read (RFC 8460 section 3): that TLS with the cluster fails is told to nobody")
            .help("a plain address, without a comma or an exclamation mark: postmaster@example.org")
    })
}

fn balancer(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    cluster.authenticity.as_ref()?.mta_sts?;
    if cluster.of_role(Role::LoadBalancer).next().is_some() {
        return None;
    }
    Some(
        findings
            .at(
                "mta-sts-without-balancer",
                "authenticity.mta_sts",
                "nobody publishes it",
                "there is to be a policy for TLS, and no load balancer to publish it",
            )
            .why("the zone would announce a policy that nobody finds: other servers ask for it in vain and go on without (RFC 8461 section 3.3)")
            .help("add a node with `role = \"load-balancer\"`, or remove the line"),
    )
}

/// An additional record where the zone has one of these already, of which there may be one only.
pub(super) fn taken(findings: &Findings<'_>, index: usize, name: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    let authenticity = cluster.authenticity.as_ref()?;
    let record = &cluster.dns.records[index];
    let kind = ["TXT", "CNAME"]
        .iter()
        .any(|kind| record.kind.eq_ignore_ascii_case(kind));
    let domain = zone::whole(&cluster.cluster.domain, "@");
    let made = [
        ("_smtp._tls", authenticity.tls_reports.is_some()),
        ("_mta-sts", authenticity.mta_sts.is_some()),
    ];
    let (label, _) = made
        .into_iter()
        .find(|(label, made)| *made && name == format!("{label}.{domain}"))
        .filter(|_| kind)?;
    Some(
        findings
            .at(
                "tls-record-taken",
                &format!("dns.record[{index}].name"),
                "the zone has one already",
                format!("{name} would have two records"),
            )
            .why("with two of them other servers take none (RFC 8461 section 3.1, RFC 8460 section 3): the policy does not hold, and nobody reports")
            .help(format!("remove the record: {label} follows from `[authenticity]`")),
    )
}

//! SPF, DKIM and DMARC among the additional records: each well-formed, and all of them in agreement.

use super::{Finding, Findings, dns, zone};
use crate::spec::{DnsRecord, Role};

mod signing;
mod transport;

/// Terms of an SPF record that make the receiver ask the DNS, of which it allows ten (RFC 7208 section 4.6.4).
const LOOKUPS: [&str; 6] = ["include", "a", "mx", "ptr", "exists", "redirect"];
/// Terms that it does not ask for.
const PLAIN: [&str; 4] = ["ip4", "ip6", "all", "exp"];
const MOST_LOOKUPS: usize = 10;

/// Characters of base64 in a public RSA key of 1024 bits; shorter ones are not accepted (RFC 8301 section 3.2).
const SHORTEST_RSA: usize = 212;

pub(super) fn check(findings: &mut Findings<'_>) {
    signing::check(findings);
    transport::check(findings);
    let records = &findings.cluster().dns.records;
    for (index, record) in records.iter().enumerate() {
        let name = zone::whole(&findings.cluster().cluster.domain, &record.name);
        let taken = signing::taken(findings, index, &name).or_else(|| transport::taken(findings, index, &name));
        if let Some(finding) = taken {
            findings.push(finding);
            continue;
        }
        if !record.kind.eq_ignore_ascii_case("TXT") {
            continue;
        }
        let text: String = dns::texts(&record.data).collect();
        let found = if is_spf(&text) {
            spf(findings, index, &name, &text)
        } else if name.contains("._domainkey.") {
            dkim(findings, index, &text)
        } else if name.starts_with("_dmarc.") {
            dmarc(findings, index, &name, &text)
        } else {
            None
        };
        if let Some(finding) = found {
            findings.push(finding);
        }
    }
}

fn path(index: usize) -> String {
    format!("dns.record[{index}].data")
}

/// RFC 7208 section 4.5: the version stands alone or before a blank.
fn is_spf(text: &str) -> bool {
    let text = text.to_lowercase();
    text == "v=spf1" || text.starts_with("v=spf1 ")
}

fn spf(findings: &Findings<'_>, index: usize, name: &str, text: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    let domain = cluster.cluster.domain.to_lowercase();
    let records = &cluster.dns.records;
    let same = |r: &DnsRecord| {
        zone::whole(&domain, &r.name) == name
            && r.kind.eq_ignore_ascii_case("TXT")
            && is_spf(&dns::texts(&r.data).collect::<String>())
    };
    let own = |n: &crate::spec::Node| n.role == Role::Gateway && cluster.fqdn(n).eq_ignore_ascii_case(name);
    let gateway = cluster.authenticity.is_some() && cluster.nodes.iter().any(own);
    if name == domain || gateway || records[..index].iter().any(same) {
        return Some(
            findings
                .at("spf-duplicate", &path(index), "a second SPF record", format!("{name} has two SPF records"))
                .why("with two a receiver takes neither and counts an error (RFC 7208 section 4.5): mail of the domain is refused or sorted out")
                .help("remove the record; that of the domain is generated from who sends: the gateways, or the nodes without one"),
        );
    }
    let terms: Vec<String> = text.split_whitespace().skip(1).map(str::to_lowercase).collect();
    let invalid = |label: &str, message: String| {
        findings
            .at("spf-invalid", &path(index), label, message)
            .why("a receiver counts the whole record as an error (RFC 7208 section 4.6) and treats mail as if nobody vouched for it")
            .help("mechanisms: ip4, ip6, a, mx, include, exists and at last -all; at most ten that ask the DNS")
    };
    if let Some(term) = terms.iter().find(|t| !is_term(t)) {
        return Some(invalid(
            "an unknown term",
            format!("{term:?} is no term of an SPF record"),
        ));
    }
    if terms.iter().any(|t| matches!(t.as_str(), "all" | "+all" | "?all")) {
        return Some(
            findings
                .at(
                    "spf-permissive",
                    &path(index),
                    "everybody",
                    format!("the SPF record of {name} vouches for everybody"),
                )
                .why("any machine in the world may then send in the name of the domain, and its forgeries pass SPF")
                .help("end the record with -all (or ~all while you look who sends)"),
        );
    }
    let lookups = terms.iter().filter(|t| LOOKUPS.contains(&bare(t))).count();
    (lookups > MOST_LOOKUPS).then(|| invalid("more than ten", format!("the SPF record asks the DNS {lookups} times")))
}

/// The name of a term, without qualifier, value and prefix length.
fn bare(term: &str) -> &str {
    term.trim_start_matches(['+', '-', '~', '?'])
        .split([':', '=', '/'])
        .next()
        .unwrap_or_default()
}

fn is_term(term: &str) -> bool {
    let name = bare(term);
    // Unknown modifiers are passed over (section 6), unknown mechanisms are not.
    LOOKUPS.contains(&name) || PLAIN.contains(&name) || term.contains('=') && !term.contains(':')
}

/// The tags of a DKIM or DMARC record: `k=v; k=v`.
fn tags(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(';').filter_map(|part| part.split_once('='));
    pairs
        .map(|(k, v)| (k.trim().to_lowercase(), v.trim().to_owned()))
        .collect()
}

fn tag<'a>(tags: &'a [(String, String)], name: &str) -> Option<&'a str> {
    tags.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

fn dkim(findings: &Findings<'_>, index: usize, text: &str) -> Option<Finding> {
    let tags = tags(text);
    let key: String = tag(&tags, "p").unwrap_or_default().split_whitespace().collect();
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let (label, message) = if tag(&tags, "v").is_some_and(|v| v != "DKIM1") {
        ("not DKIM1", "the DKIM record has another version than DKIM1".to_owned())
    } else if tag(&tags, "p").is_none() {
        ("no `p=`", "the DKIM record holds no public key".to_owned())
    } else if !key.bytes().all(base64) {
        ("not base64", "the DKIM record's public key is damaged".to_owned())
    } else if !key.is_empty() && tag(&tags, "k").is_none_or(|k| k == "rsa") && key.len() < SHORTEST_RSA {
        (
            "shorter than 1024 bits",
            "the DKIM record's RSA key is too short".to_owned(),
        )
    } else {
        return None;
    };
    Some(
        findings
            .at("dkim-invalid", &path(index), label, message)
            .why("receivers cannot verify the signatures: signed mail counts as unsigned, and with DMARC it is refused")
            .help("publish what the signing program printed, whole: \"v=DKIM1; k=rsa; p=...\" with a key of 2048 bits (RFC 6376, RFC 8301)"),
    )
}

fn dmarc(findings: &Findings<'_>, index: usize, name: &str, text: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    let records = &cluster.dns.records;
    let domain = &cluster.cluster.domain;
    let tags = tags(text);
    let policy = tag(&tags, "p").map(str::to_lowercase);
    let before = records[..index]
        .iter()
        .any(|r| r.kind.eq_ignore_ascii_case("TXT") && zone::whole(domain, &r.name) == name);
    let made = cluster.authenticity.is_some() && name == format!("_dmarc.{}", domain.to_lowercase());
    let second = before || made;
    let reports = ["rua", "ruf"].iter().filter_map(|t| tag(&tags, t));
    let mailto = |list: &str| {
        list.split(',')
            .all(|uri| uri.trim().to_lowercase().starts_with("mailto:"))
    };
    let fault = if second {
        Some(("a second one", format!("{name} has two DMARC records")))
    } else if !text.trim_start().starts_with("v=DMARC1") {
        Some((
            "must begin with v=DMARC1",
            "the DMARC record does not begin with its version".to_owned(),
        ))
    } else if !matches!(policy.as_deref(), Some("none" | "quarantine" | "reject")) {
        Some((
            "`p=` is none, quarantine or reject",
            "the DMARC record has no policy".to_owned(),
        ))
    } else if !reports.into_iter().all(mailto) {
        Some((
            "not a mailto: address",
            "the DMARC record's reports go to no mail address".to_owned(),
        ))
    } else {
        None
    };
    if let Some((label, message)) = fault {
        return Some(
            findings
                .at("dmarc-invalid", &path(index), label, message)
                .why("receivers pass over a record that they cannot read, and forged mail is let in (RFC 7489 section 6.6.3)")
                .help("for example \"v=DMARC1; p=none; rua=mailto:postmaster@example.org\""),
        );
    }
    let signed = cluster.authenticity.is_some()
        || records
            .iter()
            .any(|r| zone::whole(domain, &r.name).contains("._domainkey."));
    let strict = policy.is_some_and(|p| p != "none");
    (strict && !signed).then(|| {
        findings
            .at("dmarc-without-dkim", &path(index), "no DKIM key in the zone", "DMARC refuses mail that only SPF vouches for")
            .why("mail that a list or another mailbox forwards arrives from a stranger's address: SPF fails there, and without a signature receivers do as the policy says and throw it away")
            .help("sign mail and publish the key (NAME._domainkey) first; until then use p=none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_spf_are_known_ones_or_modifiers() {
        for good in [
            "ip4:192.0.2.0/24",
            "-all",
            "a/24",
            "mx",
            "include:example.net",
            "redirect=example.net",
            "x=y",
        ] {
            assert!(is_term(good), "{good}");
        }
        for bad in ["ipv4:192.0.2.1", "192.0.2.1", "alll", "-"] {
            assert!(!is_term(bad), "{bad}");
        }
    }

    #[test]
    fn tags_are_read_in_any_spacing() {
        let tags = tags("v=DMARC1 ;p = none;");
        assert_eq!(
            (tag(&tags, "v"), tag(&tags, "p"), tag(&tags, "rua")),
            (Some("DMARC1"), Some("none"), None)
        );
    }
}

//! `[authenticity]`: who signs, under which selector, and where reports go.

use super::super::{Finding, Findings, names};
use crate::spec::Role;

/// The longest label of a domain name, octets (RFC 1035 section 2.3.4).
const LABEL: usize = 63;
/// Digits that are kept free for the number of the key.
const DIGITS: usize = 10;

pub(super) fn check(findings: &mut Findings<'_>) {
    let found: Vec<Finding> = [gateway, selector, reports]
        .iter()
        .filter_map(|rule| rule(findings))
        .collect();
    for finding in found {
        findings.push(finding);
    }
}

fn gateway(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    cluster.authenticity.as_ref()?;
    if cluster.of_role(Role::Gateway).next().is_some() {
        return None;
    }
    Some(
        findings
            .at(
                "dkim-without-gateway",
                "authenticity",
                "no gateway",
                "mail is to be signed, and there is no gateway to sign it",
            )
            .why("the zone would promise signatures that no message carries: with p=quarantine or p=reject receivers throw away whatever a list or another mailbox forwards")
            .help("add a node with `role = \"gateway\"`, through which mail leaves, or remove `[authenticity]`"),
    )
}

/// Letters, digits and hyphens: a label that every name server and every signature takes (RFC 6376 section 3.1).
fn is_selector(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    bytes.first().is_some_and(u8::is_ascii_lowercase) && bytes.iter().all(plain) && bytes.len() <= LABEL - DIGITS
}

fn selector(findings: &Findings<'_>) -> Option<Finding> {
    let selector = &findings.cluster().authenticity.as_ref()?.selector;
    (!is_selector(selector)).then(|| {
        findings
            .at(
                "dkim-selector-invalid",
                "authenticity.selector",
                "not a label",
                format!("{selector:?} cannot begin a selector"),
            )
            .why("the key is published under SELECTOR._domainkey, and its number follows what is given here (RFC 6376 section 3.6.2.1)")
            .help(format!(
                "a small letter, then small letters, digits and hyphens, at most {}",
                LABEL - DIGITS
            ))
            .fix(findings.instead("authenticity.selector", "\"dkim\""))
    })
}

/// An address that can stand in a list of `mailto:` URIs as it is: a comma would end it there, an exclamation mark begin a
/// limit of size (RFC 7489 section 6.2).
pub(super) fn is_plain_address(address: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"#$&'*+-/=?^_`{|}~.".contains(&b);
    address
        .rsplit_once('@')
        .is_some_and(|(local, home)| !local.is_empty() && local.bytes().all(plain) && names::is_domain(home))
}

fn reports(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    let address = &cluster.authenticity.as_ref()?.dmarc_reports;
    let path = "authenticity.dmarc_reports";
    let Some((_, home)) = address.rsplit_once('@').filter(|_| is_plain_address(address)) else {
        return Some(
            findings
                .at(
                    "dmarc-reports-invalid",
                    path,
                    "not a mail address",
                    format!("{address:?} is no address that reports can go to"),
                )
                .why("receivers pass over a record that they cannot read, and forged mail is let in (RFC 7489 section 6.6.3)")
                .help("a plain address, without a comma or an exclamation mark: postmaster@example.org"),
        );
    };
    if cluster.domains().any(|domain| domain.eq_ignore_ascii_case(home)) {
        return None;
    }
    let agreed = |domain: &str| format!("{domain}._report._dmarc.{home}. IN TXT \"v=DMARC1\"");
    let records: Vec<String> = cluster.domains().map(agreed).collect();
    Some(
        findings
            .at(
                "dmarc-reports-elsewhere",
                path,
                "outside the cluster's domains",
                format!("reports go to {home}, whose zone is not generated"),
            )
            .why("a receiver sends reports to another domain only if that one agrees by a record of its own, and says nothing when it does not (RFC 7489 section 7.1)")
            .help(format!(
                "see that the zone of {home} has {}, or name an address of the cluster",
                records.join(" and ")
            )),
    )
}

/// An additional record at a name where a key is published, or will be after a rotation.
pub(super) fn taken(findings: &Findings<'_>, index: usize, name: &str) -> Option<Finding> {
    let cluster = findings.cluster();
    let prefix = &cluster.authenticity.as_ref()?.selector;
    let below = format!("._domainkey.{}", cluster.cluster.domain.to_lowercase());
    let number = name.strip_suffix(&below)?.strip_prefix(prefix.as_str())?;
    let numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    numbered.then(|| {
        findings
            .at(
                "dkim-selector-taken",
                &format!("dns.record[{index}].name"),
                "the cluster's own selector",
                format!("{name} is where the cluster publishes a key of its own"),
            )
            .why("with two records at one name a receiver takes either (RFC 6376 section 3.6.2.2): signatures fail every other time")
            .help(format!(
                "give the cluster's selectors another beginning than {prefix:?} with `authenticity.selector`, or remove the record"
            ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_a_label_with_room_for_a_number() {
        for good in ["dkim", "d", "mail-2026-"] {
            assert!(is_selector(good), "{good}");
        }
        for bad in ["", "1dkim", "Dkim", "dk.im", "dk_im", "-dkim", &"x".repeat(54)] {
            assert!(!is_selector(bad), "{bad}");
        }
    }
}

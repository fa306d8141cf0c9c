//! Mailboxes: addresses of the cluster's domains, each once.

use super::Findings;

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let domains: Vec<String> = cluster.domains().map(str::to_lowercase).collect();
    for (index, mailbox) in cluster.mailboxes.iter().enumerate() {
        let path = format!("mailbox[{index}].address");
        let address = &mailbox.address;
        name(findings, index);
        let Some(domain) = domain_of(address) else {
            let finding = findings
                .at(
                    "invalid-mailbox",
                    &path,
                    "not a mail address",
                    format!("{address:?} is not a mail address"),
                )
                .why("it is the account's log-in name and the name of its folder")
                .help("a local part of letters, digits and `.-_`, an `@`, a domain: \"alice@example.org\"");
            findings.push(finding);
            continue;
        };
        let same = |m: &crate::spec::Mailbox| m.address.eq_ignore_ascii_case(address);
        if let Some(first) = cluster.mailboxes[..index].iter().position(same) {
            let finding = findings
                .at(
                    "duplicate-mailbox",
                    &path,
                    "described again",
                    format!("the mailbox {address} is described twice"),
                )
                .related(
                    findings.span(&format!("mailbox[{first}].address")),
                    "first described here",
                )
                .why("addresses are compared without regard to case; an account exists once")
                .help("remove one of the two");
            findings.push(finding);
        } else if !domains.contains(&domain.to_lowercase()) {
            let finding = findings
                .at(
                    "mailbox-outside-domains",
                    &path,
                    format!("{domain} is not a domain of the cluster"),
                    format!("the cluster does not serve the domain of {address}"),
                )
                .why("no mail for it would be accepted")
                .help(format!("add \"{domain}\" to cluster.more_domains, or mend the address"));
            findings.push(finding);
        }
    }
}

/// The person's name ends up in a column of 255 characters.
fn name(findings: &mut Findings<'_>, index: usize) {
    let name = &findings.cluster().mailboxes[index].name;
    let label = if name.chars().any(char::is_control) {
        "more than one line"
    } else if name.chars().count() > 255 {
        "more than 255 characters"
    } else {
        return;
    };
    let finding = findings
        .at(
            "mailbox-name",
            &format!("mailbox[{index}].name"),
            label,
            "a person's name cannot be kept as it is",
        )
        .why("the accounts' database refuses it or cuts it off, and the first installation stops there")
        .help("write the name on one line, at most 255 characters");
    findings.push(finding);
}

/// The domain of an address that is fit for a mailbox. RFC 5321 allows more local parts; those would need quoting in
/// folder names, maps and SQL on the way.
fn domain_of(address: &str) -> Option<&str> {
    let (local, domain) = address.rsplit_once('@')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let local_is_plain = (1..=64).contains(&local.len())
        && local.bytes().all(plain)
        && !local.starts_with(['.', '-'])
        && !local.ends_with('.')
        && !local.contains("..");
    (local_is_plain && super::names::is_domain(domain)).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::domain_of;

    #[test]
    fn plain_addresses_pass_and_odd_ones_do_not() {
        assert_eq!(domain_of("a.b-c_d@example.org"), Some("example.org"));
        for odd in [
            "",
            "alice",
            "@example.org",
            "a@org",
            "a b@example.org",
            "../x@example.org",
            "a'b@example.org",
            "-f@example.org",
            ".a@example.org",
            "a..b@example.org",
            "a@b@example.org",
        ] {
            assert_eq!(domain_of(odd), None, "{odd}");
        }
    }
}

//! `[filter]`: what the gateways look at, and by what.

use super::Findings;
use super::names::is_domain;
use crate::spec::{Filter, Role, Signatures};

/// The longest ending that is taken, characters: longer ones are no kinds of files.
const LONGEST: usize = 16;

pub(super) fn check(findings: &mut Findings<'_>) {
    let Some(filter) = &findings.loaded.cluster.filter else {
        return;
    };
    gateway(findings);
    signatures(findings, filter);
    attachments(findings, filter);
    outgoing(findings, filter);
    sealers(findings, filter);
}

fn gateway(findings: &mut Findings<'_>) {
    if findings.cluster().of_role(Role::Gateway).next().is_some() {
        return;
    }
    let finding = findings
        .at(
            "filter-without-gateway",
            "filter",
            "no gateway",
            "mail is to be filtered, and there is no gateway to do it",
        )
        .why("mail comes to the mail nodes themselves, where nothing looks at it")
        .help("add a node with `role = \"gateway\"`, or remove `[filter]`");
    findings.push(finding);
}

fn signatures(findings: &mut Findings<'_>, filter: &Filter) {
    if filter.signatures != Signatures::Local {
        return;
    }
    let finding = findings
        .at("local-signatures", "filter.signatures", "the test file only", "clamd knows no virus but the test file EICAR")
        .why("a filter that refuses its test file looks as if it worked; what people send, it lets through")
        .help("let freshclam fetch ClamAV's databases, or put your own into /etc/clamav/signatures and silence this with that as the reason")
        .fix(findings.instead("filter.signatures", "\"freshclam\""));
    findings.push(finding);
}

/// Letters and digits, as names of files end; a dot would never match, since it is what the ending is told by.
fn is_extension(word: &str) -> bool {
    !word.is_empty() && word.len() <= LONGEST && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn attachments(findings: &mut Findings<'_>, filter: &Filter) {
    for (index, word) in filter.refused_attachments.iter().enumerate() {
        if is_extension(word) {
            continue;
        }
        let path = format!("filter.refused_attachments[{index}]");
        let mut finding = findings
            .at("attachment-invalid", &path, "no ending of a file", format!("{word:?} matches no attachment"))
            .why("a name is looked at from its last dot on, so that an ending has letters and digits only, and at most 16")
            .help("as in `refused_attachments = [\"exe\", \"scr\"]`");
        let plain = word.trim_start_matches(['*', '.']);
        if is_extension(plain) {
            finding = finding.fix(findings.instead(&path, format!("{plain:?}")));
        }
        findings.push(finding);
    }
}

fn sealers(findings: &mut Findings<'_>, filter: &Filter) {
    let sealers = filter.authentication.iter().flat_map(|found| &found.trusted_sealers);
    if sealers.clone().next().is_some() && findings.cluster().authenticity.is_none() {
        let path = "filter.authentication.trusted_sealers";
        let finding = findings
            .at(
                "sealers-without-key",
                path,
                "believed by nobody",
                "no seal would be believed",
            )
            .why("rspamd's module for seals ends where it has no key of its own, before it comes to whom it trusts")
            .help("add `[authenticity]`, or remove the line")
            .fix(findings.without(path));
        findings.push(finding);
    }
    for (index, domain) in sealers.enumerate().filter(|(_, domain)| !is_domain(domain)) {
        let path = format!("filter.authentication.trusted_sealers[{index}]");
        let mut finding = findings
            .at("sealer-invalid", &path, "no domain", format!("{domain:?} seals nothing"))
            .why("a seal names the domain of whoever made it (`d=` of ARC-Seal, RFC 8617 section 4.1.3), and is compared with it as a whole")
            .help("as in `trusted_sealers = [\"lists.example.net\"]`");
        let plain = domain
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .trim_start_matches(['*', '.']);
        if is_domain(plain) {
            finding = finding.fix(findings.instead(&path, format!("{plain:?}")));
        }
        findings.push(finding);
    }
}

fn outgoing(findings: &mut Findings<'_>, filter: &Filter) {
    if filter.outgoing_per_hour > 0 {
        return;
    }
    let finding = findings
        .at(
            "outgoing-nothing",
            "filter.outgoing_per_hour",
            "nobody may send",
            "no user's mail would leave",
        )
        .why("everything is above a limit of nothing: it waits on the mail nodes until it is returned")
        .help("leave it out for 500 recipients an hour, or say how many a busy user needs")
        .fix(findings.without("filter.outgoing_per_hour"));
    findings.push(finding);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_letters_and_digits() {
        assert!(is_extension("exe") && is_extension("7z") && is_extension("PS1"));
        for bad in ["", ".exe", "*.exe", "tar.gz", "a b", &"x".repeat(17)] {
            assert!(!is_extension(bad), "{bad}");
        }
    }
}

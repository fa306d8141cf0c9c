//! Gateways that are Proxmox Mail Gateways: what they can be asked for, and what is set beyond that.

use super::{Finding, Findings};
use crate::spec::{MAIL_NODES, Node, Pmg, Role, Setting, Target};

/// Settings of `pmg.conf` that follow from the rest of the description, and from what.
const OURS: [(&str, &str, &str); 11] = [
    ("admin", "dkim_sign", "[authenticity]"),
    ("admin", "dkim_selector", "[authenticity]"),
    ("admin", "dkim-use-domain", "[authenticity]"),
    ("mail", "ext_port", "the port on which every MX is asked"),
    ("mail", "int_port", "the port to which the mail nodes send"),
    ("mail", "maxsize", "mail.message_size_mib"),
    ("mail", "queue-lifetime", "mail.queue_days"),
    ("mail", "relay", "the mail nodes"),
    ("mail", "relaynomx", "the mail nodes"),
    ("mail", "tls", "the rule that mail between the nodes is encrypted"),
    (
        "mail",
        "verifyreceivers",
        "the rule that unknown recipients are refused while their sender is there",
    ),
];

pub(super) fn check(findings: &mut Findings<'_>) {
    let is_pmg = |node: &Node| node.role == Role::Gateway && node.target == Target::Pmg;
    match findings.cluster().nodes.iter().position(is_pmg) {
        Some(index) => {
            with_store(findings, index);
            with_filter(findings, index);
            name_taken(findings);
        }
        None => unused(findings),
    }
    if let Some(pmg) = &findings.cluster().pmg.clone() {
        settings(findings, pmg);
    }
}

fn with_store(findings: &mut Findings<'_>, index: usize) {
    if findings.cluster().store.is_none() {
        return;
    }
    let finding = findings
        .at(
            "pmg-with-store",
            &format!("node[{index}].target"),
            "finds no other writer",
            "a Proxmox Mail Gateway cannot follow the writer of the mail store",
        )
        .related(findings.span("store"), "mail goes to one mail node at a time")
        .why("the store takes mail by LMTP on the node that is the writer; PMG's transport has one LMTP host, and no second one to try when the first refuses")
        .help("use a Debian gateway (leave `target` out), or leave [store] out");
    findings.push(finding);
}

fn with_filter(findings: &mut Findings<'_>, index: usize) {
    if findings.cluster().filter.is_none() {
        return;
    }
    let finding = findings
        .at(
            "pmg-with-filter",
            "filter",
            "not for this gateway",
            "[filter] says nothing to a Proxmox Mail Gateway",
        )
        .related(findings.span(&format!("node[{index}].target")), "filters by itself")
        .why("PMG has SpamAssassin, ClamAV and rules of its own, set in its web interface and kept in its database")
        .help("leave [filter] out and look at PMG's mail filter, or use a Debian gateway");
    findings.push(finding);
}

fn name_taken(findings: &mut Findings<'_>) {
    let taken = findings.cluster().nodes.iter().position(|node| node.name == MAIL_NODES);
    let Some(index) = taken else { return };
    let finding = findings
        .at(
            "pmg-name-taken",
            &format!("node[{index}].name"),
            "the name of both mail nodes",
            format!("`{MAIL_NODES}` is the name under which Proxmox Mail Gateways find the mail nodes"),
        )
        .why("it has MX records for both of them; with an address as well, mail for the nodes could go to this one")
        .help("give the node another name");
    findings.push(finding);
}

fn unused(findings: &mut Findings<'_>) {
    if findings.cluster().pmg.is_none() {
        return;
    }
    let finding = findings
        .at(
            "pmg-unused",
            "pmg",
            "for no gateway",
            "[pmg] has settings, and no gateway is a Proxmox Mail Gateway",
        )
        .why("nothing of it is written to any node")
        .help("set target = \"pmg\" at the gateway, or leave [pmg] out");
    findings.push(finding);
}

fn settings(findings: &mut Findings<'_>, pmg: &Pmg) {
    for (section, settings) in pmg.sections() {
        for (key, value) in settings {
            let path = format!("pmg.{section}.{key}");
            if let Some((_, _, from)) = OURS.iter().find(|(s, k, _)| (*s, *k) == (section, key)) {
                let finding = findings
                    .at(
                        "pmg-setting-twice",
                        &path,
                        "said already",
                        format!("`{key}` of pmg.conf follows from the rest of the description"),
                    )
                    .why(format!(
                        "it comes from {from}; two values in one section are an error for PMG"
                    ))
                    .help("leave it out")
                    .fix(findings.without(&path));
                findings.push(finding);
            } else if let Some(finding) = unfit(findings, &path, key, value) {
                findings.push(finding);
            }
        }
    }
}

/// PMG reads a section line by line: a tab, a key, a blank, and the value to the end of the line.
fn unfit(findings: &Findings<'_>, path: &str, key: &str, value: &Setting) -> Option<Finding> {
    let key_fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let reason = if key.is_empty() || !key.bytes().all(key_fits) {
        "a key is made of letters, digits, `_` and `-`"
    } else {
        match value {
            Setting::Text(text) if text.trim().is_empty() => "a value is not empty",
            Setting::Text(text) if text.trim() != text || text.contains(char::is_control) => {
                "a value is one line without blanks around it"
            }
            _ => return None,
        }
    };
    let finding = findings
        .at(
            "pmg-setting-invalid",
            path,
            "not a setting",
            format!("pmg.conf cannot hold this: {reason}"),
        )
        .why("PMG passes over a line that it does not understand, and warns in its log only")
        .help("write the key and the value as PMG's documentation of pmg.conf has them");
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::render;
    use crate::secrets::Secrets;
    use crate::spec::Cluster;

    #[test]
    fn whatever_is_written_without_being_described_may_not_be_described() {
        let mut cluster: Cluster = toml::from_str(include_str!("../../examples/proxmox.toml")).unwrap();
        cluster.pmg = None;
        let secrets = Secrets::from_seed(&cluster, 1).unwrap();
        let bundle = render(&cluster, &secrets, None).unwrap();
        let text = String::from_utf8(bundle.nodes["gateway"].files["/etc/pmg/pmg.conf"].contents.clone()).unwrap();
        let (mut section, mut seen) = ("", 0);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("section: ") {
                section = name;
            } else if let Some((key, _)) = line.trim_start().split_once(' ') {
                assert!(
                    OURS.iter().any(|(s, k, _)| (*s, *k) == (section, key)),
                    "{section}: {key}"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, 8);
    }
}

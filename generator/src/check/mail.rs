//! Raw options of Postfix: next hops, and what loses or misdirects mail.

use std::net::Ipv4Addr;

use super::{Finding, Findings, queue};
use crate::diag::Spans;
use crate::spec::Role;

/// Parameters whose value is a next hop or a list of them, with or without a transport before it (postconf(5)).
const NEXT_HOPS: [&str; 11] = [
    "content_filter",
    "default_transport",
    "fallback_relay",
    "fallback_transport",
    "lmtp_fallback_relay",
    "local_transport",
    "mailbox_transport",
    "relay_transport",
    "relayhost",
    "smtp_fallback_relay",
    "virtual_transport",
];

/// Transports that look up MX records unless the next hop stands in brackets.
const TRANSPORTS: [&str; 4] = ["smtp:", "smtps:", "relay:", "lmtp:"];

/// What the templates set in `main.cf`. A parameter that stands there twice makes `postconf` warn and the installation
/// refuse the files.
const GATEWAY: &str = include_str!("../../templates/gateway/etc/postfix/main.cf.j2");
const NODE: &str = include_str!("../../templates/mail/etc/postfix/main.cf.j2");

pub(super) fn check(findings: &mut Findings<'_>) {
    for (key, value) in &findings.cluster().mail.options {
        let key = key.trim();
        let rules = [
            brackets,
            fallback,
            soft_bounce,
            queue::lifetime,
            queue::retry,
            inet_list,
            open_relay,
            secret,
        ];
        let mut found: Vec<Finding> = rules.iter().filter_map(|rule| rule(findings, key, value)).collect();
        // A parameter that is set twice stays one, even if what else is wrong with it is accepted.
        let silences = &findings.cluster().silences;
        if found
            .iter()
            .all(|finding| silences.iter().any(|silence| silence.code == finding.code))
        {
            found.extend(managed(findings, key));
        }
        found.into_iter().for_each(|finding| findings.push(finding));
    }
}

pub(super) fn path(key: &str) -> String {
    Spans::join("mail.options", key)
}

/// The elements of a Postfix list.
fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ', '\t']).filter(|e| !e.is_empty())
}

fn brackets(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let bare = elements(value).find_map(|element| bare_address(element, NEXT_HOPS.contains(&key)))?;
    Some(
        findings
            .at(
                "relay-without-brackets",
                &path(key),
                "an address without brackets",
                format!("`{key}` names the address {bare} without brackets"),
            )
            .why("without brackets Postfix takes the next hop for a domain and looks for its MX record")
            .help("put it into brackets")
            .fix(findings.instead(
                &path(key),
                super::toml(&value.replace(&bare.to_string(), &format!("[{bare}]"))),
            )),
    )
}

/// The address in `smtp:192.0.2.1:25`, and, where a next hop is expected, in `192.0.2.1:25`.
fn bare_address(element: &str, next_hop: bool) -> Option<Ipv4Addr> {
    let transport = TRANSPORTS.iter().find_map(|t| element.strip_prefix(t));
    let hop = match transport {
        Some(hop) => hop,
        None if next_hop => element,
        None => return None,
    };
    hop.split(':').next().and_then(|host| host.parse().ok())
}

fn fallback(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    (matches!(key, "smtp_fallback_relay" | "fallback_relay") && !value.trim().is_empty()).then(|| {
        findings
            .at(
                "smtp-fallback-relay",
                &path(key),
                "applies to all mail",
                format!("`{key}` applies to every delivery of this Postfix"),
            )
            .why("mail for a foreign domain that cannot be reached is sent to the second node, too")
            .help("remove the option: the second node is a further next hop of the relay domains already")
            .fix(findings.without(&path(key)))
    })
}

fn soft_bounce(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    (key == "soft_bounce" && !value.trim().eq_ignore_ascii_case("no")).then(|| {
        findings
            .at(
                "soft-bounce",
                &path(key),
                "",
                "`soft_bounce` turns permanent refusals into temporary ones",
            )
            .why("mail that the first node refuses for good is delivered to the second one, and senders try for days")
            .help("remove the option; mail already waits when a node is down, without it")
            .fix(findings.without(&path(key)))
    })
}

fn inet_list(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let bracketed = || {
        let hops = elements(value).map(|e| bracketed(e.trim_start_matches("lmtp:").trim_start_matches("inet:")));
        format!("lmtp:{}", hops.collect::<Vec<_>>().join(", "))
    };
    (value.contains("lmtp:inet:") && elements(value).count() > 1).then(|| {
        findings
            .at(
                "lmtp-inet-list",
                &path(key),
                "stops Postfix",
                format!("`{key}` lists LMTP hosts in the form `inet:`"),
            )
            .why("Postfix 3.10 ends with a fatal error at such a list, though its manual shows it")
            .help("write brackets instead")
            .fix(findings.instead(&path(key), super::toml(&bracketed())))
    })
}

/// `192.0.2.1:24` as `[192.0.2.1]:24`.
fn bracketed(hop: &str) -> String {
    match hop.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') => format!("[{host}]:{port}"),
        None if !hop.starts_with('[') => format!("[{hop}]"),
        _ => hop.to_owned(),
    }
}

/// A table that is written out in the parameter itself: `static:user:password`.
fn secret(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let is = key.contains("password") && (value.contains("static:") || value.contains("inline:"));
    is.then(|| super::in_the_open(findings, "mail.options", key, value))
}

fn managed(findings: &Findings<'_>, key: &str) -> Option<Finding> {
    let gateways = findings.cluster().of_role(Role::Gateway).next().is_some();
    let template = if gateways { GATEWAY } else { NODE };
    let set = |line: &str| line.split_once(" =").is_some_and(|(name, _)| name == key);
    template.lines().any(set).then(|| {
        findings
            .at(
                "managed-option",
                &path(key),
                "set by the generator",
                format!("`{key}` is set already"),
            )
            .why("Postfix warns of a parameter that is set twice, and the installation refuses files that it warns of")
            .help("remove the option")
            .fix(findings.without(&path(key)))
    })
}

fn open_relay(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let label = match key {
        "mynetworks" if elements(value).any(|e| !e.starts_with('!') && e.ends_with("/0")) => "every address",
        "relay_domains" | "mydestination" if elements(value).any(|e| e == "*" || e.starts_with("static:")) => {
            "every domain"
        }
        "smtpd_relay_restrictions" if permits_before_rejecting(value) => "permits everybody",
        _ => return None,
    };
    Some(
        findings
            .at(
                "open-relay",
                &path(key),
                label,
                format!("`{key}` lets everybody relay mail through the cluster"),
            )
            .why("strangers send their mail through it, and within hours its addresses are on block lists")
            .help("remove the option: the cluster's own networks and domains are set already")
            .fix(findings.without(&path(key))),
    )
}

/// Restrictions are read from left to right and the first that decides ends them (smtpd_relay_restrictions in
/// postconf(5)).
fn permits_before_rejecting(value: &str) -> bool {
    let decides = |e: &&str| {
        matches!(
            *e,
            "permit" | "reject" | "defer" | "reject_unauth_destination" | "defer_unauth_destination"
        )
    };
    elements(value).find(decides).is_none_or(|first| first == "permit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bare_only_where_a_next_hop_stands() {
        let address = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(bare_address("smtp:192.0.2.1:25", false), address);
        assert_eq!(bare_address("192.0.2.1:25", true), address);
        assert_eq!(bare_address("192.0.2.1", false), None);
        assert_eq!(bare_address("smtp:[192.0.2.1]:25", true), None);
        assert_eq!(bare_address("smtp:mx.example.org:25", true), None);
        assert_eq!(bare_address("inet:192.0.2.1:11332", false), None);
    }

    #[test]
    fn restrictions_that_never_reject_are_open() {
        assert!(permits_before_rejecting("permit_mynetworks, permit"));
        assert!(permits_before_rejecting("permit_mynetworks"));
        assert!(!permits_before_rejecting(
            "permit_mynetworks, reject_unauth_destination, permit"
        ));
    }
}

//! Mail in transit: next hops, queue times, and Postfix options that lose or misdirect mail.

use std::net::Ipv4Addr;

use super::{Finding, Findings};
use crate::diag::Spans;

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

const DAY: u64 = 86_400;

pub(super) fn check(findings: &mut Findings<'_>) {
    let mail = &findings.cluster().mail;
    if mail.queue_days < 1 {
        let finding = findings
            .at(
                "queue-days-zero",
                "mail.queue_days",
                "less than a day",
                "mail would not wait in the queue at all",
            )
            .why("mail for a node that is down comes back to its sender at once")
            .help("5 days is the custom (RFC 5321 section 4.5.4.1)");
        findings.push(finding);
    }
    for (key, value) in &mail.options {
        for rule in [brackets, fallback, soft_bounce, lifetime, inet_list, open_relay] {
            if let Some(finding) = rule(findings, key.trim(), value) {
                findings.push(finding);
            }
        }
    }
}

fn path(key: &str) -> String {
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
            .help(format!(
                "write {:?}",
                value.replace(&bare.to_string(), &format!("[{bare}]"))
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
    })
}

fn lifetime(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let what = match key {
        "maximal_queue_lifetime" => "mail waits",
        // Only mail with the null sender: postconf(5).
        "bounce_queue_lifetime" => "a report of non-delivery waits",
        _ => return None,
    };
    let (label, message) = match seconds(value) {
        Some(seconds) if seconds >= DAY => return None,
        Some(_) => ("less than a day", format!("{what} only {} in the queue", value.trim())),
        None => ("not a time", format!("`{key}` is not a time")),
    };
    Some(
        findings
            .at("queue-lifetime-short", &path(key), label, message)
            .why("what is still in the queue then is lost to its recipient; a node may be down for a night")
            .help("remove the option and set mail.queue_days, which counts for both"),
    )
}

/// A Postfix time: a number and `s`, `m`, `h`, `d` or `w`; the unit of the queue lifetimes without one is the day.
fn seconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let unit = match &value[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "" | "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    value[..digits].parse::<u64>().ok().map(|n| n.saturating_mul(unit))
}

fn inet_list(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    (value.contains("lmtp:inet:") && elements(value).count() > 1).then(|| {
        findings
            .at(
                "lmtp-inet-list",
                &path(key),
                "stops Postfix",
                format!("`{key}` lists LMTP hosts in the form `inet:`"),
            )
            .why("Postfix 3.10 ends with a fatal error at such a list, though its manual shows it")
            .help("write brackets instead: \"lmtp:[192.168.1.10]:24, [192.168.1.11]:24\"")
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
            .help("remove the option: the cluster's own networks and domains are set already"),
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
    fn times_have_units_and_the_day_is_the_default() {
        assert_eq!(seconds("1h"), Some(3600));
        assert_eq!(seconds("5"), Some(5 * DAY));
        assert_eq!(seconds("99999999999999999w"), Some(u64::MAX));
        assert_eq!(seconds("soon"), None);
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

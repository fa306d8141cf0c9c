//! Additional DNS records: forms that a name server refuses, and forms that it takes for something else.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Finding, Findings};
use crate::spec::DnsRecord;

const ABSOLUTE: &str = "names in a record's data end with a dot";

pub(super) fn check(findings: &mut Findings<'_>) {
    for (index, record) in findings.cluster().dns.records.iter().enumerate() {
        let path = format!("dns.record[{index}]");
        let finding = form(findings, &path, record)
            .or_else(|| data(findings, &path, record))
            .or_else(|| alone(findings, &path, index));
        if let Some(finding) = finding {
            findings.push(finding);
        }
    }
}

fn invalid(findings: &Findings<'_>, path: &str, label: &str, message: impl Into<String>) -> Finding {
    findings
        .at("dns-record-invalid", path, label, message)
        .why("a name server refuses the whole zone for one bad record")
}

fn form(findings: &Findings<'_>, path: &str, record: &DnsRecord) -> Option<Finding> {
    let owner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    if record.name != "@" && (record.name.is_empty() || !record.name.chars().all(owner)) {
        let said = invalid(
            findings,
            &format!("{path}.name"),
            "not a name",
            format!("{:?} cannot own a record", record.name),
        );
        return Some(said.help("`@` for the domain itself, a name within it, or a whole name with a final dot"));
    }
    if record.kind.is_empty() || !record.kind.bytes().all(|b| b.is_ascii_alphanumeric()) {
        let said = invalid(
            findings,
            &format!("{path}.type"),
            "not a type",
            format!("{:?} is not a record type", record.kind),
        );
        return Some(said.help("for example A, AAAA, CNAME, MX, SRV, TXT"));
    }
    if record.data.trim().is_empty() || record.data.chars().any(char::is_control) {
        let said = invalid(
            findings,
            &format!("{path}.data"),
            "must be one line",
            "the record's data is not one line",
        );
        return Some(said.help("write the data as on one line of a zone file"));
    }
    None
}

fn data(findings: &Findings<'_>, path: &str, record: &DnsRecord) -> Option<Finding> {
    let place = format!("{path}.data");
    let fields: Vec<&str> = record.data.split_whitespace().collect();
    match record.kind.to_uppercase().as_str() {
        "MX" => mx(findings, &place, &fields),
        kind @ ("CNAME" | "NS" | "PTR" | "DNAME") => match fields[..] {
            [name] => relative(findings, &place, kind, name),
            _ => Some(
                invalid(
                    findings,
                    &place,
                    "not one name",
                    format!("a {kind} record has one name as data"),
                )
                .help(ABSOLUTE),
            ),
        },
        "SRV" => match fields[..] {
            [priority, weight, port, name] if [priority, weight, port].iter().all(|n| n.parse::<u16>().is_ok()) => {
                relative(findings, &place, "SRV", name)
            }
            _ => Some(
                invalid(
                    findings,
                    &place,
                    "not an SRV record's data",
                    "an SRV record has priority, weight, port and a name",
                )
                .help("for example \"0 1 993 mail1.example.org.\" (RFC 2782)"),
            ),
        },
        "A" if record.data.trim().parse::<Ipv4Addr>().is_err() => Some(
            invalid(
                findings,
                &place,
                "not an IPv4 address",
                "an A record has an IPv4 address",
            )
            .help("for example \"192.168.1.40\""),
        ),
        "AAAA" if record.data.trim().parse::<Ipv6Addr>().is_err() => Some(
            invalid(
                findings,
                &place,
                "not an IPv6 address",
                "an AAAA record has an IPv6 address",
            )
            .help("for example \"2001:db8::40\""),
        ),
        "TXT" | "SPF" if !is_text(&record.data) => Some(
            invalid(
                findings,
                &place,
                "not quoted",
                "a TXT record's text is not within double quotes",
            )
            .why("outside quotes a `;` begins a comment and blanks separate texts: half of the record would be missing")
            .help(format!("write '\"{}\"'", record.data.trim().replace('"', ""))),
        ),
        _ => None,
    }
}

fn mx(findings: &Findings<'_>, place: &str, fields: &[&str]) -> Option<Finding> {
    let said = |label: &str, message: String| {
        findings
            .at("dns-mx-form", place, label, message)
            .why("a name server refuses the zone, or senders do not find the mail server")
    };
    match *fields {
        [preference, name] if preference.parse::<u16>().is_ok() => relative(findings, place, "MX", name),
        [preference, name] if preference.starts_with('(') => {
            let number = preference.trim_matches(['(', ')']);
            let dot = if name.ends_with('.') { "" } else { "." };
            Some(
                said(
                    "preference in parentheses",
                    "an MX record's preference stands without parentheses".into(),
                )
                .help(format!("write \"{number} {name}{dot}\"")),
            )
        }
        _ => Some(
            said(
                "not a preference and a name",
                "an MX record has a preference and a name".into(),
            )
            .help("for example \"10 mail1.example.org.\" (RFC 1035 section 3.3.9)"),
        ),
    }
}

fn relative(findings: &Findings<'_>, place: &str, kind: &str, name: &str) -> Option<Finding> {
    let domain = &findings.cluster().cluster.domain;
    if name.ends_with('.') {
        return None;
    }
    let said = findings
        .at(
            "dns-name-relative",
            place,
            "no final dot",
            format!("the {kind} record's name {name} lacks its final dot"),
        )
        .why(format!("without it the zone is added: it means {name}.{domain}."));
    let parent = domain.split_once('.').map_or(domain.as_str(), |(_, parent)| parent);
    let whole = if name.contains('.') || parent.is_empty() {
        format!("{name}.")
    } else {
        format!("{name}.{domain}.")
    };
    Some(said.help(format!("write {whole:?}")))
}

/// One or more texts in double quotes, or one word without a character that means something else.
fn is_text(data: &str) -> bool {
    let data = data.trim();
    if !data.starts_with('"') {
        return !data.contains([';', '"', '(', ')']) && !data.contains(char::is_whitespace);
    }
    let (mut inside, mut escaped) = (false, false);
    for c in data.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => inside = !inside,
            c if !inside && !c.is_whitespace() => return false,
            _ => {}
        }
    }
    !inside && !escaped
}

/// A CNAME stands alone at its name (RFC 1034 section 3.6.2).
fn alone(findings: &Findings<'_>, path: &str, index: usize) -> Option<Finding> {
    let cluster = findings.cluster();
    let records = &cluster.dns.records;
    let record = &records[index];
    if !record.kind.eq_ignore_ascii_case("CNAME") {
        return None;
    }
    let whole = |name: &str| -> String {
        let domain = cluster.cluster.domain.to_lowercase();
        match name.to_lowercase() {
            name if name == "@" => domain,
            name if name.ends_with('.') => name.trim_end_matches('.').to_owned(),
            name => format!("{name}.{domain}"),
        }
    };
    let name = whole(&record.name);
    let generated = name == cluster.cluster.domain.to_lowercase()
        || name == cluster.webmail.host.to_lowercase()
        || cluster.nodes.iter().any(|n| cluster.fqdn(n).to_lowercase() == name);
    let other = records
        .iter()
        .enumerate()
        .any(|(i, r)| i != index && whole(&r.name) == name);
    (generated || other).then(|| {
        invalid(
            findings,
            &format!("{path}.name"),
            "has other records",
            format!("{name} has a CNAME and other records"),
        )
        .help("choose another name for the alias, or give it an A record")
    })
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn texts_are_quoted_or_one_plain_word() {
        for good in ["word", "\"v=DMARC1; p=none\"", "\"one\" \"two\"", "\"a \\\" b\""] {
            assert!(is_text(good), "{good}");
        }
        for bad in ["v=DMARC1; p=none", "two words", "\"open", "\"a\" b", "a\"b", "\"end\\"] {
            assert!(!is_text(bad), "{bad}");
        }
    }
}

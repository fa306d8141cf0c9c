//! Additional DNS records: forms that a name server refuses, and forms that it takes for something else.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Finding, Findings, zone};
use crate::spec::DnsRecord;

/// Types whose data is checked here; of others nothing could be said before the name server refuses them.
const TYPES: [&str; 12] = [
    "A", "AAAA", "CAA", "CNAME", "DNAME", "MX", "NS", "PTR", "SRV", "SSHFP", "TLSA", "TXT",
];

/// Bytes of one quoted text (RFC 1035 section 3.3).
const TEXT: usize = 255;

const ABSOLUTE: &str = "names in a record's data end with a dot";

pub(super) fn check(findings: &mut Findings<'_>) {
    for (index, record) in findings.cluster().dns.records.iter().enumerate() {
        let path = format!("dns.record[{index}]");
        match form(findings, &path, record) {
            Some(finding) => findings.push(finding),
            None => data(findings, &path, record).into_iter().for_each(|f| findings.push(f)),
        }
    }
}

fn invalid(findings: &Findings<'_>, path: &str, label: &str, message: impl Into<String>) -> Finding {
    findings
        .at("dns-record-invalid", path, label, message)
        .why("a name server refuses the whole zone for one bad record")
}

fn form(findings: &Findings<'_>, path: &str, record: &DnsRecord) -> Option<Finding> {
    let domain = &findings.cluster().cluster.domain;
    let place = format!("{path}.name");
    if !is_owner(&record.name) {
        let said = invalid(
            findings,
            &place,
            "not a name",
            format!("{:?} cannot own a record", record.name),
        );
        return Some(said.help("`@` for the domain itself, a name within it, or a whole name with a final dot"));
    }
    if !zone::is_within(domain, &record.name) {
        let message = format!("{} lies outside the zone of {domain}", record.name);
        let said = invalid(findings, &place, "outside the zone", message);
        return Some(
            said.why("a name server passes over such a record: it would be nowhere")
                .help("keep the record in the zone that its name belongs to"),
        );
    }
    if !TYPES.contains(&record.kind.to_uppercase().as_str()) {
        let said = invalid(
            findings,
            &format!("{path}.type"),
            "not a type",
            format!("{:?} is not a type that can be added", record.kind),
        );
        return Some(said.help(format!("possible: {}", TYPES.join(", "))));
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

fn data(findings: &Findings<'_>, path: &str, record: &DnsRecord) -> Vec<Finding> {
    let place = format!("{path}.data");
    let fields: Vec<&str> = record.data.split_whitespace().collect();
    let kind = record.kind.to_uppercase();
    if kind == "MX" {
        return mx(findings, &place, &fields);
    }
    let shape = |fits: bool, message: &str, help: &str| {
        (!fits).then(|| invalid(findings, &place, "not this type's data", message).help(help))
    };
    let found = match kind.as_str() {
        "CNAME" | "NS" | "PTR" | "DNAME" => match fields[..] {
            [name] => target(findings, &place, &kind, name),
            _ => shape(false, &format!("a {kind} record has one name as data"), ABSOLUTE),
        },
        "SRV" => match fields[..] {
            [priority, weight, port, name] if [priority, weight, port].iter().all(|n| n.parse::<u16>().is_ok()) => {
                target(findings, &place, "SRV", name)
            }
            _ => shape(
                false,
                "an SRV record has priority, weight, port and a name",
                "for example \"0 1 993 mail1.example.org.\" (RFC 2782)",
            ),
        },
        "A" => shape(
            record.data.trim().parse::<Ipv4Addr>().is_ok(),
            "an A record has an IPv4 address",
            "for example \"192.168.1.40\"",
        ),
        "AAAA" => shape(
            record.data.trim().parse::<Ipv6Addr>().is_ok(),
            "an AAAA record has an IPv6 address",
            "for example \"2001:db8::40\"",
        ),
        "CAA" => shape(
            matches!(fields[..], [flag, tag, value] if flag.parse::<u8>().is_ok()
                && tag.bytes().all(|b| b.is_ascii_alphanumeric()) && value.starts_with('"') && is_text(value)),
            "a CAA record has a number, a word and a text within double quotes",
            "for example '0 issue \"letsencrypt.org\"' (RFC 8659)",
        ),
        "TLSA" => shape(
            matches!(fields[..], [usage, selector, matching, hash]
                if [usage, selector, matching].iter().all(|n| n.parse::<u8>().is_ok()) && is_hex(hash)),
            "a TLSA record has three numbers and a hash in hexadecimal digits",
            "for example \"3 1 1 0c72...\" (RFC 6698)",
        ),
        "SSHFP" => shape(
            matches!(fields[..], [algorithm, kind, hash]
                if [algorithm, kind].iter().all(|n| n.parse::<u8>().is_ok()) && is_hex(hash)),
            "an SSHFP record has two numbers and a hash in hexadecimal digits",
            "for example \"4 2 0c72...\" (RFC 4255)",
        ),
        _ => text(findings, &place, &record.data),
    };
    found.into_iter().collect()
}

fn text(findings: &Findings<'_>, place: &str, data: &str) -> Option<Finding> {
    let bare = data.trim().replace('"', "");
    if !is_text(data) {
        let quoted = format!("\"{bare}\"");
        return Some(
            invalid(
                findings,
                place,
                "not quoted",
                "a TXT record's text is not within double quotes",
            )
            .why("outside quotes a `;` begins a comment and blanks separate texts: half of the record would be missing")
            .help("put the text into double quotes")
            .fix(findings.instead(place, super::toml(&quoted))),
        );
    }
    let longest = texts(data).map(|t| t.len()).max().unwrap_or(0);
    (longest > TEXT).then(|| {
        invalid(
            findings,
            place,
            "longer than 255 bytes",
            "a text of a TXT record is too long",
        )
        .help("cut it into several texts, each in double quotes: they are joined without a blank when they are read")
        .fix(findings.instead(place, super::toml(&cut(&texts(data).collect::<String>()))))
    })
}

/// A long text as several short ones.
fn cut(text: &str) -> String {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        if pieces
            .last()
            .is_some_and(|last| last.len() + c.len_utf8() > 200 && !last.ends_with('\\'))
        {
            pieces.push(String::new());
        }
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    let quoted: Vec<String> = pieces.iter().map(|piece| format!("\"{piece}\"")).collect();
    quoted.join(" ")
}

/// The texts of a TXT record without their quotes; escapes stay as they are.
pub(super) fn texts(data: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = data.trim();
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let word = rest.split_whitespace().next()?.to_owned();
            rest = &rest[word.len()..];
            return Some(word);
        };
        let mut escaped = false;
        let end = quoted.find(|c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or(quoted.len());
        rest = quoted.get(end + 1..).unwrap_or_default();
        Some(quoted[..end].to_owned())
    })
}

fn is_hex(digits: &str) -> bool {
    !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `@`, or labels with dots between; a `*` is a whole first label (RFC 4592). Underscores are for services.
fn is_owner(name: &str) -> bool {
    if name == "@" {
        return true;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let rest = bare.strip_prefix("*.").unwrap_or(if bare == "*" { "x" } else { bare });
    is_name(rest)
}

/// A name without its final dot.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(plain);
    name.len() <= 253 && name.split('.').all(label)
}

fn mx(findings: &Findings<'_>, place: &str, fields: &[&str]) -> Vec<Finding> {
    let said = |label: &str, message: &str| {
        findings
            .at("dns-mx-form", place, label, message)
            .why("a name server refuses the zone, or senders do not find the mail server")
    };
    match *fields {
        [preference, name] if preference.parse::<u16>().is_ok() => {
            target(findings, place, "MX", name).into_iter().collect()
        }
        [preference, name] if preference.starts_with('(') => {
            let number = preference.trim_matches(['(', ')']);
            let whole = absolute(findings, name);
            let form = said(
                "preference in parentheses",
                "an MX record's preference stands without parentheses",
            )
            .help("write the number alone")
            .fix(findings.instead(place, super::toml(&format!("{number} {whole}"))));
            std::iter::once(form)
                .chain(target(findings, place, "MX", name))
                .collect()
        }
        _ => vec![
            said(
                "not a preference and a name",
                "an MX record has a preference and a name",
            )
            .help("for example \"10 mail1.example.org.\" (RFC 1035 section 3.3.9)"),
        ],
    }
}

/// A name as data: whole, and one that can exist.
fn target(findings: &Findings<'_>, place: &str, kind: &str, name: &str) -> Option<Finding> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if name != "." && name != "@" && !is_name(bare) {
        let said = invalid(findings, place, "not a name", format!("{name:?} is not a name"));
        return Some(said.help(ABSOLUTE));
    }
    if name == "@" {
        None
    } else {
        relative(findings, place, kind, name)
    }
}

/// The name that was meant: within the domain if it has no dot.
fn absolute(findings: &Findings<'_>, name: &str) -> String {
    match name {
        name if name.ends_with('.') => name.to_owned(),
        name if name.contains('.') => format!("{name}."),
        name => format!("{name}.{}.", findings.cluster().cluster.domain),
    }
}

fn relative(findings: &Findings<'_>, place: &str, kind: &str, name: &str) -> Option<Finding> {
    if name.ends_with('.') {
        return None;
    }
    let domain = &findings.cluster().cluster.domain;
    let whole = absolute(findings, name);
    let written = findings
        .loaded
        .spans
        .value(place)
        .and_then(|s| findings.loaded.source.get(s));
    let mended = written.map(|text| {
        let text = text.replacen(['(', ')'], "", 2);
        text.replacen(name, &whole, 1)
    });
    let said = findings
        .at(
            "dns-name-relative",
            place,
            "no final dot",
            format!("the {kind} record's name {name} lacks its final dot"),
        )
        .why(format!("without it the zone is added: it means {name}.{domain}."))
        .help("end the name with a dot");
    Some(said.fix(mended.and_then(|text| findings.instead(place, text))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_with_its_quotes_taken_off() {
        let read = |data| texts(data).collect::<Vec<_>>();
        assert_eq!(read("\"v=spf1 -all\""), ["v=spf1 -all"]);
        assert_eq!(read("\"a\\\"b\" \"c\""), ["a\\\"b", "c"]);
        assert_eq!(read("word"), ["word"]);
    }

    #[test]
    fn owners_are_names_and_wildcards_come_first() {
        for good in ["@", "*", "*.x", "_dmarc", "s1._domainkey", "mail.example.org."] {
            assert!(is_owner(good), "{good}");
        }
        for bad in ["", ".", "a..b", "x.*", "a b", "é", &"a".repeat(64)] {
            assert!(!is_owner(bad), "{bad}");
        }
    }

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

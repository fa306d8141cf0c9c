//! Raw options of any program: names and values that would break the file which they are written into.

use super::Findings;
use crate::diag::Spans;

/// MariaDB reads lines of its option files into 4096 bytes; the others take more.
const LONGEST: usize = 2048;

/// First words of settings of HAProxy that stand in a backend and mean nothing but themselves.
const HAPROXY: [&str; 24] = [
    "balance",
    "bind",
    "cookie",
    "default-server",
    "default_backend",
    "fullconn",
    "hash-type",
    "http-check",
    "http-request",
    "http-response",
    "http-reuse",
    "mode",
    "option",
    "retries",
    "retry-on",
    "server",
    "server-template",
    "stick",
    "stick-table",
    "tcp-check",
    "timeout",
    "use-server",
    "acl",
    "errorfile",
];

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    type Judge = fn(&str, &str) -> Option<&'static str>;
    let tables: [(&str, _, Judge); 3] = [
        ("database.options", &cluster.database.options, mariadb),
        ("mail.options", &cluster.mail.options, postfix),
        ("webmail.options", &cluster.webmail.options, haproxy),
    ];
    for (table, options, judge) in tables {
        for (key, value) in options {
            let Some(fault) = line(value).or_else(|| judge(key, value)) else {
                continue;
            };
            let finding = findings
                .at(
                    "bad-option",
                    &Spans::join(table, key),
                    fault,
                    format!("{key:?} cannot be written as an option"),
                )
                .why("it would end its line and begin another one, be cut off, or be no option at all: the program refuses the file or reads something else")
                .help("a name as the program's manual has it; a value that is one line, with quotes and braces closed");
            findings.push(finding);
        }
    }
}

fn line(value: &str) -> Option<&'static str> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        Some("a value of more than one line")
    } else if value.len() > LONGEST {
        Some("a value of more than 2048 bytes")
    } else {
        None
    }
}

fn name(key: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let good = key.bytes().all(plain) && key.starts_with(|c: char| c.is_ascii_alphabetic());
    (!good).then_some("not the name of an option")
}

fn mariadb(key: &str, value: &str) -> Option<&'static str> {
    // A `#` after a blank begins a comment, also within what the operator meant as the value (my_default.c).
    let comment = value.contains(" #") || value.contains("\t#") || value.starts_with('#');
    name(key).or_else(|| comment.then_some("`#` begins a comment"))
}

/// `$name`, `${name}` and `$(name)` are looked up, `$$` is a dollar sign (postconf(5)).
fn postfix(key: &str, value: &str) -> Option<&'static str> {
    if let Some(fault) = name(key) {
        return Some(fault);
    }
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        let close = match rest.chars().next() {
            Some('{') => '}',
            Some('(') => ')',
            Some('$') => {
                rest = &rest[1..];
                continue;
            }
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => continue,
            _ => return Some("a `$` without a name"),
        };
        if !balanced(rest, close) {
            return Some("a `$` whose bracket is not closed");
        }
    }
    None
}

/// The bracket with which the text begins is closed, others within it too.
fn balanced(text: &str, close: char) -> bool {
    let open = text.chars().next();
    let mut depth = 0_usize;
    for c in text.chars() {
        if Some(c) == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return true;
            }
        }
    }
    false
}

fn haproxy(key: &str, value: &str) -> Option<&'static str> {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_');
    let mut words = key.trim().split(' ');
    let first = words.next().unwrap_or_default();
    if !HAPROXY.contains(&first) || !words.all(word) {
        Some("not a setting of a backend")
    } else if value.contains(['"', '\'', '\\', '#']) {
        Some("a character that HAProxy takes for quoting or a comment")
    } else if value.split_whitespace().count() > 40 {
        Some("more words than HAProxy reads in one line")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_of_postfix_is_closed() {
        for good in ["$myhostname", "${x?{a}:{b}}", "$(x), $$", "no dollar"] {
            assert_eq!(postfix("relayhost", good), None, "{good}");
        }
        for bad in ["$", "${x", "$(x", "a $ b", "${x?{a}"] {
            assert!(postfix("relayhost", bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_setting_of_haproxy_is_a_keyword_and_plain_words() {
        assert_eq!(haproxy("timeout server", "90s"), None);
        for (key, value) in [
            ("backend", "x"),
            ("timeout  server", "1s"),
            ("option", "a \"b"),
            ("timeout\nserver", "1s"),
            ("fullconn", "1 # 2"),
        ] {
            assert!(haproxy(key, value).is_some(), "{key} {value}");
        }
    }

    #[test]
    fn a_name_begins_with_a_letter() {
        assert_eq!(name("innodb_buffer_pool_size"), None);
        for bad in ["", "-x", "#x", "x y", "x=y", "x]", "é"] {
            assert!(name(bad).is_some(), "{bad}");
        }
    }
}

//! Secrets: long, unknown, and each for one purpose.

use super::{Finding, rules};
use crate::secrets::{COROSYNC, Secrets};

/// Fewest characters of a password.
const SHORTEST: usize = 16;
/// Roundcube's `des_key` has exactly so many.
const DES_KEY: usize = 24;

/// corosync-keygen(8): 128 to 4096 bytes.
const AUTHKEY: std::ops::RangeInclusive<usize> = 128..=4096;

/// Values from tutorials and samples; the first is the source document's own, the `des_key` Roundcube's sample.
const KNOWN: [&str; 12] = [
    "12345678",
    "123456",
    "password",
    "passw0rd",
    "changeme",
    "secret",
    "replicator",
    "roundcube",
    "vmail",
    "root",
    "admin",
    "rcmail-!24bytedeskey*str",
];

pub(super) fn check(secrets: &Secrets) -> Vec<Finding> {
    judged(secrets).into_iter().map(|(_, finding)| finding).collect()
}

/// The names of what [`check`] refuses, without the quotes of a TOML key.
pub(super) fn refused(secrets: &Secrets) -> Vec<String> {
    judged(secrets)
        .into_iter()
        .map(|(name, _)| name.replace('"', ""))
        .collect()
}

fn judged(secrets: &Secrets) -> Vec<(String, Finding)> {
    let mut found = Vec::new();
    let passwords = secrets.passwords();
    for (index, (name, value)) in passwords.iter().enumerate() {
        if let Some((fault, why)) = weakness(name, value) {
            found.push((name.clone(), finding("weak-secret", format!("`{name}` {fault}"), why)));
        } else if let Some(bad) = value.chars().find(|c| !is_plain(name, *c)) {
            let message = format!(
                "`{name}` has a character that cannot be written everywhere: {}",
                class(bad)
            );
            found.push((name.clone(), finding("unquotable-secret", message, "it stands in SQL, PHP, a URL and option files, and ends or changes the line in one of them: the daemon refuses the file or uses another password")));
        } else if let Some((first, _)) = passwords[..index].iter().find(|(_, v)| v == value) {
            let why = if name == "replication_password" || first == "replication_password" {
                "the replication account reads every row of every database: a fault in the application that shares its password gives all of it away"
            } else {
                "who learns one of them has the other"
            };
            let message = format!("`{name}` is the same as `{first}`");
            found.push((name.clone(), finding("repeated-secret", message, why)));
        }
    }
    found
}

/// What a secret may consist of where it is written into files: the unreserved characters of a URL, since Roundcube's
/// database password stands in one. Roundcube's key stands in single quotes of PHP only; passwords of mailboxes are hashed.
fn is_plain(name: &str, c: char) -> bool {
    match name {
        "roundcube_des_key" => c.is_ascii_graphic() && !matches!(c, '\'' | '\\'),
        name if name.starts_with("mailbox_passwords.") => true,
        _ => c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'),
    }
}

/// A kind of character, without showing the character itself.
fn class(c: char) -> &'static str {
    match c {
        c if c.is_control() => "a control character",
        c if c.is_whitespace() => "a blank",
        '\'' | '"' | '`' => "a quote",
        c if c.is_ascii() => "a sign that means something there",
        _ => "a letter outside ASCII",
    }
}

fn weakness(name: &str, value: &str) -> Option<(String, &'static str)> {
    let length = value.chars().count();
    let lower = value.to_lowercase();
    let repeated = KNOWN
        .iter()
        .any(|known| lower == *known || is_repetition(&lower, known));
    let distinct = value.chars().collect::<std::collections::BTreeSet<_>>().len();
    if repeated {
        Some(("is a well-known value".into(), "it is tried first"))
    } else if name == "roundcube_des_key" && value.len() != DES_KEY {
        Some((
            format!("has {} bytes instead of {DES_KEY}", value.len()),
            "Roundcube's cipher takes exactly 24 bytes",
        ))
    } else if name == COROSYNC && !AUTHKEY.contains(&value.len()) {
        Some((
            format!(
                "has {} bytes; corosync takes {} to {}",
                value.len(),
                AUTHKEY.start(),
                AUTHKEY.end()
            ),
            "corosync does not start, and nobody decides who is the writer",
        ))
    } else if length < SHORTEST {
        Some((
            format!("has {length} characters, fewer than {SHORTEST}"),
            "it can be found by trying",
        ))
    } else if distinct < 6 {
        Some((
            format!("consists of {distinct} different characters only"),
            "it can be found by trying",
        ))
    } else {
        None
    }
}

fn is_repetition(value: &str, unit: &str) -> bool {
    value.len() > unit.len() && value.len().is_multiple_of(unit.len()) && unit.repeat(value.len() / unit.len()) == value
}

fn finding(code: &'static str, message: String, why: &str) -> Finding {
    rules::finding(code, message)
        .why(why)
        .help("generator secrets rotate gives it another value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&mut Secrets)) -> Vec<String> {
        let cluster = toml::from_str(include_str!("../../examples/pair.toml")).unwrap();
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        change(&mut secrets);
        check(&secrets)
            .into_iter()
            .map(|f| format!("{}: {}", f.code, f.message))
            .collect()
    }

    #[test]
    fn generated_secrets_are_good() {
        assert_eq!(with(|_| {}), [""; 0]);
    }

    #[test]
    fn the_documents_password_is_refused() {
        let found = with(|s| s.replication_password = "12345678".into());
        assert_eq!(found, ["weak-secret: `replication_password` is a well-known value"]);
        assert_eq!(with(|s| s.replication_password = "12345678".repeat(4)).len(), 1);
    }

    #[test]
    fn short_and_monotonous_passwords_are_refused() {
        let found = with(|s| s.replication_password = "xK9-qv.2mT".into());
        assert_eq!(
            found,
            ["weak-secret: `replication_password` has 10 characters, fewer than 16"]
        );
        let found = with(|s| s.replication_password = "ababababababababab".into());
        assert_eq!(
            found,
            ["weak-secret: `replication_password` consists of 2 different characters only"]
        );
    }

    #[test]
    fn a_des_key_of_another_length_is_refused() {
        let found = with(|s| s.roundcube_des_key.push('x'));
        assert_eq!(found, ["weak-secret: `roundcube_des_key` has 25 bytes instead of 24"]);
    }

    #[test]
    fn one_password_for_two_purposes_is_refused() {
        let found = with(|s| {
            let same = s.replication_password.clone();
            s.database_passwords.insert("vmail".into(), same);
        });
        assert_eq!(
            found,
            ["repeated-secret: `database_passwords.vmail` is the same as `replication_password`"]
        );
    }

    #[test]
    fn a_secret_that_would_need_quoting_is_refused() {
        for odd in [
            "it's-fine-0123456789",
            "two words 0123456789",
            "a$b#c%d-0123456789",
            "zwölf-0123456789-abc",
        ] {
            let found = with(|s| s.replication_password = odd.into());
            assert!(found[0].starts_with("unquotable-secret: "), "{found:?}");
        }
        assert_eq!(
            with(|s| s.roundcube_des_key = "rcmail-!24BYTEDESKEY*sTr".into()).len(),
            1
        );
        assert_eq!(
            with(|s| s.roundcube_des_key = "qcmaiL-!24BYtEDESKEZ*sTr".into()),
            [""; 0]
        );
    }

    #[test]
    fn findings_never_show_a_secret() {
        let cluster = toml::from_str(include_str!("../../examples/pair.toml")).unwrap();
        let mut secrets = Secrets::from_seed(&cluster, 1).unwrap();
        secrets.replication_password = "hunter2hunter2".into();
        let shown = crate::diag::render(&check(&secrets), "secrets.toml", "", false);
        assert!(
            shown.contains("replication_password") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

//! The message of a [`Mail`]: real headers, a body that people can read.

use std::time::{SystemTime, UNIX_EPOCH};

use mail_builder::MessageBuilder;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;

use crate::fleet::Mail;

/// The header that carries the unique id of a message.
pub const LEDGER_HEADER: &str = "X-Ledger-Id";

/// One of these lines begins with a dot, so that dot-stuffing is exercised from end to end.
const LINES: [&str; 4] = [
    "This letter belongs to a test of the cluster. Nobody needs to answer it.",
    "Whoever finds it in a mailbox may be glad: it was accepted, and it is here.",
    "...and it goes on, since letters of many sizes have to pass.",
    "The quick brown fox jumps over the lazy dog, once more.",
];

/// Builds the message as it goes over the wire, before dot-stuffing.
pub fn build(mail: &Mail, date: SystemTime) -> std::io::Result<Vec<u8>> {
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let seconds = date
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    MessageBuilder::new()
        .from(mail.from.as_str())
        .to(mail.to.as_str())
        .subject(format!("Letter {}", mail.id))
        .message_id(format!("{}@{domain}", mail.id))
        .date(Date::new(seconds))
        .header(LEDGER_HEADER, Raw::new(mail.id.as_str()))
        .text_body(readable(mail.body_bytes))
        .write_to_vec()
}

/// Readable text of exactly `bytes` bytes; from two bytes on it ends with a line end, which counts.
fn readable(bytes: usize) -> String {
    let Some(wanted) = bytes.checked_sub(2) else {
        return "x".repeat(bytes);
    };
    let mut text = String::with_capacity(bytes + 80);
    for line in LINES.iter().cycle() {
        text.push_str(line);
        if text.len() >= wanted {
            break;
        }
        text.push_str("\r\n");
    }
    text.truncate(wanted);
    let cut = text.trim_end().len();
    text.truncate(cut);
    text.extend(std::iter::repeat_n('.', wanted - cut));
    text + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;
    use std::time::Duration;

    fn letter(body_bytes: usize) -> Mail {
        Mail {
            id: "run7-42".into(),
            from: "ann@sender.example".into(),
            to: "bob@example.org".into(),
            body_bytes,
        }
    }

    #[test]
    fn the_message_is_what_a_mail_program_would_write() {
        let message = build(&letter(200), UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        let message = String::from_utf8(message).unwrap().replace("\r\n", "\n");
        insta::assert_snapshot!(message);
    }

    #[test]
    fn the_id_is_found_again_in_both_headers() {
        let message = build(&letter(5000), SystemTime::now()).unwrap();
        let parsed = MessageParser::default().parse(&message).unwrap();
        assert_eq!(parsed.message_id(), Some("run7-42@sender.example"));
        assert_eq!(parsed.header_raw(LEDGER_HEADER).map(str::trim), Some("run7-42"));
    }

    #[test]
    fn the_body_has_the_size_asked_for() {
        for bytes in (0..400).chain([5_000, 100_000]) {
            let text = readable(bytes);
            assert_eq!(text.len(), bytes);
            assert!(
                text.lines().all(|line| line.len() <= 78),
                "a line is too long for {bytes}"
            );
        }
    }

    #[test]
    fn the_body_goes_over_the_wire_unencoded() {
        let message = build(&letter(100_000), SystemTime::now()).unwrap();
        let parsed = MessageParser::default().parse(&message).unwrap();
        let body = parsed.body_text(0).unwrap();
        assert_eq!(body.len(), 100_000);
        assert!(message.len() < 101_000);
    }
}

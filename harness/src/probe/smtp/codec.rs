//! The wire of SMTP (RFC 5321): replies of one or more lines in, commands and dot-stuffed messages out.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Longest reply line that is taken, bytes; RFC 5321 section 4.5.3.1.5 allows 512, servers with long texts exceed it.
const LONGEST_LINE: usize = 4096;
/// Most lines that one reply may have.
const MOST_LINES: usize = 200;

/// A whole reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code.
    pub code: u16,
    /// The text of each line, without code and separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// 2yz: done.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz: not now.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz: never.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// All lines as one.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// The queue id of a reply to the final dot, as Postfix, Exim and sendmail word it: `queued as ID`, `id=ID`.
    pub fn queue_id(&self) -> Option<String> {
        let text = self.text();
        let rest = text
            .split_once("queued as ")
            .or_else(|| text.split_once("id="))
            .map(|(_, rest)| rest)?;
        let id: String = rest.chars().take_while(char::is_ascii_graphic).collect();
        (!id.is_empty()).then_some(id)
    }

    /// Whether the reply, taken as the answer to EHLO, offers an extension.
    pub fn offers(&self, extension: &str) -> bool {
        self.lines.iter().skip(1).any(|line| {
            line.split_ascii_whitespace()
                .next()
                .is_some_and(|keyword| keyword.eq_ignore_ascii_case(extension))
        })
    }

    /// The lines as they stood on the wire, joined by line feeds.
    pub fn wire(&self) -> String {
        let last = self.lines.len().saturating_sub(1);
        let lines = self.lines.iter().enumerate();
        let lines = lines.map(|(i, text)| format!("{}{}{text}", self.code, if i == last { ' ' } else { '-' }));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// Why bytes from a server were no reply.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The line is no reply line, or does not belong to the lines before it.
    #[error("not an SMTP reply: {0:?}")]
    NotAReply(String),
}

/// What a client sends.
#[derive(Debug, Clone, Copy)]
pub enum Outgoing<'a> {
    /// One line, without its end.
    Line(&'a str),
    /// The message, already dot-stuffed, without the final dot.
    Message(&'a [u8]),
    /// The final dot.
    Dot,
}

/// Decodes replies, encodes what clients send.
#[derive(Debug, Default)]
pub struct SmtpCodec {
    code: u16,
    lines: Vec<String>,
}

impl Decoder for SmtpCodec {
    type Item = Reply;
    type Error = CodecError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Reply>, CodecError> {
        while let Some(end) = source.iter().position(|&b| b == b'\n') {
            let line = source.split_to(end + 1);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if self.take_line(line)? {
                return Ok(Some(Reply {
                    code: self.code,
                    lines: std::mem::take(&mut self.lines),
                }));
            }
        }
        if source.len() > LONGEST_LINE {
            return Err(CodecError::NotAReply(
                String::from_utf8_lossy(&source[..80]).into_owned(),
            ));
        }
        Ok(None)
    }
}

impl SmtpCodec {
    /// Takes one line in; true if it was the last of a reply.
    fn take_line(&mut self, line: &str) -> Result<bool, CodecError> {
        let no_reply = || CodecError::NotAReply(line.chars().take(200).collect());
        let code = line
            .get(..3)
            .filter(|c| c.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(no_reply)?;
        let code: u16 = code.parse().map_err(|_| no_reply())?;
        let (last, text) = match line.as_bytes().get(3) {
            None => (true, ""),
            Some(b' ') => (true, &line[4..]),
            Some(b'-') => (false, &line[4..]),
            Some(_) => return Err(no_reply()),
        };
        let continues = !self.lines.is_empty();
        if !(200..600).contains(&code) || (continues && code != self.code) || self.lines.len() >= MOST_LINES {
            return Err(no_reply());
        }
        self.code = code;
        self.lines.push(text.to_owned());
        Ok(last)
    }
}

impl Encoder<Outgoing<'_>> for SmtpCodec {
    type Error = CodecError;

    fn encode(&mut self, item: Outgoing<'_>, out: &mut BytesMut) -> Result<(), CodecError> {
        match item {
            Outgoing::Line(line) => {
                out.reserve(line.len() + 2);
                out.put_slice(line.as_bytes());
                out.put_slice(b"\r\n");
            }
            Outgoing::Message(message) => out.extend_from_slice(message),
            Outgoing::Dot => out.put_slice(b".\r\n"),
        }
        Ok(())
    }
}

/// Makes a message fit for DATA: every line ends in CRLF, also the last, and a dot is put before each line that
/// begins with one (RFC 5321 section 4.5.2).
pub fn dot_stuff(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 50 + 2);
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|&b| b == b'\r' || b == b'\n')
            .unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        rest = match after {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => &[],
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(wire: &str) -> Result<Option<Reply>, CodecError> {
        SmtpCodec::default().decode(&mut BytesMut::from(wire))
    }

    #[test]
    fn a_reply_of_several_lines_is_one_reply() {
        let reply = decode("250-mx.example.org\r\n250-SIZE 1000\r\n250 STARTTLS\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(reply.lines, ["mx.example.org", "SIZE 1000", "STARTTLS"]);
        assert!(reply.offers("starttls"));
        assert!(reply.offers("SIZE"));
        assert!(!reply.offers("mx.example.org"));
        assert_eq!(reply.wire(), "250-mx.example.org\n250-SIZE 1000\n250 STARTTLS");
    }

    #[test]
    fn a_reply_is_complete_only_with_its_last_line() {
        let mut codec = SmtpCodec::default();
        let mut wire = BytesMut::from("250-one\r\n25");
        assert_eq!(codec.decode(&mut wire).unwrap(), None);
        wire.extend_from_slice(b"0 two\r\n220 next");
        assert_eq!(codec.decode(&mut wire).unwrap().unwrap().lines, ["one", "two"]);
        assert_eq!(codec.decode(&mut wire).unwrap(), None);
    }

    #[test]
    fn a_bare_code_is_a_reply_without_text() {
        assert_eq!(
            decode("354\r\n").unwrap().unwrap(),
            Reply {
                code: 354,
                lines: vec![String::new()]
            }
        );
    }

    #[test]
    fn lines_that_are_no_reply_are_told_so() {
        for wire in [
            "HTTP/1.1 400 Bad\r\n",
            "25\r\n",
            "2500 x\r\n",
            "999 x\r\n",
            "250-a\r\n251 b\r\n",
            "\r\n",
            "äöü x\r\n",
        ] {
            assert!(decode(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_server_that_never_ends_its_line_is_stopped() {
        assert!(decode(&"2".repeat(LONGEST_LINE + 1)).is_err());
    }

    #[test]
    fn the_queue_id_is_read_from_the_usual_wordings() {
        let id = |text: &str| {
            Reply {
                code: 250,
                lines: vec![text.into()],
            }
            .queue_id()
        };
        assert_eq!(id("2.0.0 Ok: queued as 4fXyZ1Abc").as_deref(), Some("4fXyZ1Abc"));
        assert_eq!(id("OK id=1abc-0002").as_deref(), Some("1abc-0002"));
        assert_eq!(id("2.0.0 accepted"), None);
    }

    #[test]
    fn a_leading_dot_is_doubled_and_line_ends_are_made_right() {
        assert_eq!(dot_stuff(b".a\n..b\r\nc.\r.\r\n"), b"..a\r\n...b\r\nc.\r\n..\r\n");
        assert_eq!(dot_stuff(b"no end"), b"no end\r\n");
        assert_eq!(dot_stuff(b""), b"");
    }

    /// What a server does with the lines of DATA.
    fn receive(wire: &[u8]) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        let text = String::from_utf8_lossy(wire).into_owned();
        for line in text.split_inclusive("\r\n") {
            let line = line.strip_suffix("\r\n")?;
            if line == "." {
                return Some(message);
            }
            message.extend_from_slice(line.strip_prefix('.').unwrap_or(line).as_bytes());
            message.extend_from_slice(b"\r\n");
        }
        None
    }

    proptest! {
        #[test]
        fn what_is_stuffed_arrives_as_it_was_and_ends_at_the_dot(lines in proptest::collection::vec("[.a-c ]{0,6}", 0..12)) {
            let message: String = lines.iter().map(|l| format!("{l}\r\n")).collect();
            let mut wire = dot_stuff(message.as_bytes());
            wire.extend_from_slice(b".\r\nQUIT\r\n");
            prop_assert_eq!(receive(&wire).unwrap(), message.as_bytes());
        }

        #[test]
        fn no_message_holds_a_line_of_one_dot_once_stuffed(message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), Just(b'x')], 0..60)) {
            let wire = String::from_utf8(dot_stuff(&message)).unwrap();
            prop_assert!(wire.split("\r\n").all(|line| line != "."));
            prop_assert!(wire.is_empty() || wire.ends_with("\r\n"));
        }

        #[test]
        fn any_bytes_from_a_server_are_a_reply_or_an_error_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut codec = SmtpCodec::default();
            let mut wire = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = codec.decode(&mut wire) {}
        }

        #[test]
        fn a_reply_reads_back_from_its_wire_form(code in 200u16..600, lines in proptest::collection::vec("[ -~]{0,20}", 1..5)) {
            let reply = Reply { code, lines };
            let wire = reply.wire().replace('\n', "\r\n") + "\r\n";
            prop_assert_eq!(decode(&wire).unwrap().unwrap(), reply);
        }
    }
}

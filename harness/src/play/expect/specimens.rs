//! Messages that a filter has to refuse: what the makers of filters have agreed upon for tests, harmless all of it. The texts
//! are put together here, so that no filter that looks at these files takes them for what they stand for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// GTUBE, the message body by which filters of spam are tested.
pub(super) fn spam_test() -> String {
    let halves = [
        "XJS*C4JDBQADN1.NSBN3*2IDNEN*",
        "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X",
    ];
    format!("Content-Type: text/plain\n\n{}\n", halves.concat())
}

/// The file of 68 bytes by which filters of viruses are tested (EICAR).
fn virus() -> String {
    let parts = [
        "X5O!P%@AP[4\\PZX54(P^)7CC)7}",
        "$EICAR-STANDARD-",
        "ANTIVIRUS-TEST-FILE!$H+H*",
    ];
    parts.concat()
}

/// The test file for viruses as an attachment of a name that says nothing.
pub(super) fn virus_attached() -> String {
    attached("minutes.bin", virus().as_bytes())
}

/// A message that the test file for viruses is attached to as a message: two wrappings deep.
pub(super) fn virus_forwarded() -> String {
    let inner = attached("minutes.bin", virus().as_bytes());
    let inner = format!("Subject: Fwd: minutes\nMIME-Version: 1.0\n{inner}");
    format!(
        "Content-Type: multipart/mixed; boundary=\"outer\"\n\n--outer\nContent-Type: message/rfc822\n\n{inner}\n--outer--\n"
    )
}

/// An attachment that calls itself a program. Its contents are a text.
pub(super) fn program() -> String {
    attached("Setup.EXE", b"This is no program, but it is called like one.\n")
}

/// A message that nobody objects to.
pub(super) fn harmless() -> String {
    "Content-Type: text/plain\n\nGood morning.\n".to_owned()
}

/// Header lines and body of a message with one attachment (RFC 2045, RFC 2183).
fn attached(name: &str, contents: &[u8]) -> String {
    format!(
        "Content-Type: multipart/mixed; boundary=\"inner\"\n\n\
         --inner\nContent-Type: text/plain\n\nSee below.\n\
         --inner\nContent-Type: application/octet-stream; name=\"{name}\"\n\
         Content-Disposition: attachment; filename=\"{name}\"\n\
         Content-Transfer-Encoding: base64\n\n{}\n--inner--\n",
        STANDARD.encode(contents)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_for_viruses_has_its_length() {
        assert_eq!(virus().len(), 68);
    }

    #[test]
    fn the_test_file_is_attached_as_it_is() {
        assert!(virus_attached().contains(&STANDARD.encode(virus())));
        assert!(virus_forwarded().contains(&STANDARD.encode(virus())));
    }
}

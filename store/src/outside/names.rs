//! Names of folders as they lie on disk: in modified UTF-7 (RFC 3501, section 5.1.3), where an ampersand begins what is no
//! printable ASCII.

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;

const SHIFTED: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// The name that is encoded so; `None` for what no name is encoded as.
pub fn decoded(name: &str) -> Option<String> {
    if !name.is_ascii() {
        return None;
    }
    let mut parts = name.split('&');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (shifted, plain) = part.split_once('-')?;
        match shifted {
            "" => text.push('&'),
            _ => text.push_str(&unshifted(shifted)?),
        }
        text.push_str(plain);
    }
    Some(text)
}

fn unshifted(shifted: &str) -> Option<String> {
    let bytes = SHIFTED.decode(shifted).ok()?;
    let (units, rest) = bytes.as_chunks();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
    let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty())?;
    // What represents itself is never encoded: a name has one form only.
    (!text.chars().any(|letter| matches!(letter, ' '..='~'))).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_all_languages_are_decoded() {
        for (encoded, name) in [
            ("Lists/One", "Lists/One"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("G&APY-nderilmi&AV8- &ANY-&AR8-eler", "Gönderilmiş Öğeler"),
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("A &- B", "A & B"),
            ("&2D3cSA-", "👈"),
        ] {
            assert_eq!(decoded(encoded).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_encoded_name_has_none() {
        for wrong in ["a&b", "a&", "&APw", "&AGE-", "&!!!!-", "&2D0-", "&AP-", "ü"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_folder_is_called_nothing_panics(name in "[ -~]{0,40}") {
            let _ = decoded(&name);
        }

        #[test]
        fn a_name_comes_back_from_its_encoded_form(name in "\\PC{0,30}") {
            let encoded: String = encoded(&name);
            prop_assert_eq!(decoded(&encoded), Some(name));
        }
    }

    /// The other way round, a run of other letters at a time.
    fn encoded(name: &str) -> String {
        let is_plain = |letter: &char| matches!(letter, ' '..='~');
        let mut text = String::new();
        let mut rest = name.chars().peekable();
        while let Some(letter) = rest.next() {
            if is_plain(&letter) {
                text.push(letter);
                text.push_str(if letter == '&' { "-" } else { "" });
                continue;
            }
            let mut run = String::from(letter);
            while let Some(letter) = rest.next_if(|letter| !is_plain(letter)) {
                run.push(letter);
            }
            let bytes: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            text.extend(["&", &SHIFTED.encode(bytes), "-"]);
        }
        text
    }
}

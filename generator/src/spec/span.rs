//! A length of time with its unit, as it is written: `250ms`, `10s`, `14d`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A length of time. It is written into files as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    text: String,
    length: Duration,
}

impl Span {
    /// Whole seconds.
    pub fn seconds(seconds: u64) -> Span {
        Span {
            text: format!("{seconds}s"),
            length: Duration::from_secs(seconds),
        }
    }

    /// Whole days.
    pub fn days(days: u64) -> Span {
        Span {
            text: format!("{days}d"),
            length: Duration::from_secs(days.saturating_mul(86_400)),
        }
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.length
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an error says was expected.
const FORM: &str = "a length of time with its unit, e.g. \"250ms\", \"10s\" or \"14d\"";

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                // What is written into a file has to be one plain word.
                let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
                let length = humantime::parse_duration(text).ok().filter(|_| plain);
                length
                    .map(|length| Span {
                        text: text.to_owned(),
                        length,
                    })
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9]+[a-z]+)+$", "description": FORM })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        span: Span,
    }

    fn read(text: &str) -> Result<Span, toml::de::Error> {
        toml::from_str::<Table>(&format!("span = {text:?}")).map(|table| table.span)
    }

    #[test]
    fn a_span_keeps_its_words_and_knows_its_length() {
        let span = read("1500ms").unwrap();
        assert_eq!(
            (span.to_string(), span.length()),
            ("1500ms".to_owned(), Duration::from_millis(1500))
        );
        assert_eq!(read("14d").unwrap(), Span::days(14));
    }

    #[test]
    fn a_number_without_unit_and_anything_that_is_no_word_are_refused() {
        for bad in ["", "10", "1 s", "soon", "1s\n", "-1s"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}

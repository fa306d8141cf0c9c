//! Durations as people write and read them: `15s` in files (a unit is required), `11.2 s` in reports.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::{Micros, micros};

/// A length of time, written with its units: `500ms`, `15s`, `1m 30s`. A bare number is refused, since nobody can tell
/// seconds from milliseconds by looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// Why a text is no [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// It has no unit.
    #[error("`{0}` has no unit: write a duration as \"{0}s\", \"{0}ms\" or \"{0}m\"")]
    NoUnit(String),
    /// It cannot be understood.
    #[error("`{text}` is no duration ({reason}): write it as \"500ms\", \"15s\" or \"1m 30s\"")]
    Unreadable {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Span {
    /// The length in the unit of the record.
    pub fn micros(self) -> Micros {
        micros(self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(duration)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Span, SpanError> {
        let trimmed = text.trim();
        if !trimmed.is_empty() && trimmed.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(SpanError::NoUnit(trimmed.to_owned()));
        }
        humantime::parse_duration(trimmed)
            .map(Span)
            .map_err(|error| SpanError::Unreadable {
                text: trimmed.to_owned(),
                reason: error.to_string(),
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(out)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

/// Takes text only, and answers a bare number with the mend instead of serde's "invalid type".
struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a duration with its unit, such as \"15s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
        Err(E::custom(SpanError::NoUnit(number.to_string())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
        Err(E::custom(SpanError::NoUnit(number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Span, E> {
        Err(E::custom(SpanError::NoUnit(number.to_string())))
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration with its units: `500ms`, `15s`, `1m 30s`.",
            "pattern": "^\\s*[0-9.]+\\s*[a-zA-Z]+(\\s*[0-9.]+\\s*[a-zA-Z]+)*\\s*$"
        })
    }
}

/// A measured length of time for readers: `0.34 s`, `11.2 s`, `3 min 07 s`. Rounded up at the last digit shown, so that
/// a measured value never looks smaller than it was.
pub fn readable(length: Micros) -> String {
    match length {
        0..10_000_000 => {
            let hundredths = length.div_ceil(10_000);
            format!("{}.{:02} s", hundredths / 100, hundredths % 100)
        }
        10_000_000..120_000_000 => {
            let tenths = length.div_ceil(100_000);
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
        _ => {
            let seconds = length.div_ceil(1_000_000);
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
    }
}

/// A limit for readers: as it was written where that is whole seconds (`15 s`), else like a measured length.
pub fn readable_limit(limit: Micros) -> String {
    match limit {
        whole if whole % 1_000_000 == 0 && whole < 120_000_000 => format!("{} s", whole / 1_000_000),
        other => readable(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        within: Span,
    }

    fn from_toml(text: &str) -> Result<Duration, String> {
        toml::from_str::<Holder>(text)
            .map(|holder| holder.within.0)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_duration_is_written_with_its_unit() {
        assert_eq!(from_toml("within = \"15s\""), Ok(Duration::from_secs(15)));
        assert_eq!(from_toml("within = \"1m 30s\""), Ok(Duration::from_secs(90)));
        assert_eq!(from_toml("within = \"200ms\""), Ok(Duration::from_millis(200)));
    }

    #[test]
    fn a_bare_number_is_refused_with_the_mend() {
        let no_unit = "has no unit: write a duration as";
        for text in ["within = 15", "within = \"15\"", "within = 1.5", "within = \"0\""] {
            let message = from_toml(text).expect_err(text);
            assert!(message.contains(no_unit), "{text}: {message}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in [
            "within = \"soon\"",
            "within = \"\"",
            "within = \"-3s\"",
            "within = \"3 parsecs\"",
        ] {
            let message = from_toml(text).expect_err(text);
            assert!(
                message.contains("is no duration") && message.contains("\"15s\""),
                "{text}: {message}"
            );
        }
    }

    #[test]
    fn a_span_is_written_as_it_is_read() {
        for text in ["500ms", "15s", "1m 30s", "0s"] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.to_string(), text);
            assert_eq!(serde_json::to_value(span).expect("text"), serde_json::json!(text));
        }
    }

    #[test]
    fn readable_lengths_never_look_shorter_than_they_were() {
        assert_eq!(readable(0), "0.00 s");
        assert_eq!(readable(331_000), "0.34 s");
        assert_eq!(readable(9_999_999), "10.00 s");
        assert_eq!(readable(11_150_000), "11.2 s");
        assert_eq!(readable(15_000_001), "15.1 s");
        assert_eq!(readable(187_000_000), "3 min 07 s");
    }
}

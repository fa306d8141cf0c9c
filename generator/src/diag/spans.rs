//! Where each key of a TOML document lies, by its path.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The places of a key and of its value, bytes of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key; of an array's element, and of the document itself, the value's place.
    pub key: Range<usize>,
    /// The value. Of a table with a header (`[mail]`, `[[node]]`) the header.
    pub value: Range<usize>,
}

/// The places of all keys of a document, by path: `network.subnet`, `node[2].address`, `database.replicate[0]`. A key
/// that is not a bare key stands quoted in its path: `mail.options."a.b"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    places: BTreeMap<String, Place>,
}

impl Spans {
    /// The places of a document; of one with syntax errors, of what could be read.
    pub fn of(source: &str) -> Spans {
        let (table, _) = DeTable::parse_recoverable(source);
        let mut spans = Spans::default();
        spans.table("", table.get_ref());
        spans
    }

    /// Both places of a path.
    pub fn place(&self, path: &str) -> Option<&Place> {
        self.places.get(path)
    }

    /// The place of a value.
    pub fn value(&self, path: &str) -> Option<Range<usize>> {
        self.place(path).map(|p| p.value.clone())
    }

    /// The place of a key.
    pub fn key(&self, path: &str) -> Option<Range<usize>> {
        self.place(path).map(|p| p.key.clone())
    }

    /// The place of a value, or, since it may be a default that is not written, of the nearest enclosing table that is.
    pub fn value_or_enclosing(&self, path: &str) -> Option<Range<usize>> {
        if let Some(place) = self.place(path) {
            return Some(place.value.clone());
        }
        let cut = path.rfind(['.', '['])?;
        self.value_or_enclosing(&path[..cut])
    }

    /// The path whose key or value covers the span most closely.
    pub fn path_at(&self, span: &Range<usize>) -> Option<&str> {
        let covers = |r: &Range<usize>| r.start <= span.start && span.end <= r.end;
        self.places
            .iter()
            .filter_map(|(path, place)| {
                let covering = [&place.key, &place.value].into_iter().filter(|r| covers(r));
                covering.map(|r| r.len()).min().map(|length| (length, path))
            })
            // Of two equal places (an array with one element) the outer comes first.
            .min_by_key(|(length, path)| (*length, path.len()))
            .map(|(_, path)| path.as_str())
    }

    /// The paths directly below a table, e.g. `mail.options`: key names and paths.
    pub fn below<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a str> {
        self.places.keys().map(String::as_str).filter(move |path| {
            path.strip_prefix(table)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| !rest.is_empty())
        })
    }

    /// The path of a key below a table, quoted when needed.
    pub fn join(table: &str, key: &str) -> String {
        let bare = !key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if table.is_empty() {
            key
        } else {
            format!("{table}.{key}")
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let path = Spans::join(path, key.get_ref());
            self.value_at(path, key.span(), value);
        }
    }

    fn value_at(&mut self, path: String, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(&path, table),
            DeValue::Array(array) => {
                for (index, element) in array.iter().enumerate() {
                    self.value_at(format!("{path}[{index}]"), element.span(), element);
                }
            }
            _ => {}
        }
        self.places.insert(
            path,
            Place {
                key,
                value: value.span(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "a = 1\n[t]\nlist = [ \"x\", \"y\" ]\n\"odd key\" = { deep = true }\n[[node]]\nname = \"n\"\n";

    fn text(range: Option<Range<usize>>) -> &'static str {
        range.map_or("nowhere", |r| &SOURCE[r])
    }

    #[test]
    fn paths_name_keys_elements_and_tables() {
        let spans = Spans::of(SOURCE);
        assert_eq!(text(spans.value("a")), "1");
        assert_eq!(text(spans.value("t.list[1]")), "\"y\"");
        assert_eq!(text(spans.value("t.\"odd key\".deep")), "true");
        assert_eq!(text(spans.key("t.\"odd key\"")), "\"odd key\"");
        assert_eq!(text(spans.value("t")), "[t]");
        assert_eq!(text(spans.value("node[0]")), "[[node]]");
        assert_eq!(text(spans.key("node[0].name")), "name");
    }

    #[test]
    fn a_default_is_placed_at_what_encloses_it() {
        let spans = Spans::of(SOURCE);
        assert_eq!(text(spans.value_or_enclosing("node[0].address")), "[[node]]");
        assert_eq!(text(spans.value_or_enclosing("t.list[7]")), "[ \"x\", \"y\" ]");
        assert_eq!(spans.value_or_enclosing("nothing.here"), None);
    }

    #[test]
    fn a_place_has_a_path() {
        let spans = Spans::of(SOURCE);
        let y = SOURCE.find("\"y\"").unwrap();
        assert_eq!(spans.path_at(&(y..y + 3)), Some("t.list[1]"));
    }
}

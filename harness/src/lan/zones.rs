//! The generated DNS zones as the outside world would look things up in them: addresses, mail exchangers, keys.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Records of the generated zones, by absolute lower-case name without the final dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zones {
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    exchangers: BTreeMap<String, Vec<(u16, String)>>,
    texts: BTreeMap<String, Vec<String>>,
}

impl Zones {
    /// Reads zones in the one-record-a-line form that the generator writes (RFC 1035 section 5, without parentheses).
    pub fn parse(zones: &BTreeMap<String, String>) -> Zones {
        let mut found = Zones::default();
        for (domain, text) in zones {
            for line in text.lines() {
                found.record(domain, line);
            }
        }
        for list in found.exchangers.values_mut() {
            list.sort();
        }
        found
    }

    fn record(&mut self, domain: &str, line: &str) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [name, "IN", "A", address] => {
                if let Ok(address) = address.parse() {
                    self.addresses.entry(absolute(name, domain)).or_default().push(address);
                }
            }
            [name, "IN", "MX", preference, host] => {
                if let Ok(preference) = preference.parse() {
                    let entry = self.exchangers.entry(absolute(name, domain)).or_default();
                    entry.push((preference, absolute(host, domain)));
                }
            }
            [name, "IN", "TXT", ..] => {
                // The strings of one record are one text (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2).
                let strings = line.split('"').skip(1).step_by(2);
                self.texts
                    .entry(absolute(name, domain))
                    .or_default()
                    .push(strings.collect());
            }
            _ => {}
        }
    }

    /// The keys for signatures that are published: whole name to text.
    pub fn keys(&self) -> BTreeMap<String, String> {
        let keys = self.texts.iter().filter(|(name, _)| name.contains("._domainkey."));
        keys.filter_map(|(name, texts)| Some((name.clone(), texts.first()?.clone())))
            .collect()
    }

    /// All addresses of a name in small letters.
    pub fn addresses(&self, name: &str) -> &[Ipv4Addr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }

    /// The mail exchangers of a name in small letters: preference, name.
    pub fn exchangers(&self, name: &str) -> impl Iterator<Item = (u16, &str)> {
        let list = self.exchangers.get(name).into_iter().flatten();
        list.map(|(preference, host)| (*preference, host.as_str()))
    }

    /// The texts of a name in small letters.
    pub fn texts(&self, name: &str) -> &[String] {
        self.texts.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether there is such a name, in small letters, or one below it (RFC 8020 section 2).
    pub fn exists(&self, name: &str) -> bool {
        let below = format!(".{name}");
        let known = self
            .addresses
            .keys()
            .chain(self.exchangers.keys())
            .chain(self.texts.keys());
        known.into_iter().any(|known| known == name || known.ends_with(&below))
    }

    /// The first address of a name.
    pub fn address(&self, name: &str) -> Option<Ipv4Addr> {
        self.addresses.get(&name.to_ascii_lowercase())?.first().copied()
    }

    /// The mail exchangers of a domain in order of preference (RFC 5321 section 5.1): preference, name, address.
    pub fn mx(&self, domain: &str) -> Vec<(u16, String, Ipv4Addr)> {
        let list = self.exchangers.get(&domain.to_ascii_lowercase()).into_iter().flatten();
        list.filter_map(|(preference, host)| Some((*preference, host.clone(), self.address(host)?)))
            .collect()
    }
}

/// A name as the zone means it: with a final dot it is absolute, without one the domain is appended.
fn absolute(name: &str, domain: &str) -> String {
    match name.strip_suffix('.') {
        Some(name) => name.to_ascii_lowercase(),
        None if name == "@" => domain.to_ascii_lowercase(),
        None => format!("{name}.{domain}").to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(text: &str) -> Zones {
        Zones::parse(&BTreeMap::from([("example.org".to_owned(), text.to_owned())]))
    }

    #[test]
    fn exchangers_come_in_order_of_preference_with_their_addresses() {
        let zones = zones(
            "mail1 IN A 192.168.1.10\nmail2 IN A 192.168.1.11\n\
             @ IN MX 20 mail2.example.org.\n@ IN MX 10 mail1.example.org.\n",
        );
        let hosts: Vec<String> = zones.mx("Example.org").into_iter().map(|(_, host, _)| host).collect();
        assert_eq!(hosts, ["mail1.example.org", "mail2.example.org"]);
    }

    #[test]
    fn a_key_is_the_strings_of_its_record_joined() {
        let zones = zones("dkim1._domainkey IN TXT \"v=DKIM1; p=abc\" \"def\"\n@ IN TXT \"v=spf1 -all\"\n");
        let key = (
            "dkim1._domainkey.example.org".to_owned(),
            "v=DKIM1; p=abcdef".to_owned(),
        );
        assert_eq!(zones.keys(), BTreeMap::from([key]));
    }

    #[test]
    fn an_exchanger_without_final_dot_is_looked_up_below_the_domain_and_not_found() {
        let zones = zones("mail1 IN A 192.168.1.10\n@ IN MX 10 mail1.example.org\n");
        assert!(zones.mx("example.org").is_empty());
    }
}

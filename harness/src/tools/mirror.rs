//! Which package mirror to use: the one that was asked for, else the one that this host's apt uses for Debian (so a
//! company's own mirror is honoured), else Debian's. Pure parsing of apt's source files (sources.list(5)).

use std::path::Path;

/// Debian's own mirror network.
const DEFAULT_MAIN: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";

/// Suites whose source is a Debian main archive, as opposed to a vendor's.
const CODENAMES: [&str; 9] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
];

/// Addresses of the two archives that Debian stable lives in, without a final slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The main archive.
    pub main: String,
    /// The security archive.
    pub security: String,
}

impl Mirror {
    /// The mirror for this host: `HARNESS_MIRROR` (and `HARNESS_SECURITY_MIRROR`), else the host's apt sources, else
    /// Debian's own.
    pub fn of_host() -> Self {
        let asked = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        choose(
            asked("HARNESS_MIRROR"),
            asked("HARNESS_SECURITY_MIRROR"),
            &host_sources(Path::new("/etc/apt")),
        )
    }

    /// The address of one archive by its name in the lock, `debian` or `debian-security`.
    pub fn archive(&self, name: &str) -> &str {
        if name == "debian-security" {
            &self.security
        } else {
            &self.main
        }
    }
}

/// One address with one suite from apt's sources.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
}

fn choose(main: Option<String>, security: Option<String>, sources: &[Source]) -> Mirror {
    let trim = |uri: String| uri.trim_end_matches('/').to_owned();
    let asked = main.map(trim);
    let of_host = |suites: &dyn Fn(&str) -> bool| {
        sources
            .iter()
            .find(|source| suites(&source.suite))
            .map(|source| trim(source.uri.clone()))
    };
    let is_security = |suite: &str| {
        suite
            .strip_suffix("-security")
            .or_else(|| suite.strip_suffix("/updates"))
            .is_some_and(is_codename)
    };
    // A mirror that was asked for has its security archive beside it, as every full mirror does.
    let beside = |main: &str| {
        main.strip_suffix("/debian")
            .map(|base| format!("{base}/debian-security"))
    };
    let security = security.map(trim).or_else(|| match &asked {
        Some(main) => beside(main),
        None => of_host(&is_security),
    });
    Mirror {
        main: asked
            .or_else(|| of_host(&is_codename))
            .unwrap_or_else(|| DEFAULT_MAIN.into()),
        security: security.unwrap_or_else(|| DEFAULT_SECURITY.into()),
    }
}

fn is_codename(suite: &str) -> bool {
    CODENAMES.contains(&suite)
}

/// All sources below apt's configuration folder, in the order apt reads them; unreadable files count as empty.
fn host_sources(etc_apt: &Path) -> Vec<Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if file.extension().is_some_and(|ending| ending == "sources") {
                deb822(&text)
            } else {
                one_line(&text)
            }
        })
        .filter(|source| source.uri.starts_with("http"))
        .collect()
}

/// The one-line format: `deb [options] uri suite components`.
fn one_line(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("deb "))
        .filter_map(|rest| {
            let rest = rest.trim_start();
            let rest = if rest.starts_with('[') {
                rest.split_once(']')?.1
            } else {
                rest
            };
            let mut words = rest.split_whitespace();
            Some(Source {
                uri: words.next()?.to_owned(),
                suite: words.next()?.to_owned(),
            })
        })
        .collect()
}

/// The deb822 format: paragraphs with `Types`, `URIs`, `Suites`.
fn deb822(text: &str) -> Vec<Source> {
    let without_comments: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    without_comments.split("\n\n").flat_map(paragraph).collect()
}

fn paragraph(text: &str) -> Vec<Source> {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let enabled = field("Enabled")
        .first()
        .is_none_or(|value| !value.eq_ignore_ascii_case("no"));
    if !enabled || !field("Types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suites = field("Suites");
    field("URIs")
        .into_iter()
        .flat_map(|uri| {
            suites.iter().map(move |suite| Source {
                uri: uri.clone(),
                suite: suite.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPANY: &str = "\
Types: deb deb-src
# the company's own
URIs: http://mirror.example.org/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
";

    #[test]
    fn the_hosts_own_mirror_is_used() {
        let mirror = choose(None, None, &deb822(COMPANY));
        assert_eq!(mirror.main, "http://mirror.example.org/debian");
        assert_eq!(mirror.security, "http://mirror.example.org/debian-security");
    }

    #[test]
    fn an_address_that_was_asked_for_wins_and_brings_its_security_archive() {
        let mirror = choose(Some("https://m.example.net/debian/".into()), None, &deb822(COMPANY));
        assert_eq!(mirror.main, "https://m.example.net/debian");
        assert_eq!(mirror.security, "https://m.example.net/debian-security");
    }

    #[test]
    fn vendors_sources_and_disabled_ones_are_no_mirrors() {
        let vendor = one_line("deb [signed-by=/x] https://packages.example.com/apt cloud-sdk main\n");
        let disabled = deb822(&format!("Enabled: no\n{}", COMPANY.split("\n\n").next().unwrap()));
        let sources: Vec<Source> = vendor.into_iter().chain(disabled).collect();
        assert_eq!(
            choose(None, None, &sources),
            Mirror {
                main: DEFAULT_MAIN.into(),
                security: DEFAULT_SECURITY.into()
            }
        );
    }

    #[test]
    fn the_one_line_format_is_read_with_its_options() {
        let sources =
            one_line("# c\ndeb [arch=amd64 signed-by=/k] http://a.example/debian trixie main\ndeb-src http://b x y\n");
        assert_eq!(
            sources,
            [Source {
                uri: "http://a.example/debian".into(),
                suite: "trixie".into()
            }]
        );
    }
}

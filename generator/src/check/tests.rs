use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::diag;
use crate::spec::Cluster;

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The rule that a fixture breaks: `soft-bounce` of `soft-bounce.toml` and `soft-bounce.variant.toml`.
fn rule_of(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split('.').next().unwrap().to_owned()
}

fn loaded(path: &Path) -> Loaded {
    let name = path.file_name().unwrap().to_str().unwrap();
    Cluster::parse(name, &std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn each_bad_example_gives_exactly_its_finding() {
    for path in fixtures().iter().filter(|p| rule_of(p) != "good") {
        let codes: Vec<_> = check(&loaded(path)).into_iter().map(|f| f.code).collect();
        assert_eq!(codes, [rule_of(path)], "{}", path.display());
    }
}

#[test]
fn the_good_example_gives_no_finding() {
    let path = fixtures().into_iter().find(|p| rule_of(p) == "good").unwrap();
    assert_eq!(check(&loaded(&path)), []);
}

#[test]
fn each_rule_has_a_bad_example() {
    let shown: BTreeSet<String> = fixtures().iter().map(|p| rule_of(p)).collect();
    // Secrets are no part of a description; their rules are tested beside their code.
    let expected = RULES.iter().map(|r| r.code).filter(|c| !c.ends_with("-secret"));
    for code in expected {
        assert!(shown.contains(code), "no tests/fixtures/{code}.toml");
    }
}

#[test]
fn rules_are_sorted_and_unique() {
    assert!(RULES.windows(2).all(|w| w[0].code < w[1].code));
}

#[test]
fn each_finding_has_place_reason_and_mend() {
    for path in fixtures() {
        for finding in check(&loaded(&path)) {
            assert!(finding.span.is_some(), "{}", finding.code);
            assert!(finding.why.is_some_and(|w| !w.is_empty()), "{}", finding.code);
            assert!(finding.help.is_some_and(|h| !h.is_empty()), "{}", finding.code);
            assert!(
                RULES
                    .iter()
                    .any(|r| r.code == finding.code && r.severity == finding.severity)
            );
        }
    }
}

#[test]
fn findings_read_well() {
    for path in fixtures() {
        let loaded = loaded(&path);
        let shown = diag::render(&check(&loaded), &loaded.name, &loaded.source, false);
        insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), shown);
    }
}

#[test]
fn the_examples_have_no_errors() {
    for (name, text) in [
        ("pair.toml", include_str!("../../examples/pair.toml")),
        ("no-gateway.toml", include_str!("../../examples/no-gateway.toml")),
    ] {
        let loaded = Cluster::parse(name, text).unwrap();
        let findings = check(&loaded);
        assert!(!has_errors(&findings), "{}", diag::render(&findings, name, text, false));
    }
}

/// The source document's own settings, all at once.
#[test]
fn the_documents_settings_are_all_objected_to() {
    let text = include_str!("../../examples/pair.toml").replace("192.168.1.11", "192.168.1.10")
        + r#"
[database]
replicate = ["amavisd", "iredadmin", "iredapd", "roundcubemail", "sogo"]
replication_host = "%"
options = { binlog_do_db = "amavisd,iredadmin,iredapd,roundcubemail,sogo" }

[mail.options]
relay_transport = "smtp:192.168.1.10:25"
smtp_fallback_relay = "[192.168.1.11]:25"
soft_bounce = "yes"
bounce_queue_lifetime = "1h"

[[dns.record]]
name = "@"
type = "MX"
data = "(10) mail.test.com"
"#;
    let found: Vec<_> = check(&Cluster::parse("document.toml", &text).unwrap())
        .into_iter()
        .map(|f| f.code)
        .collect();
    assert_eq!(
        found,
        [
            "duplicate-address",
            "single-gateway",
            "single-load-balancer",
            "missing-vmail",
            "replication-host",
            "binlog-filter",
            "relay-without-brackets",
            "smtp-fallback-relay",
            "soft-bounce",
            "queue-lifetime-short",
            "dns-mx-form",
        ]
    );
}

mod any_input {
    use proptest::prelude::*;

    use super::*;

    fn survives(text: &str) {
        match Cluster::parse("any.toml", text) {
            Ok(loaded) => {
                let findings = check(&loaded);
                diag::render(&findings, &loaded.name, text, false);
                diag::to_json(&findings, &loaded.name, text);
            }
            Err(error) => {
                error.render(true);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,200}|[\\[\\]a-z=\"'.{},0-9\\n\\r\\t #é\\\\]{0,200}") {
            survives(&text);
        }

        /// A fixture with a piece cut out and something else put there: most still parse, so the rules run.
        #[test]
        fn no_edit_of_a_description_makes_checking_panic(
            fixture in 0usize..1000,
            at in any::<prop::sample::Index>(),
            length in 0usize..30,
            piece in "[a-zA-Z0-9.@:%*/\" \\-_é\\[\\]=\\n]{0,12}",
        ) {
            let fixtures = fixtures();
            let text = std::fs::read_to_string(&fixtures[fixture % fixtures.len()]).unwrap();
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            if text.is_char_boundary(start) && text.is_char_boundary(end) {
                survives(&format!("{}{piece}{}", &text[..start], &text[end..]));
            }
        }

        /// Every string of a good description replaced by anything.
        #[test]
        fn no_value_makes_checking_panic(value in "\\PC{0,40}", which in 0usize..40, key in "[a-z_.\\-]{1,30}") {
            let text = std::fs::read_to_string(fixtures().into_iter().find(|p| rule_of(p) == "good").unwrap()).unwrap();
            let mut loaded = Cluster::parse("any.toml", &text).unwrap();
            let cluster = &mut loaded.cluster;
            match which % 12 {
                0 => cluster.cluster.name = value,
                1 => cluster.cluster.domain = value,
                2 => cluster.cluster.more_domains = vec![value.clone(), value],
                3 => cluster.nodes[1].name = value,
                4 => cluster.nodes.clear(),
                5 => cluster.webmail.host = value,
                6 => cluster.mailboxes[0].address = value,
                7 => cluster.database.replicate = vec![value],
                8 => cluster.database.replication_host = Some(value),
                9 => cluster.database.options = [(key, value)].into(),
                10 => cluster.mail.options = [("relay_transport".into(), value.clone()), (key, value)].into(),
                _ => {
                    let record = |kind: &str| crate::spec::DnsRecord { name: "@".into(), kind: kind.into(), data: value.clone() };
                    cluster.dns.records = ["MX", "CNAME", "SRV", "TXT", "A", "AAAA"].map(record).to_vec();
                }
            }
            check(&loaded);
        }
    }
}

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
    let mut others = Vec::new();
    for path in fixtures().iter().filter(|p| rule_of(p) != "good") {
        let codes: Vec<_> = check(&loaded(path)).into_iter().map(|f| f.code).collect();
        if codes != [rule_of(path)] {
            others.push((path.display().to_string(), codes));
        }
    }
    assert_eq!(others, []);
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
    let secret = |code: &&str| code.ends_with("-secret") || code.starts_with("certificate-");
    let expected = RULES.iter().map(|r| r.code).filter(|code| !secret(code));
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
        ("redundant.toml", include_str!("../../examples/redundant.toml")),
        ("store.toml", include_str!("../../examples/store.toml")),
        ("role.toml", include_str!("../../examples/role.toml")),
        ("access.toml", include_str!("../../examples/access.toml")),
        ("groupware.toml", include_str!("../../examples/groupware.toml")),
        ("proxmox.toml", include_str!("../../examples/proxmox.toml")),
        ("iredmail.toml", include_str!("../../examples/iredmail.toml")),
    ] {
        let loaded = Cluster::parse(name, text).unwrap();
        let findings = check(&loaded);
        assert!(!has_errors(&findings), "{}", diag::render(&findings, name, text, false));
    }
}

/// The values of the source document, each of whose faults has to be named.
#[test]
fn each_mistake_of_the_document_is_named() {
    let text = include_str!("../../examples/document.toml");
    let loaded = Cluster::parse("document.toml", text).unwrap();
    let findings = check(&loaded);
    let codes: BTreeSet<&str> = findings.iter().map(|f| f.code.as_ref()).collect();
    for (said, code) in [
        ("webmail1 and webmail2 both 192.168.1.10", "duplicate-address"),
        ("no timeouts in HAProxy", "no-timeouts"),
        ("inter 3s fall 3 rise 2", "slow-detection"),
        ("option httpchk GET /", "shallow-health-check"),
        ("ssl verify none", "unverified-backend"),
        ("load is shared evenly by a backup server", "load-not-shared"),
        ("relay_transport = smtp:192.168.1.10:25", "relay-without-brackets"),
        ("smtp_fallback_relay", "smtp-fallback-relay"),
        ("soft_bounce = yes", "soft-bounce"),
        ("bounce_queue_lifetime = 1h", "queue-lifetime-short"),
        ("retry times of Postfix", "slow-retries"),
        ("@ IN MX (10)", "dns-mx-form"),
        ("mail.test.com without a final dot", "dns-name-relative"),
        ("backup MX past the gateway", "mx-bypasses-gateway"),
        ("'replicator'@'%'", "replication-host"),
        ("password 12345678", "secret-in-description"),
        ("binlog file and position", "binlog-position"),
        ("no server id, offset, log_slave_updates", "managed-option"),
        (
            "sync_binlog and relay_log_recovery at their defaults",
            "unsafe-durability",
        ),
        ("Binlog_Do_DB", "binlog-filter"),
        ("the default MIXED format", "binlog-format"),
        ("no vmail in the list", "missing-vmail"),
        ("no first copy of existing data", "existing-data-not-copied"),
        ("ZFS synchronises in real time", "filesystem-is-no-replication"),
        ("one gateway", "single-gateway"),
        ("one load balancer", "single-load-balancer"),
        ("no clocks", "no-time-source"),
    ] {
        assert!(codes.contains(code), "{said}: no finding {code}");
    }
    insta::assert_snapshot!("document", diag::render(&findings, "document.toml", text, false));
}

#[test]
fn the_documents_password_is_not_shown() {
    let text = include_str!("../../examples/document.toml");
    let findings = check(&Cluster::parse("document.toml", text).unwrap());
    assert!(!diag::render(&findings, "document.toml", text, false).contains("12345678"));
}

/// Every description at hand, with its name.
fn descriptions() -> Vec<(String, String)> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let examples = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let paths = fixtures().into_iter().chain(examples);
    paths
        .map(|path| (name(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn each_correction_removes_its_finding_and_leaves_a_description() {
    let mut seen = BTreeSet::new();
    for (name, text) in descriptions() {
        let findings = check(&Cluster::parse(&name, &text).unwrap());
        let count = |findings: &[Finding], code: &str| findings.iter().filter(|f| f.code == code).count();
        for finding in findings.iter().filter(|f| !f.fixes.is_empty()) {
            let mended = diag::apply(&text, &finding.fixes);
            let loaded = Cluster::parse(&name, &mended).unwrap_or_else(|e| panic!("{name}: {}: {e}", finding.code));
            let code = finding.code.as_ref();
            assert!(
                count(&check(&loaded), code) < count(&findings, code),
                "{name}: {code} stays in\n{mended}"
            );
            seen.insert(code.to_owned());
        }
    }
    assert!(seen.len() > 25, "{seen:?}");
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
                let file = diag::sarif::Examined {
                    name: &loaded.name,
                    source: text,
                    findings: &findings,
                    silenced: &[],
                };
                diag::sarif::to_sarif("test", "0.0.0", &[], &[file]);
                for finding in findings {
                    let mended = diag::apply(text, &finding.fixes);
                    assert!(
                        Cluster::parse("mended.toml", &mended).is_ok(),
                        "{}:\n{mended}",
                        finding.code
                    );
                }
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
            cluster.access = Some(crate::spec::Access { host: value.clone(), autoconfig: true });
            match which % 12 {
                0 => cluster.cluster.name = value,
                1 => cluster.cluster.domain = value,
                2 => cluster.cluster.more_domains = vec![value.clone(), value],
                3 => cluster.nodes[1].name = value,
                4 => cluster.nodes.clear(),
                5 => cluster.webmail.host = value.clone(),
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

//! Records that show nothing must not pass, whatever the terms are.

use super::story::{Script, terms, told};
use crate::oracle::{OracleConfig, Terms, Verdict, judge};
use crate::record::{Event, Service, What};

fn begin(steps: usize) -> Event {
    Event {
        at: 0,
        what: What::Begin {
            scenario: "idle".into(),
            seed: 7,
            run: "r1".into(),
            steps,
        },
    }
}

fn end() -> Event {
    Event { at: 1, what: What::End }
}

#[test]
fn an_empty_record_does_not_pass() {
    for terms in [Terms::default(), terms()] {
        assert_eq!(judge(&[], &terms).verdict, Verdict::Inconclusive);
    }
}

#[test]
fn a_beginning_and_an_end_do_not_pass() {
    for terms in [Terms::default(), terms()] {
        for steps in [0, 3] {
            assert_eq!(judge(&[begin(steps), end()], &terms).verdict, Verdict::Inconclusive);
        }
    }
}

#[test]
fn no_beginning_of_a_good_record_passes() {
    let whole = told(&Script::default());
    assert_eq!(judge(&whole, &terms()).verdict, Verdict::Pass);
    for length in 0..whole.len() {
        assert_ne!(
            judge(&whole[..length], &terms()).verdict,
            Verdict::Pass,
            "cut after {length} events"
        );
    }
}

#[test]
fn a_good_record_without_its_operations_does_not_pass() {
    let mut events = told(&Script::default());
    events.retain(|event| !matches!(event.what, What::Invoke { .. } | What::Done { .. }));
    assert_ne!(judge(&events, &terms()).verdict, Verdict::Pass);
}

#[test]
fn a_good_record_without_its_looks_does_not_pass() {
    let mut events = told(&Script::default());
    events.retain(|event| {
        !matches!(
            event.what,
            What::Mailbox { .. } | What::Rows { .. } | What::Checksum { .. } | What::Replication { .. }
        )
    });
    let judgement = judge(&events, &terms());
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    for code in [
        "ledger.not-seen",
        "replication.rows-not-seen",
        "replication.checksum-not-seen",
        "replication.threads-not-seen",
    ] {
        assert!(judgement.has(code), "{code}: {:#?}", judgement.reasons);
    }
}

#[test]
fn traffic_that_never_ran_does_not_look_like_none_wanted() {
    let idle = [begin(0), end()];
    let oracle = OracleConfig::default().with_traffic(&[Service::MailIn, Service::Sql]);
    let judgement = judge(
        &idle,
        &Terms {
            oracle,
            ..Terms::default()
        },
    );
    assert!(judgement.has("ledger.nothing-accepted"));
    assert!(judgement.has("replication.nothing-acknowledged"));
}

#[test]
fn a_scenario_may_do_without_an_oracle_that_its_traffic_would_call() {
    let config = OracleConfig {
        replication: Some(false),
        ..OracleConfig::default()
    };
    assert_eq!(config.with_traffic(&[Service::Sql]).replication, Some(false));
}

#[test]
fn the_judges_know_neither_machines_nor_a_clock() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/oracle");
    let files = std::fs::read_dir(folder).expect("the folder of the judges");
    let mut read = 0;
    for path in files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.is_file())
    {
        let source = std::fs::read_to_string(&path).expect("a source file");
        read += 1;
        for word in [
            "tokio",
            "crate::fleet",
            "crate::play",
            "std::time::Instant",
            "SystemTime",
            "std::fs",
        ] {
            assert!(!source.contains(word), "{} uses {word}", path.display());
        }
    }
    assert!(read > 8, "only {read} files were looked at");
}

//! Every scenario of the repository, played on the simulation in paused time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Observer, Settings, play, terms};
use crate::fault::Fault;
use crate::fleet::fake::FakeFleet;
use crate::fleet::{ClusterFile, Fleet, Topology};
use crate::oracle::{Judgement, Verdict, judge};
use crate::record::{Event, Recorder, StepResult, What};
use crate::scenario::defect::Defect;
use crate::scenario::expectation::Expectation;
use crate::scenario::plan::CLOSING;
use crate::scenario::{Action, Scenario, Stage, parse};

/// Keeps what it is told, for messages of failed tests.
#[derive(Default)]
struct Story {
    lines: Mutex<Vec<String>>,
}

impl Story {
    fn tell(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

impl Observer for Story {
    fn step_began(&self, step: usize, total: usize, title: &str) {
        self.tell(format!("{}/{total} {title}", step + 1));
    }

    fn step_ended(&self, _: usize, result: &StepResult, took: Duration) {
        self.tell(format!("    {took:.1?} {result:?}"));
    }

    fn note(&self, text: &str) {
        self.tell(format!("    note: {text}"));
    }
}

fn cluster(name: &str) -> ClusterFile {
    let path = format!("{}/../generator/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("example cluster");
    ClusterFile { origin: path, text }
}

fn scenario(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scenarios")
        .join(format!("{name}.toml"));
    let text = std::fs::read_to_string(path).expect("scenario file");
    parse(&text).expect("a valid scenario").scenario
}

/// Plays a scenario on the simulation and judges it; tokio's clock must be paused.
async fn simulate(scenario: &Scenario, seed: u64) -> (Judgement, Vec<Event>, String) {
    simulate_after(None, scenario, seed).await
}

/// As [`simulate`], after something happened to a machine that the scenario knows nothing of.
async fn simulate_after(fault: Option<Fault>, scenario: &Scenario, seed: u64) -> (Judgement, Vec<Event>, String) {
    let cluster = cluster(&scenario.head.cluster).read().expect("a valid cluster");
    let topology = Topology::from(&cluster);
    let scenario = &scenario.on_cluster(topology.has_store());
    let fleet = FakeFleet::new(topology.clone(), cluster.webmail.check, scenario.defect(), seed);
    if let Some(fault) = fault {
        fleet.inject(&fault).await.expect("it takes hold");
    }
    let recorder = Recorder::in_memory();
    let story = Arc::new(Story::default());
    let settings = Settings {
        seed,
        run_id: "r1".into(),
    };
    play(Arc::new(fleet), scenario, &settings, recorder.clone(), story.clone()).await;
    let events = recorder.events().expect("a record in memory");
    let judgement = judge(&events, &terms(scenario, &topology));
    (judgement, events, story.text())
}

fn reasons(judgement: &Judgement) -> String {
    judgement
        .reasons
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

async fn passes(name: &str) {
    for seed in 1..=8 {
        let (judgement, _, story) = simulate(&scenario(name), seed).await;
        assert_eq!(
            judgement.verdict,
            Verdict::Pass,
            "seed {seed}\n{}\n{story}",
            reasons(&judgement)
        );
    }
}

macro_rules! passes_on_the_simulation {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $test() {
            passes($name).await;
        })*
    };
}

passes_on_the_simulation! {
    failover_passes: "failover",
    imap_failover_passes: "imap-failover",
    replication_passes: "replication",
    webmail_service_passes: "webmail-service",
    mail_fallback_passes: "mail-fallback",
    mx_backup_passes: "mx-backup",
    partition_passes: "partition",
    outsider_passes: "outsider",
    store_sync_passes: "store-sync",
    store_takeover_passes: "store-takeover",
    store_tail_passes: "store-tail",
    store_partition_passes: "store-partition",
    store_both_down_passes: "store-both-down",
    store_switchover_passes: "store-switchover",
    store_roll_passes: "store-roll",
    store_changes_passes: "store-changes",
    store_zil_tail_passes: "store-zil-tail",
    store_disk_full_passes: "store-disk-full",
    store_reseed_passes: "store-reseed",
    store_bitrot_passes: "store-bitrot",
}

/// Those that were made for nodes with mailboxes of their own.
#[tokio::test(start_paused = true)]
async fn the_earlier_scenarios_pass_on_a_simulated_cluster_with_a_mail_store() {
    for name in ["failover", "mail-fallback", "partition", "webmail-service"] {
        let mut with_store = scenario(name);
        with_store.head.cluster = "role".to_owned();
        for seed in 1..=8 {
            let (judgement, _, story) = simulate(&with_store, seed).await;
            let why = reasons(&judgement);
            assert_eq!(judgement.verdict, Verdict::Pass, "{name}, seed {seed}\n{why}\n{story}");
        }
    }
}

/// Every file of `scenarios/must-fail/` that the simulation can play.
fn must_fail() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/must-fail");
    let files = std::fs::read_dir(folder).expect("the folder of planted defects");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a readable folder")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter_map(|name| name.strip_suffix(".toml").map(|stem| format!("must-fail/{stem}")))
        .collect();
    names.sort();
    let scenarios = names.iter().map(|name| scenario(name));
    scenarios
        .filter(|scenario| scenario.stage() != Stage::Machines)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_planted_defect_is_found_and_nothing_else() {
    for scenario in must_fail() {
        let planted = scenario
            .head
            .must_fail
            .clone()
            .expect("a file of this folder has [must-fail]");
        for seed in 1..=3 {
            let (judgement, _, story) = simulate(&scenario, seed).await;
            let turned = judgement.turned_round(&planted.reason, &planted.also);
            let name = scenario.name();
            assert_eq!(
                turned.verdict,
                Verdict::Pass,
                "{name}, seed {seed}\n{}\n{story}",
                reasons(&turned)
            );
        }
    }
}

#[test]
fn every_defect_is_planted_somewhere() {
    let planted: Vec<Defect> = must_fail().iter().filter_map(Scenario::defect).collect();
    let missing: Vec<Defect> = Defect::ALL
        .into_iter()
        .filter(|defect| !planted.contains(defect))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_kind_of_expectation_is_seen_to_fail() {
    let scenarios = must_fail();
    let reason = |scenario: &Scenario| scenario.head.must_fail.as_ref().map(|planted| planted.reason.clone());
    let reasons: Vec<String> = scenarios.iter().filter_map(reason).collect();
    for kind in Expectation::KINDS.into_iter().chain(["run", "hold", "role"]) {
        assert!(
            reasons.contains(&format!("step.broken:{kind}")),
            "no planted defect for {kind}"
        );
    }
}

#[test]
fn the_receipt_of_every_fault_is_seen_to_miss_when_it_takes_hold_and_when_it_is_healed() {
    let schema = schemars::schema_for!(Fault).to_value();
    let kinds = schema["oneOf"]
        .as_array()
        .expect("kinds")
        .iter()
        .map(|kind| &kind["properties"]["fault"]["const"]);
    let scenarios = must_fail();
    for kind in kinds {
        for reason in ["receipt.inject-missing", "receipt.heal-missing"] {
            let planted = scenarios.iter().any(|scenario| {
                let has_reason = scenario
                    .head
                    .must_fail
                    .as_ref()
                    .is_some_and(|planted| planted.reason == reason);
                let injects = scenario.steps.iter().any(|step| match &step.action {
                    Action::Fault { fault, .. } => serde_json::to_value(fault).expect("json")["fault"] == *kind,
                    _ => false,
                });
                has_reason && injects
            });
            assert!(planted, "no planted defect for {reason} of {kind}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_dies_without_a_fault_ends_the_run_soon_and_without_a_verdict() {
    let node = "gateway".to_owned();
    let died = Fault::PowerCut { node };
    let (judgement, events, story) = simulate_after(Some(died), &scenario("outsider"), 1).await;
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "{story}");
    let why = "gateway: its machine ended by SIGKILL, and no fault of the scenario did that";
    assert!(story.contains(why), "{story}");
    let took = events.last().expect("an end").at;
    assert!(took < 60_000_000, "{took} us\n{story}");
}

#[tokio::test(start_paused = true)]
async fn why_a_step_did_not_hold_is_what_was_seen_before_its_time_was_over() {
    let text = "name = \"x\"\nsummary = \"x\"\n\
        [[step]]\nrun = [\"false\"]\nnode = \"lb\"\nwithin = \"2s\"\n";
    let refused = parse(text).expect("a valid scenario").scenario;
    let (_, _, story) = simulate(&refused, 1).await;
    assert!(story.contains("status 1 where 0 is expected"), "{story}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_record() {
    let failover = scenario("failover");
    let (_, first, _) = simulate(&failover, 11).await;
    let (_, second, _) = simulate(&failover, 11).await;
    assert_eq!(first, second);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_broken_is_healed_at_the_end_and_the_cluster_is_looked_into_all_the_same() {
    let text = "name = \"x\"\nsummary = \"x\"\n\
        [[step]]\nfault = \"power-cut\"\nnode = \"mail1\"\n\
        [[step]]\nexpect = \"webmail\"\nserved_by = \"mail1\"\nwithin = \"3s\"\n\
        [[step]]\nexpect = \"healthy\"\n";
    let left = parse(text).expect("a valid scenario").scenario;
    let (judgement, events, story) = simulate(&left, 1).await;
    let healed = events.iter().any(|event| matches!(event.what, What::Healed { .. }));
    let looked = events.iter().any(|event| matches!(event.what, What::Mailbox { .. }));
    let begun = events
        .iter()
        .filter(|event| matches!(event.what, What::StepBegin { .. }))
        .count();
    assert!(healed && looked, "{story}");
    assert_eq!(
        begun,
        2 + CLOSING.len(),
        "the step after the broken one is not taken\n{story}"
    );
    assert_eq!(judgement.verdict, Verdict::Fail);
}

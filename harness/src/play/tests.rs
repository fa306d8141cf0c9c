//! Every scenario of the repository, played on the simulation in paused time.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Observer, Played, Settings, play};
use crate::fleet::fake::FakeFleet;
use crate::fleet::{ClusterFile, Topology};
use crate::record::{Event, Recorder, StepResult};
use crate::scenario::{Scenario, parse};

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

/// Plays a scenario on the simulation; tokio's clock must be paused.
async fn simulate(scenario: &Scenario, seed: u64) -> (Played, Vec<Event>, String) {
    let cluster = cluster(&scenario.head.cluster).read().expect("a valid cluster");
    let fleet = FakeFleet::new(Topology::from(&cluster), cluster.webmail.check, scenario.defect(), seed);
    let recorder = Recorder::in_memory();
    let story = Arc::new(Story::default());
    let settings = Settings {
        seed,
        run_id: "r1".into(),
    };
    let played = play(Arc::new(fleet), scenario, &settings, recorder.clone(), story.clone()).await;
    (played, recorder.events().expect("a record in memory"), story.text())
}

async fn holds(name: &str) {
    for seed in 1..=5 {
        let (played, _, story) = simulate(&scenario(name), seed).await;
        let held = |step: &super::PlayedStep| matches!(step.result, StepResult::Held { .. });
        assert!(played.steps.iter().all(held), "seed {seed}\n{story}");
        assert!(played.healthy, "seed {seed}\n{story}");
    }
}

macro_rules! every_step_holds {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $test() {
            holds($name).await;
        })*
    };
}

every_step_holds! {
    every_step_of_failover_holds: "failover",
    every_step_of_replication_holds: "replication",
    every_step_of_webmail_service_holds: "webmail-service",
    every_step_of_mail_fallback_holds: "mail-fallback",
    every_step_of_mx_backup_holds: "mx-backup",
    every_step_of_partition_holds: "partition",
    every_step_of_outsider_holds: "outsider",
}

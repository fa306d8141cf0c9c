//! Plays a scenario on a [`Fleet`]: starts its traffic, takes its steps in order, records everything, then heals, waits,
//! and looks into every mailbox and database. It judges nothing but its own steps; the oracles judge the record.

mod closing;
mod expect;
mod look;
mod program;
mod run;
mod sample;
mod sender;
mod step;
mod store;
mod traffic;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::run::Run;
use crate::fleet::{Fleet, Role, Topology};
use crate::oracle::Terms;
use crate::record::{Recorder, Service, StepResult, What};
use crate::scenario::Scenario;

/// Told what happens while a scenario plays.
pub trait Observer: Send + Sync {
    /// A step begins; positions count from 0, closing steps come after those of the file.
    fn step_began(&self, step: usize, total: usize, title: &str);
    /// A step ended after this long.
    fn step_ended(&self, step: usize, result: &StepResult, took: Duration);
    /// A step still waits, for this reason, and has done so for this long.
    fn waiting(&self, _reason: &str, _so_far: Duration) {}
    /// Something worth a line happened.
    fn note(&self, text: &str);
}

/// What is fixed for one run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seed of everything random in the traffic.
    pub seed: u64,
    /// Part of every id that the run leaves in mailboxes and databases; no two runs on a cluster may share it. Letters,
    /// digits and hyphens.
    pub run_id: String,
}

/// What came of the steps.
#[derive(Debug, Clone)]
pub struct Played {
    /// Result and duration of each step, closing steps last. Steps after a broken one are missing.
    pub steps: Vec<PlayedStep>,
    /// True if the cluster was healthy at the end, so that another scenario can play on it.
    pub healthy: bool,
}

/// One step that was taken.
#[derive(Debug, Clone)]
pub struct PlayedStep {
    /// Position in the plan, from 0.
    pub step: usize,
    /// What it came to.
    pub result: StepResult,
    /// How long it took.
    pub took: Duration,
}

/// What the judges need beside the record of a scenario that was played.
pub fn terms(scenario: &Scenario, topology: &Topology) -> Terms {
    let used: Vec<Service> = Service::ALL
        .into_iter()
        .filter(|service| scenario.head.traffic.pace(*service).is_some())
        .collect();
    Terms {
        oracle: scenario.head.oracle.with_traffic(&used),
        budget: scenario.head.budget.clone(),
        mail_nodes: topology.of_role(Role::Mail).into_iter().map(str::to_owned).collect(),
        users: topology.users.clone(),
        databases: topology.databases.clone(),
        delivery: topology.delivery,
    }
}

/// Plays a scenario to its end. The record is complete when this returns; dropping the future ends all traffic and leaves
/// a partial record.
pub async fn play(
    fleet: Arc<dyn Fleet>,
    scenario: &Scenario,
    settings: &Settings,
    recorder: Recorder,
    observer: Arc<dyn Observer>,
) -> Played {
    let total = scenario.steps.len() + crate::scenario::plan::CLOSING.len();
    recorder.record(What::Begin {
        scenario: scenario.name().to_owned(),
        seed: settings.seed,
        run: settings.run_id.clone(),
        steps: total,
    });
    let run = Arc::new(Run::new(fleet, settings.clone(), recorder, observer));
    run.note_bounces().await;
    let stop = CancellationToken::new();
    let traffic = traffic::start(&run, &scenario.head.traffic, &stop);
    let mut stage = step::Stage::new(run.clone(), total);
    for (index, step) in scenario.steps.iter().enumerate() {
        if !stage.take(index, step).await {
            break;
        }
    }
    let promised = scenario.head.budget.converge.map(Into::into);
    let healthy = closing::close(&mut stage, scenario.steps.len(), promised, traffic, &stop).await;
    run.recorder.record(What::End);
    Played {
        steps: stage.played,
        healthy,
    }
}

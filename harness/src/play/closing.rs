//! What always happens after the steps: traffic stops, faults are healed, the cluster gets time to recover, databases
//! converge, queues drain, and every mailbox and database is looked into for the oracles.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::expect::{self, SOON};
use super::look;
use super::run::Run;
use super::step::{BROKEN_FOR_CERTAIN, Miss, Stage, poll};
use super::store;
use super::traffic::Tasks;
use crate::record::{StepResult, What, micros};
use crate::scenario::plan::CLOSING;

/// After one closing step failed, the others only look: waiting would not help any more. A look itself may take its
/// time on a slow machine.
const SHORT: Duration = Duration::from_secs(60);

/// The longest wait of a closing step on machines however slow: recoveries were seen to take a minute under emulation,
/// and a cluster that stands still for this long does not recover.
const PATIENCE: Duration = Duration::from_secs(8 * 60);

/// With a machine gone that no fault took away, each closing step looks once and waits for nothing.
const FALLEN: Duration = Duration::from_secs(2);

/// Closes a run and says whether the cluster is healthy at its end. `first` is the position of the first closing step,
/// `promised` the time in which the databases must converge.
pub(super) async fn close(
    stage: &mut Stage,
    first: usize,
    promised: Option<Duration>,
    mut traffic: Tasks,
    stop: &CancellationToken,
) -> bool {
    let mut hopeless = false;
    let mut healthy = false;
    let mut quiet_since = Instant::now();
    for (number, (kind, title, seconds)) in CLOSING.iter().enumerate() {
        let longest = if hopeless { SHORT } else { PATIENCE };
        let mut within = stage.run.stretch(Duration::from_secs(*seconds)).min(longest);
        if let Some(promised) = promised.filter(|_| *kind == "final-convergence") {
            within = within.min(promised * BROKEN_FOR_CERTAIN);
        }
        if stage.fallen().is_some() {
            within = within.min(FALLEN);
        }
        stage.begin(first + number, kind, title);
        let began = Instant::now();
        let until = began + within;
        let result = match *kind {
            "final-heal" => {
                let result = heal_all(stage, &mut traffic, stop, within).await;
                quiet_since = Instant::now();
                result
            }
            "final-health" => expect::healthy_by(&stage.run, until).await,
            "final-convergence" => converge(&stage.run, until, quiet_since).await,
            "final-queues" => drain(&stage.run, &mut traffic, until).await,
            _ => look::everywhere(&stage.run, until).await,
        };
        let result = match (result, stage.fallen()) {
            (StepResult::Broken { .. }, Some(detail)) => StepResult::Inconclusive { detail },
            (result, _) => result,
        };
        healthy |= *kind == "final-health" && matches!(result, StepResult::Held { .. });
        hopeless |= matches!(result, StepResult::Broken { .. });
        stage.end(first + number, result, began.elapsed());
    }
    healthy
}

async fn heal_all(stage: &mut Stage, traffic: &mut Tasks, stop: &CancellationToken, within: Duration) -> StepResult {
    stop.cancel();
    stage.run.recorder.record(What::TrafficEnd);
    traffic.join().await;
    let mut unhealed = Vec::new();
    let mut healed = 0;
    while let Some(fault) = stage.broken.last().cloned() {
        match stage.heal(&fault, within).await {
            StepResult::Held { .. } => healed += 1,
            StepResult::Broken { detail } | StepResult::Inconclusive { detail } => {
                stage.broken.pop();
                unhealed.push(detail);
            }
        }
    }
    match (unhealed.is_empty(), healed) {
        (true, 0) => StepResult::Held {
            detail: "nothing was broken any more".into(),
        },
        (true, _) => StepResult::Held {
            detail: format!("{healed} healed"),
        },
        (false, _) => StepResult::Inconclusive {
            detail: unhealed.join("; "),
        },
    }
}

/// The foreign server's queue and every node's queue; then the copy of the mail store has to have what came out of them.
async fn drain(run: &Run, traffic: &mut Tasks, until: Instant) -> StepResult {
    let drained = poll(run, until, SOON, async || match run.sender.len() {
        0 => {
            let empty = expect::mail::queues_empty(run, None).await?;
            store::in_step_if_any(run).await.map(|_| empty)
        }
        waiting => {
            let reason = format!("{waiting} messages still wait at the foreign server");
            Err(Miss::NotYet(reason))
        }
    })
    .await;
    traffic.end_retries().await;
    drained
}

/// How long it takes is counted from the moment at which both the last fault was healed and traffic had ended: while
/// rows come in the nodes are never equal.
async fn converge(run: &Run, until: Instant, quiet_since: Instant) -> StepResult {
    let converged = poll(run, until, SOON, async || {
        expect::replication_running(run).await?;
        expect::converged(run).await
    })
    .await;
    let after = micros(quiet_since.elapsed());
    match &converged {
        StepResult::Held { .. } => run.recorder.record(What::Converged { after }),
        StepResult::Broken { detail } | StepResult::Inconclusive { detail } => {
            let differs = detail.clone();
            run.recorder.record(What::NotConverged { after, differs })
        }
    };
    converged
}

//! What always happens after the steps: traffic stops, faults are healed, the cluster gets time to recover, queues drain,
//! databases converge, and every mailbox and database is looked into for the oracles.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::expect::{self, SOON};
use super::run::Run;
use super::step::{Miss, Stage, poll};
use super::traffic::Tasks;
use crate::fleet::Role;
use crate::record::{StepResult, What, micros};
use crate::scenario::plan::CLOSING;

/// After one closing step failed, the others only look: waiting would not help any more.
const SHORT: u64 = 30;

/// Closes a run and says whether the cluster is healthy at its end. `first` is the position of the first closing step.
pub(super) async fn close(stage: &mut Stage, first: usize, mut traffic: Tasks, stop: &CancellationToken) -> bool {
    let ended_at = Instant::now();
    let mut hopeless = false;
    let mut healthy = false;
    for (number, (kind, title, seconds)) in CLOSING.iter().enumerate() {
        let seconds = if hopeless && number != 4 { SHORT } else { *seconds };
        let within = stage.run.stretch(Duration::from_secs(seconds));
        stage.begin(first + number, kind, title);
        let began = Instant::now();
        let until = began + within;
        let result = match number {
            0 => heal_all(stage, &mut traffic, stop, within).await,
            1 => {
                poll(until, Duration::from_secs(1), async || {
                    expect::healthy(&stage.run).await
                })
                .await
            }
            2 => drain(stage, &mut traffic, until).await,
            3 => converge(stage, until, ended_at).await,
            _ => inspect(&stage.run, until).await,
        };
        let held = matches!(result, StepResult::Held { .. });
        healthy = if number == 1 { held } else { healthy };
        hopeless |= !held;
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

/// The foreign server's queue and every node's queue.
async fn drain(stage: &Stage, traffic: &mut Tasks, until: Instant) -> StepResult {
    let run = &stage.run;
    let drained = poll(until, SOON, async || match run.sender.len() {
        0 => expect::mail::queues_empty(run, None).await,
        waiting => Err(Miss::NotYet(format!(
            "{waiting} messages still wait at the foreign server"
        ))),
    })
    .await;
    traffic.end_retries().await;
    drained
}

async fn converge(stage: &Stage, until: Instant, ended_at: Instant) -> StepResult {
    let run = &stage.run;
    let converged = poll(until, SOON, async || {
        expect::replication_running(run).await?;
        expect::converged(run).await
    })
    .await;
    // While traffic runs the nodes are never equal for long, so a healing before its end cannot be timed alone.
    let since = stage.healed_at.map_or(ended_at, |healed_at| healed_at.max(ended_at));
    let after = micros(since.elapsed());
    run.recorder.record(match &converged {
        StepResult::Held { .. } => What::Converged { after },
        StepResult::Broken { detail } | StepResult::Inconclusive { detail } => What::NotConverged {
            after,
            differs: detail.clone(),
        },
    });
    converged
}

/// Looks into everything once; what cannot be read now is tried again until the deadline.
async fn inspect(run: &Run, until: Instant) -> StepResult {
    let nodes: Vec<String> = run
        .topology
        .of_role(Role::Mail)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut unread = Vec::new();
    let (mut mails, mut rows) = (0, 0);
    for node in &nodes {
        for user in &run.topology.users {
            match read(until, async || mailbox(run, node, user).await).await {
                Ok(count) => mails += count,
                Err(reason) => unread.push(reason),
            }
        }
        for database in &run.topology.databases {
            match read(until, async || tables(run, node, database).await).await {
                Ok(count) => rows += count,
                Err(reason) => unread.push(reason),
            }
        }
        if let Err(reason) = read(until, async || replication(run, node).await).await {
            unread.push(reason);
        }
    }
    if unread.is_empty() {
        StepResult::Held {
            detail: format!("{mails} messages and {rows} rows of this run seen"),
        }
    } else {
        StepResult::Inconclusive {
            detail: unread.join("; "),
        }
    }
}

/// Reads something, again and again until it can be read or the time is over.
async fn read(until: Instant, mut attempt: impl AsyncFnMut() -> Result<usize, Miss>) -> Result<usize, String> {
    let mut count = 0;
    let result = poll(until, SOON, async || {
        count = attempt().await?;
        Ok(String::new())
    })
    .await;
    match result {
        StepResult::Held { .. } => Ok(count),
        StepResult::Broken { detail } | StepResult::Inconclusive { detail } => Err(detail),
    }
}

async fn mailbox(run: &Run, node: &str, user: &str) -> Result<usize, Miss> {
    let deadline = run.stretch(Duration::from_secs(30));
    let found = run
        .fleet
        .imap_list(node, user, deadline)
        .await
        .map_err(|error| Miss::NotYet(error.to_string()))?;
    let mails: Vec<String> = found.into_iter().map(|mail| mail.id).collect();
    let count = mails.iter().filter(|id| run.is_ours(id)).count();
    run.recorder.record(What::Mailbox {
        node: node.to_owned(),
        user: user.to_owned(),
        mails,
    });
    Ok(count)
}

async fn tables(run: &Run, node: &str, database: &str) -> Result<usize, Miss> {
    let broken = |error: crate::fleet::FleetError| Miss::NotYet(error.to_string());
    let rows = run.fleet.sql_rows(node, database).await.map_err(broken)?;
    let checksums = run.fleet.checksums(node, database).await.map_err(broken)?;
    let count = rows.iter().filter(|row| run.is_ours(row)).count();
    let (node, database) = (node.to_owned(), database.to_owned());
    run.recorder.record(What::Rows {
        node: node.clone(),
        database: database.clone(),
        rows,
    });
    for (table, checksum) in checksums {
        run.recorder.record(What::Checksum {
            node: node.clone(),
            database: database.clone(),
            table,
            checksum,
        });
    }
    Ok(count)
}

async fn replication(run: &Run, node: &str) -> Result<usize, Miss> {
    let status = run
        .fleet
        .replication_status(node)
        .await
        .map_err(|error| Miss::NotYet(error.to_string()))?;
    run.recorder.record(What::Replication {
        node: node.to_owned(),
        io_running: status.io_running,
        sql_running: status.sql_running,
        error: status.error,
    });
    Ok(0)
}

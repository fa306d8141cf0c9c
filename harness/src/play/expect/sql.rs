//! Databases: acknowledged rows, their way to the peer, running threads, equal tables.

use std::collections::BTreeSet;

use futures::future::join_all;
use tokio::time::Instant;

use super::{SOON, deadline, served};
use crate::fleet::{ReplicationStatus, Role};
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::record::{Outcome, StepResult};

pub(super) async fn write(run: &Run, node: &str, databases: &[String], until: Instant) -> StepResult {
    let databases = run.databases_or_all(databases);
    for database in databases {
        let written = poll(run, until, SOON, async || {
            let (_, outcome) = run.insert(node, database, deadline(run, until)).await;
            served(outcome, None).map_err(|miss| in_database(miss, database))
        })
        .await;
        if !matches!(written, StepResult::Held { .. }) {
            return written;
        }
    }
    StepResult::Held {
        detail: format!("acknowledged in {}", databases.join(", ")),
    }
}

fn in_database(miss: Miss, database: &str) -> Miss {
    match miss {
        Miss::NotYet(reason) => Miss::NotYet(format!("{database}: {reason}")),
        Miss::Wrong(reason) => Miss::Wrong(format!("{database}: {reason}")),
    }
}

/// Rows that were acknowledged and that other nodes must see.
#[derive(Default)]
struct Written {
    rows: Vec<Row>,
}

struct Row {
    from: String,
    database: String,
    mark: String,
}

/// Writes on one node, or on all mail nodes at the same moment, and waits until every other mail node has the rows.
pub(super) async fn row_replicated(
    run: &Run,
    from: Option<&str>,
    databases: &[String],
    rows: u32,
    until: Instant,
) -> StepResult {
    let nodes = run.topology.of_role(Role::Mail);
    let writers = from.map_or_else(|| nodes.clone(), |node| vec![node]);
    let mut written = Written::default();
    for database in run.databases_or_all(databases) {
        for _ in 0..rows {
            let inserts = writers.iter().map(|node| insert(run, node, database, until));
            for row in join_all(inserts).await {
                match row {
                    Ok(row) => written.rows.push(row),
                    Err(result) => return result,
                }
            }
        }
    }
    let total = written.rows.len();
    poll(run, until, SOON, async || {
        let missing = missing(run, &nodes, &written).await?;
        match missing.first() {
            None => Ok(format!("{total} rows crossed")),
            Some(first) => {
                refused(run).await?;
                Err(Miss::NotYet(format!(
                    "{} of {total} rows are missing: {first}",
                    missing.len()
                )))
            }
        }
    })
    .await
}

async fn insert(run: &Run, node: &str, database: &str, until: Instant) -> Result<Row, StepResult> {
    let mut mark = String::new();
    let inserted = poll(run, until, SOON, async || {
        let (row, outcome) = run.insert(node, database, deadline(run, until)).await;
        mark = row;
        match outcome {
            Outcome::Ok { .. } => Ok(String::new()),
            Outcome::Fail { reason } | Outcome::Unknown { reason } => Err(Miss::NotYet(format!(
                "{node} does not acknowledge a row in {database}: {reason}"
            ))),
        }
    })
    .await;
    match inserted {
        StepResult::Held { .. } => Ok(Row {
            from: node.to_owned(),
            database: database.to_owned(),
            mark,
        }),
        other => Err(other),
    }
}

async fn missing(run: &Run, nodes: &[&str], written: &Written) -> Result<Vec<String>, Miss> {
    let databases: BTreeSet<&str> = written.rows.iter().map(|row| row.database.as_str()).collect();
    let mut missing = Vec::new();
    for node in nodes {
        for database in &databases {
            let wanted: Vec<&Row> = written
                .rows
                .iter()
                .filter(|row| row.database == *database && row.from != *node)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let rows = run
                .fleet
                .sql_rows(node, database)
                .await
                .map_err(|error| Miss::NotYet(error.to_string()))?;
            let seen: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
            let absent = wanted.iter().filter(|row| !seen.contains(row.mark.as_str()));
            missing.extend(absent.map(|row| format!("{} of {} in {database} is not on {node}", row.mark, row.from)));
        }
    }
    Ok(missing)
}

/// Ends a wait for replication that nobody but an operator can start again: on a node the SQL thread stands at an event that
/// it could not apply. Nodes that do not answer may still come back.
pub(super) async fn refused(run: &Run) -> Result<(), Miss> {
    for node in run.topology.of_role(Role::Mail) {
        if let Ok(status) = run.fleet.replication_status(node).await {
            goes_on(node, &status)?;
        }
    }
    Ok(())
}

fn goes_on(node: &str, status: &ReplicationStatus) -> Result<(), Miss> {
    if !status.refused {
        return Ok(());
    }
    Err(Miss::Wrong(format!(
        "replication stands on {node}, and does not go on by itself: {}",
        status.error
    )))
}

/// Both threads of every mail node run.
pub(in crate::play) async fn replication_running(run: &Run) -> Result<String, Miss> {
    let mut still = Vec::new();
    for node in run.topology.of_role(Role::Mail) {
        let status = run
            .fleet
            .replication_status(node)
            .await
            .map_err(|error| Miss::NotYet(error.to_string()))?;
        goes_on(node, &status)?;
        for (runs, thread) in [(status.io_running, "IO"), (status.sql_running, "SQL")] {
            if !runs {
                still.push(format!("the {thread} thread of {node} does not run: {}", status.error));
            }
        }
    }
    if still.is_empty() {
        Ok("IO and SQL threads run on both nodes".into())
    } else {
        Err(Miss::NotYet(still.join("; ")))
    }
}

/// Every table of every replicated database has the same checksum on all mail nodes.
pub(in crate::play) async fn converged(run: &Run) -> Result<String, Miss> {
    let nodes = run.topology.of_role(Role::Mail);
    let mut tables = 0;
    for database in &run.topology.databases {
        let mut sums = Vec::new();
        for node in &nodes {
            let mut sum = run
                .fleet
                .checksums(node, database)
                .await
                .map_err(|error| Miss::NotYet(error.to_string()))?;
            sum.sort();
            sums.push(sum);
        }
        let Some((first, others)) = sums.split_first() else {
            continue;
        };
        tables += first.len();
        for (other, node) in others.iter().zip(nodes.iter().skip(1)) {
            if let Some(table) = difference(first, other) {
                return Err(Miss::NotYet(format!(
                    "{database}.{table} differs between {} and {node}",
                    nodes[0]
                )));
            }
        }
    }
    if tables == 0 {
        return Err(Miss::NotYet("no table was seen".into()));
    }
    Ok(format!("{tables} tables are equal"))
}

/// The first table that is not the same in both lists.
fn difference(left: &[(String, String)], right: &[(String, String)]) -> Option<String> {
    let one_sided = |a: &[(String, String)], b: &[(String, String)]| {
        a.iter()
            .find(|entry| !b.contains(entry))
            .map(|(table, _)| table.clone())
    };
    one_sided(left, right).or_else(|| one_sided(right, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, sum: &str) -> (String, String) {
        (name.to_owned(), sum.to_owned())
    }

    #[test]
    fn equal_lists_have_no_difference() {
        assert_eq!(difference(&[table("users", "1")], &[table("users", "1")]), None);
    }

    #[test]
    fn a_table_that_only_the_second_node_has_is_a_difference() {
        assert_eq!(difference(&[], &[table("mailbox", "7")]), Some("mailbox".into()));
    }

    #[test]
    fn another_checksum_is_a_difference() {
        assert_eq!(
            difference(&[table("users", "1")], &[table("users", "2")]),
            Some("users".into())
        );
    }
}

//! The last look into every mailbox and every database, which the oracles judge.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::expect::SOON;
use super::run::Run;
use super::step::{Miss, poll};
use super::store;
use crate::fleet::store::{Writer, writer};
use crate::fleet::{Delivery, FleetError, Role};
use crate::record::{StepResult, What};

/// How long tables may differ because one node was read a moment before the other: traffic has ended by then.
const SETTLE: Duration = Duration::from_secs(10);

/// Looks into everything; what cannot be read now is tried again until the deadline. Mailboxes come first, since reading
/// mail may leave traces in databases.
pub(super) async fn everywhere(run: &Run, until: Instant) -> StepResult {
    let nodes = run.topology.of_role(Role::Mail);
    let mut unread = Vec::new();
    let (mut mails, mut rows) = (0, 0);
    let mut count = |total: &mut usize, seen: Result<usize, String>| match seen {
        Ok(seen) => *total += seen,
        Err(reason) => unread.push(reason),
    };
    run.recorder.record(What::LastLook);
    for user in &run.topology.users {
        if run.topology.delivery == Delivery::Store {
            let seen = read(run, until, async || stored(run, user).await).await;
            count(&mut mails, seen);
            continue;
        }
        for node in &nodes {
            count(
                &mut mails,
                read(run, until, async || mailbox(run, node, user).await).await,
            );
        }
    }
    for database in &run.topology.databases {
        count(
            &mut rows,
            read(run, until, async || tables(run, &nodes, database).await).await,
        );
    }
    for node in &nodes {
        count(&mut rows, read(run, until, async || threads(run, node).await).await);
    }
    if unread.is_empty() {
        let detail = format!("{mails} messages and {rows} rows of this run seen");
        StepResult::Held { detail }
    } else {
        let detail = unread.join("; ");
        StepResult::Inconclusive { detail }
    }
}

/// Reads something, again and again until it can be read or the time is over.
async fn read(
    run: &Run,
    until: Instant,
    mut attempt: impl AsyncFnMut() -> Result<usize, Miss>,
) -> Result<usize, String> {
    let mut count = 0;
    let result = poll(run, until, SOON, async || {
        count = attempt().await?;
        Ok(String::new())
    })
    .await;
    match result {
        StepResult::Held { .. } => Ok(count),
        StepResult::Broken { detail } | StepResult::Inconclusive { detail } => Err(detail),
    }
}

fn unanswered(error: FleetError) -> Miss {
    Miss::NotYet(error.to_string())
}

async fn mailbox(run: &Run, node: &str, user: &str) -> Result<usize, Miss> {
    let deadline = run.stretch(Duration::from_secs(30));
    let found = run.fleet.imap_list(node, user, deadline).await.map_err(unanswered)?;
    let mails: Vec<String> = found.into_iter().map(|mail| mail.id).collect();
    let count = mails.iter().filter(|id| run.is_ours(id)).count();
    let (node, user) = (node.to_owned(), user.to_owned());
    run.recorder.record(What::Mailbox { node, user, mails });
    Ok(count)
}

/// All folders of an account on the writer, and what the other node has of them on its disk.
async fn stored(run: &Run, user: &str) -> Result<usize, Miss> {
    let seen = store::statuses(run).await;
    let Writer::One(node) = writer(&seen) else {
        let words = crate::fleet::store::in_words(&seen);
        return Err(Miss::NotYet(format!(
            "there is not one writer to be looked into: {words}"
        )));
    };
    let folders = store::folders(run, node, user).await.map_err(unanswered)?;
    let mails: Vec<String> = folders.into_iter().flat_map(|(_, ids)| ids).collect();
    let count = mails.iter().filter(|id| run.is_ours(id)).count();
    run.recorder.record(What::Mailbox {
        node: node.to_owned(),
        user: user.to_owned(),
        mails,
    });
    for other in run
        .topology
        .of_role(Role::Mail)
        .into_iter()
        .filter(|other| *other != node)
    {
        let mails = run.fleet.store_copy(other, user).await.map_err(unanswered)?;
        run.recorder.record(What::Copy {
            node: other.to_owned(),
            user: user.to_owned(),
            mails,
        });
    }
    Ok(count)
}

/// One database on one node.
struct Content {
    rows: Vec<String>,
    checksums: Vec<(String, String)>,
}

/// Reads a database on all nodes until they agree or have had their time, and records what was seen last.
async fn tables(run: &Run, nodes: &[&str], database: &str) -> Result<usize, Miss> {
    let until = Instant::now() + SETTLE;
    let contents = loop {
        let mut contents = Vec::new();
        for node in nodes {
            let rows = run.fleet.sql_rows(node, database).await.map_err(unanswered)?;
            let mut checksums = run.fleet.checksums(node, database).await.map_err(unanswered)?;
            checksums.sort();
            contents.push(Content { rows, checksums });
        }
        let agree = contents.windows(2).all(|pair| pair[0].checksums == pair[1].checksums);
        if agree || Instant::now() >= until {
            break contents;
        }
        sleep(SOON).await;
    };
    let mut count = 0;
    for (node, content) in nodes.iter().zip(contents) {
        count += content.rows.iter().filter(|row| run.is_ours(row)).count();
        let (node, database) = ((*node).to_owned(), database.to_owned());
        let rows = content.rows;
        run.recorder.record(What::Rows {
            node: node.clone(),
            database: database.clone(),
            rows,
        });
        for (table, checksum) in content.checksums {
            let (node, database) = (node.clone(), database.clone());
            run.recorder.record(What::Checksum {
                node,
                database,
                table,
                checksum,
            });
        }
    }
    Ok(count)
}

async fn threads(run: &Run, node: &str) -> Result<usize, Miss> {
    let status = run.fleet.replication_status(node).await.map_err(unanswered)?;
    run.recorder.record(What::Replication {
        node: node.to_owned(),
        io_running: status.io_running,
        sql_running: status.sql_running,
        error: status.error,
    });
    Ok(0)
}

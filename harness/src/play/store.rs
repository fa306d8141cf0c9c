//! The mail store while a scenario plays: who is the writer, whether the copy is in step, what lies where.

use std::time::Duration;

use futures::future::join_all;
use generator::spec::Engine;
use tokio::time::Instant;

use super::run::Run;
use super::step::{Miss, poll};
use crate::fleet::store::{self, Statuses, Writer};
use crate::fleet::{Delivery, FleetError, Role, StoreRole};
use crate::record::{StepResult, What};
use crate::scenario::model::{RoleChange, RoleStep};

/// Time between two questions to the agents.
const PAUSE: Duration = Duration::from_millis(300);

/// How long one session of a mail program's kind may take for one call, before it is stretched.
const CALL: Duration = Duration::from_secs(20);

/// What every agent says now; recorded.
pub(super) async fn statuses(run: &Run) -> Statuses {
    let nodes = run.topology.of_role(Role::Mail);
    let answers = join_all(nodes.iter().map(|node| run.fleet.store_status(node))).await;
    let seen = nodes.into_iter().zip(answers).map(|(node, answer)| {
        if let Ok(status) = &answer {
            run.recorder.record(What::Store {
                node: node.to_owned(),
                status: status.clone(),
            });
        }
        (node.to_owned(), answer.map_err(|error| error.reason))
    });
    seen.collect()
}

/// One node is the writer, and it is this one if one is named; the other ones that answer have closed doors.
pub(super) async fn writer_is(run: &Run, wanted: Option<&str>) -> Result<String, Miss> {
    let seen = statuses(run).await;
    let words = store::in_words(&seen);
    match (store::writer(&seen), wanted) {
        (Writer::One(node), Some(wanted)) if node != wanted => Err(Miss::NotYet(format!(
            "{node} is the writer where {wanted} is expected ({words})"
        ))),
        (Writer::One(node), _) => Ok(format!("{node} is the writer ({words})")),
        // A role may have moved between the two questions: whether it did, the record shows.
        (Writer::Several(nodes), _) => Err(Miss::NotYet(format!("{} are writers ({words})", nodes.join(" and ")))),
        (Writer::Nobody, _) => Err(Miss::NotYet(format!("nobody is the writer ({words})"))),
    }
}

/// The other node has everything that the writer has.
pub(super) async fn in_step(run: &Run) -> Result<String, Miss> {
    let seen = statuses(run).await;
    let whole = seen
        .iter()
        .find_map(|(node, status)| status.as_ref().ok().filter(|status| status.in_step()).map(|_| node));
    let doubt = seen.iter().find_map(|(node, status)| {
        let status = status.as_ref().ok().filter(|status| status.serves())?;
        let peer = status.peer.as_deref().unwrap_or("away");
        Some(format!(
            "the peer of {node} is {peer} and has snapshot {:?} of {:?}, tails to be merged: {}; {}",
            status.peer_newest, status.newest, status.unmerged, status.doing
        ))
    });
    match whole {
        Some(node) => Ok(format!("the other node has everything that {node} has")),
        None => Err(Miss::NotYet(doubt.unwrap_or_else(|| store::in_words(&seen)))),
    }
}

/// In a cluster without a store there is nothing to be in step.
pub(super) async fn in_step_if_any(run: &Run) -> Result<String, Miss> {
    match run.topology.delivery {
        Delivery::PerNode => Ok("there is no mail store".into()),
        Delivery::Store => in_step(run).await,
    }
}

/// Changes a role through the agents, and waits until it is so.
pub(super) async fn change_role(run: &Run, step: &RoleStep, until: Instant) -> StepResult {
    let left = || {
        until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_secs(1))
    };
    let nodes = run.topology.of_role(Role::Mail);
    let other = nodes.iter().find(|node| **node != step.node);
    let mut orders = Vec::new();
    match (step.role, other) {
        _ if run.topology.engine == Engine::Pacemaker => {
            return moved(run, step, until, left()).await;
        }
        (RoleChange::Promote, _) => orders.push((step.node.as_str(), StoreRole::Promote)),
        (RoleChange::Demote, _) => orders.push((step.node.as_str(), StoreRole::Demote)),
        (RoleChange::SwitchOver, Some(other)) => {
            orders.push((*other, StoreRole::Demote));
            orders.push((step.node.as_str(), StoreRole::Promote));
        }
        (RoleChange::SwitchOver, None) => {
            let detail = "there is no other mail node".to_owned();
            return StepResult::Broken { detail };
        }
    }
    let mut said = Vec::new();
    for (node, role) in orders {
        match run.fleet.store_role(node, role, left()).await {
            Ok(text) => said.push(format!("{node}: {text}")),
            Err(error) => {
                return StepResult::Broken {
                    detail: error.to_string(),
                };
            }
        }
    }
    until_so(run, step, until, &said.join("; ")).await
}

/// Where an engine decides, it is asked, and what it makes of that is waited for.
async fn moved(run: &Run, step: &RoleStep, until: Instant, limit: Duration) -> StepResult {
    if step.role != RoleChange::SwitchOver {
        let detail =
            "pacemaker decides who is the writer; it can be asked to move the role: role = \"switch-over\"".to_owned();
        return StepResult::Broken { detail };
    }
    match run.fleet.store_move(&step.node, limit).await {
        Ok(said) => until_so(run, step, until, &format!("{}: {said}", step.node)).await,
        Err(error) => StepResult::Broken {
            detail: error.to_string(),
        },
    }
}

async fn until_so(run: &Run, step: &RoleStep, until: Instant, said: &str) -> StepResult {
    let node = &step.node;
    poll(run, until, PAUSE, async || {
        let seen = statuses(run).await;
        let is_writer = store::writer(&seen) == Writer::One(node);
        let closed = seen
            .iter()
            .any(|(name, status)| name == node && status.as_ref().is_ok_and(|status| status.doors == "closed"));
        match step.role {
            RoleChange::Demote if closed => Ok(said.to_owned()),
            RoleChange::Promote | RoleChange::SwitchOver if is_writer => Ok(said.to_owned()),
            _ => Err(Miss::NotYet(store::in_words(&seen))),
        }
    })
    .await
}

/// Ids of all messages of an account on a node: in a store those of every folder, since mail programs move them.
pub(super) async fn ids(run: &Run, node: &str, user: &str, deadline: Duration) -> Result<Vec<String>, FleetError> {
    if !run.topology.has_store() {
        let found = run.fleet.imap_list(node, user, deadline).await?;
        return Ok(found.into_iter().map(|mail| mail.id).collect());
    }
    let looks = folders(run, node, user).await?;
    Ok(looks.into_iter().flat_map(|(_, mails)| mails).collect())
}

/// Every folder of an account with the ids of its messages; recorded.
pub(super) async fn folders(run: &Run, node: &str, user: &str) -> Result<Vec<(String, Vec<String>)>, FleetError> {
    let failed = |what: &str, reason: String| FleetError {
        node: node.to_owned(),
        what: what.to_owned(),
        reason,
    };
    let mut session = run.fleet.imap_open(node, user, run.stretch(CALL)).await?;
    let names = session
        .folders()
        .await
        .map_err(|error| failed("list the folders", error.to_string()))?;
    let mut all = Vec::new();
    for folder in names {
        let look = session.look(&folder, 1).await;
        let look = look.map_err(|error| failed(&format!("look into {folder}"), error.to_string()))?;
        all.push((folder.clone(), look.mails.iter().map(|mail| mail.id.clone()).collect()));
        run.recorder.record(super::program::seen(node, user, &folder, 1, &look));
    }
    // Everything was read; how the connection ends makes no difference.
    let _ = session.close().await;
    Ok(all)
}

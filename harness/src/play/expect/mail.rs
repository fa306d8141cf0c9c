//! Mail: acceptance, delivery into mailboxes, queues, bounces.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{SOON, deadline, served};
use crate::fleet::{Mail, Role};
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::play::store;
use crate::record::{Outcome, StepResult, What};

/// Size of a message that a step sends.
pub(super) const BODY: usize = 2048;
/// Time between two looks into mailboxes.
const MAILBOX: Duration = Duration::from_secs(1);

pub(super) async fn accepted(run: &Run, to: &Option<String>, by: Option<&str>, until: Instant) -> StepResult {
    let to = run.user_or_first(to);
    let mut mail = run.compose(to, BODY);
    poll(run, until, SOON, async || hand_over(run, &mut mail, by, until).await).await
}

/// One attempt. A message that may have been taken is not sent again: the next attempt uses another one.
async fn hand_over(run: &Run, mail: &mut Mail, by: Option<&str>, until: Instant) -> Result<String, Miss> {
    let outcome = run.send(mail, deadline(run, until)).await;
    if !matches!(outcome, Outcome::Fail { .. }) {
        let sent = mail.id.clone();
        *mail = run.compose(&mail.to, BODY);
        return served(outcome, by).map(|detail| format!("{sent} {detail}"));
    }
    served(outcome, by)
}

pub(super) async fn delivered(run: &Run, to: &Option<String>, on: Option<&str>, until: Instant) -> StepResult {
    let to = run.user_or_first(to);
    let mut mail = run.compose(to, BODY);
    let mut sent = String::new();
    let accepted = poll(run, until, SOON, async || {
        let id = mail.id.clone();
        let detail = hand_over(run, &mut mail, None, until).await?;
        sent = id;
        Ok(detail)
    })
    .await;
    if !matches!(accepted, StepResult::Held { .. }) {
        return accepted;
    }
    poll(run, until, MAILBOX, async || {
        let nodes = on.map_or_else(|| run.topology.of_role(Role::Mail), |node| vec![node]);
        let (found, troubles) = find(run, &nodes, to, until).await;
        match found.get(&sent) {
            Some(node) => Ok(format!("{sent} lies in the mailbox on {node}")),
            None => Err(Miss::NotYet(missing(
                &format!("{sent} is in no mailbox on {}", nodes.join(" or ")),
                &troubles,
            ))),
        }
    })
    .await
}

pub(super) async fn all_delivered(run: &Run, until: Instant) -> StepResult {
    let mut missing_mail = run.accepted();
    let total = missing_mail.len();
    let nodes = run.topology.of_role(Role::Mail);
    poll(run, until, MAILBOX, async || {
        // What a mail program removed meanwhile need not be found.
        let still = run.accepted();
        missing_mail.retain(|id, _| still.contains_key(id));
        let users: BTreeSet<String> = missing_mail.values().cloned().collect();
        let mut troubles = Vec::new();
        for user in users {
            let (found, trouble) = find(run, &nodes, &user, until).await;
            missing_mail.retain(|id, to| *to != user || !found.contains_key(id));
            troubles.extend(trouble);
        }
        match missing_mail.keys().next() {
            None => Ok(format!("{total} of {total} accepted messages found")),
            Some(first) => {
                let count = missing_mail.len();
                let what = format!("{count} of {total} accepted messages are in no mailbox, {first} is the first");
                Err(Miss::NotYet(missing(&what, &troubles)))
            }
        }
    })
    .await
}

/// What lies in a user's mailbox on any of some nodes: id to node; and the nodes that did not answer.
pub(super) async fn find(
    run: &Run,
    nodes: &[&str],
    user: &str,
    until: Instant,
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut found = BTreeMap::new();
    let mut troubles = Vec::new();
    let dead = run.fleet.without_power();
    for node in nodes {
        if let Some((_, how)) = dead.iter().find(|(dead, _)| dead == node) {
            // Nobody would refuse the connection: it would be waited for until its limit.
            troubles.push(format!("{node}: {how}"));
            continue;
        }
        match store::ids(run, node, user, deadline(run, until)).await {
            Ok(ids) => found.extend(ids.into_iter().map(|id| (id, (*node).to_owned()))),
            Err(error) => troubles.push(error.to_string()),
        }
    }
    (found, troubles)
}

pub(super) fn missing(what: &str, troubles: &[String]) -> String {
    if troubles.is_empty() {
        what.to_owned()
    } else {
        // Each user's look may have met the same.
        let told: BTreeSet<&str> = troubles.iter().map(String::as_str).collect();
        format!("{what} ({})", told.into_iter().collect::<Vec<_>>().join("; "))
    }
}

pub(super) async fn queue_holds(run: &Run, node: Option<&str>, at_least: u32, until: Instant) -> StepResult {
    let gateways = run.topology.of_role(Role::Gateway);
    let Some(node) = node.or(gateways.first().copied()) else {
        return StepResult::Broken {
            detail: "there is no gateway".into(),
        };
    };
    poll(run, until, SOON, async || {
        let waiting = look(run, node).await?;
        let seen = format!("{} messages wait on {node}", waiting.len());
        let enough = u32::try_from(waiting.len()).unwrap_or(u32::MAX) >= at_least;
        if enough {
            Ok(seen)
        } else {
            Err(Miss::NotYet(format!("{seen}, at least {at_least} expected")))
        }
    })
    .await
}

pub(super) async fn queue_empty(run: &Run, node: Option<&str>, until: Instant) -> StepResult {
    poll(run, until, SOON, async || queues_empty(run, node).await).await
}

/// No mail waits on a node, or on any.
pub(in crate::play) async fn queues_empty(run: &Run, node: Option<&str>) -> Result<String, Miss> {
    let nodes = node.map_or_else(|| run.topology.queueing(), |node| vec![node]);
    let mut full = Vec::new();
    for node in nodes {
        let waiting = look(run, node).await?;
        if !waiting.is_empty() {
            full.push(format!("{} wait on {node}", waiting.len()));
        }
    }
    if full.is_empty() {
        Ok("no mail waits".into())
    } else {
        Err(Miss::NotYet(full.join(", ")))
    }
}

/// Looks into a queue and records what is seen.
async fn look(run: &Run, node: &str) -> Result<Vec<String>, Miss> {
    let waiting = run
        .fleet
        .queue(node)
        .await
        .map_err(|error| Miss::NotYet(error.to_string()))?;
    run.recorder.record(What::Queue {
        node: node.to_owned(),
        waiting: waiting.clone(),
    });
    Ok(waiting)
}

/// Every host is asked: its log for bounces, its queue for notices to the foreign sender. One that does not answer at the
/// moment is asked again until it does.
pub(super) async fn nothing_bounced(run: &Run, until: Instant) -> StepResult {
    let hosts = run.topology.queueing();
    poll(run, until, SOON, async || {
        for host in &hosts {
            if let Some(line) = run.bounces(host).await.map_err(Miss::NotYet)?.first() {
                return Err(Miss::Wrong(format!("{host} bounced mail: {line}")));
            }
            if let Some(notice) = look(run, host).await?.iter().find(|to| run.is_sender(to)) {
                return Err(Miss::Wrong(format!("a notice to the sender {notice} waits on {host}")));
            }
        }
        Ok(format!("no trace of a bounce on {}", hosts.join(", ")))
    })
    .await
}

//! Follows accepted messages to the copy of the mail store, one at a time: how long after its 250 does a message lie on the
//! other node's disk? What waits there is one command; it is told to begin after the 250, so a message that lies there at
//! its first look may have come at any moment since, and one that comes later is known between two moments.

use std::time::Duration;

use tokio::sync::Mutex;

use super::run::Run;
use super::store::statuses;
use crate::fleet::Mail;
use crate::fleet::store::{Statuses, StoreStatus, Writer, writer};
use crate::record::{What, micros};

/// How long a message is waited for, before it is stretched.
const PATIENCE: Duration = Duration::from_secs(30);

/// On machines however slow: traffic ends only with the last message that is followed.
const LONGEST: Duration = Duration::from_secs(120);

/// Who has the copy, as far as was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    node: String,
    epoch: u64,
}

/// At most one message is followed at a time.
#[derive(Default)]
pub(super) struct Sampler {
    copy: Mutex<Option<Copy>>,
    followed: std::sync::Mutex<Option<String>>,
}

impl Sampler {
    /// Whether a message is being followed; nobody may remove it meanwhile, since it would be waited for in vain.
    pub fn follows(&self, id: &str) -> bool {
        self.lock().as_deref() == Some(id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.followed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Follows a message that was just accepted, unless another one is being followed.
pub(super) async fn follow(run: &Run, mail: &Mail) {
    if !run.topology.has_store() {
        return;
    }
    let Ok(mut copy) = run.sampler.copy.try_lock() else {
        return;
    };
    let accepted = run.recorder.now();
    *run.sampler.lock() = Some(mail.id.clone());
    if copy.is_none() {
        *copy = copy_by(&statuses(run).await);
    }
    let Some(known) = copy.clone() else {
        return;
    };
    let patience = run.stretch(PATIENCE).min(LONGEST);
    let asked = run.recorder.now();
    let arrival = run.fleet.store_await(&known.node, &mail.to, &mail.id, patience).await;
    let latest = run.recorder.now();
    // A node that became the writer meanwhile has the message, but not as a copy.
    let after = copy_by(&statuses(run).await);
    let still = after.as_ref() == Some(&known);
    *copy = after;
    let mail = mail.id.clone();
    let node = known.node;
    match arrival {
        Ok(arrival) if still => {
            let earliest = if arrival.at_once {
                accepted
            } else {
                (asked + micros(arrival.after)).min(latest)
            };
            run.recorder.record(What::Copied {
                mail,
                node,
                earliest,
                latest,
            });
        }
        Ok(_) => run.note(format!("{mail} was followed to {node}, whose role changed meanwhile")),
        Err(error) => {
            let reason = error.reason;
            run.recorder.record(What::NotCopied { mail, node, reason });
        }
    }
}

/// The standby, if there is one beside one writer.
fn copy_by(seen: &Statuses) -> Option<Copy> {
    let Writer::One(serving) = writer(seen) else {
        return None;
    };
    let standby = |status: &StoreStatus| status.standing == "standby";
    let (node, _) = seen
        .iter()
        .find(|(node, status)| node != serving && status.as_ref().is_ok_and(standby))?;
    let (_, status) = seen.iter().find(|(node, _)| node == serving)?;
    let epoch = status.as_ref().ok()?.epoch;
    Some(Copy {
        node: node.clone(),
        epoch,
    })
}

//! Mail programs: a user's message goes in through the load balancer and lies in a mailbox, or leaves the cluster signed.

use std::time::Duration;

use tokio::time::Instant;

use super::{SOON, deadline, mail, served};
use crate::fleet::{Mail, Role};
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::record::{Outcome, StepResult};

/// Time between two looks into mailboxes.
const MAILBOX: Duration = Duration::from_secs(1);

/// What is submitted, and by whom it must be taken.
pub(super) struct Submission<'a> {
    pub from: &'a Option<String>,
    pub to: &'a Option<String>,
    pub port: u16,
    pub served_by: Option<&'a str>,
}

pub(super) async fn submitted(run: &Run, submission: &Submission<'_>, until: Instant) -> StepResult {
    let (from, to) = (run.user_or_first(submission.from), run.user_or_first(submission.to));
    let Some(balancer) = run.topology.doors().first().copied() else {
        return StepResult::Broken {
            detail: "no load balancer has a door for mail programs".into(),
        };
    };
    let compose = || Mail {
        from: from.to_owned(),
        ..run.compose(to, mail::BODY)
    };
    let mut letter = compose();
    let (mut sent, mut taken_by) = (String::new(), None);
    let accepted = poll(run, until, SOON, async || {
        let outcome = run
            .submit(balancer, submission.port, &letter, deadline(run, until))
            .await;
        if !matches!(outcome, Outcome::Fail { .. }) {
            // What may have been taken is not sent again.
            sent = std::mem::replace(&mut letter, compose()).id;
        }
        if let Outcome::Ok { served_by } = &outcome {
            taken_by.clone_from(served_by);
        }
        served(outcome, submission.served_by)
    })
    .await;
    if !matches!(accepted, StepResult::Held { .. }) {
        return accepted;
    }
    // Each node delivers what it takes; the other one may be without power, and would be waited for.
    let nodes = match &taken_by {
        Some(node) => vec![node.as_str()],
        None => run.topology.of_role(Role::Mail),
    };
    poll(run, until, MAILBOX, async || {
        let (found, troubles) = mail::find(run, &nodes, to, until).await;
        match found.get(&sent) {
            Some(node) => Ok(format!("{sent} lies in the mailbox on {node}")),
            None => Err(Miss::NotYet(mail::missing(
                &format!("{sent} is in no mailbox on {}", nodes.join(" or ")),
                &troubles,
            ))),
        }
    })
    .await
}

/// A message for somebody elsewhere. A signature that does not hold will not hold the next time either.
pub(super) async fn signed(run: &Run, from: &Option<String>, by: Option<&str>, until: Instant) -> StepResult {
    let from = run.user_or_first(from);
    let Some(balancer) = run.topology.doors().first().copied() else {
        return StepResult::Broken {
            detail: "no load balancer has a door for mail programs".into(),
        };
    };
    poll(run, until, SOON, async || {
        let letter = Mail {
            from: from.to_owned(),
            ..run.compose("somebody@elsewhere.example", mail::BODY)
        };
        let left = run.fleet.mail_leaves(balancer, &letter, deadline(run, until)).await;
        let left = left.map_err(|error| Miss::NotYet(error.to_string()))?;
        let signature = left
            .signature
            .map_err(|objection| Miss::Wrong(format!("{} left through {}: {objection}", letter.id, left.by)))?;
        match by {
            Some(by) if by != left.by => Err(Miss::NotYet(format!("left through {} where {by} is expected", left.by))),
            _ => Ok(format!("{} left through {}, {signature}", letter.id, left.by)),
        }
    })
    .await
}

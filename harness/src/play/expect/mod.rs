//! Expectations: how each kind is looked for. Webmail, mail, databases and what strangers see have a file each.

mod address;
mod forwarding;
pub(super) mod mail;
mod specimens;
mod sql;
mod strangers;
mod submission;
mod webmail;

use std::time::Duration;

use tokio::time::Instant;

use super::run::Run;
use super::step::{Miss, poll};
use crate::record::{Outcome, StepResult};
use crate::scenario::expectation::Expectation;

pub(super) use self::sql::{converged, replication_running};
use super::store;

/// Time between two looks at something cheap.
pub(super) const SOON: Duration = Duration::from_millis(500);
/// The longest that one client operation of a step may take, before it is stretched.
const OPERATION: Duration = Duration::from_secs(20);

/// Looks until the expectation holds or `until` has passed.
pub(super) async fn expect(run: &Run, expectation: &Expectation, until: Instant) -> StepResult {
    match expectation {
        Expectation::Webmail { user, served_by } => webmail::log_in(run, user, served_by.as_deref(), until).await,
        Expectation::LoginReplicated { user, served_by } => {
            webmail::login_replicated(run, user, served_by.as_deref(), until).await
        }
        Expectation::MailAccepted { to, by } => mail::accepted(run, to, by.as_deref(), until).await,
        Expectation::MailDelivered { to, on } => mail::delivered(run, to, on.as_deref(), until).await,
        Expectation::AllDelivered => mail::all_delivered(run, until).await,
        Expectation::QueueHolds { node, at_least } => mail::queue_holds(run, node.as_deref(), *at_least, until).await,
        Expectation::QueueEmpty { node } => mail::queue_empty(run, node.as_deref(), until).await,
        Expectation::NothingBounced => mail::nothing_bounced(run, until).await,
        Expectation::SqlWrite { node, databases } => sql::write(run, node, databases, until).await,
        Expectation::RowReplicated { from, databases, rows } => {
            sql::row_replicated(run, from.as_deref(), databases, *rows, until).await
        }
        Expectation::ReplicationRunning => poll(run, until, SOON, async || replication_running(run).await).await,
        Expectation::Converged => poll(run, until, SOON, async || converged(run).await).await,
        Expectation::Writer { node } => {
            poll(run, until, SOON, async || store::writer_is(run, node.as_deref()).await).await
        }
        Expectation::AddressAt { node } => poll(run, until, SOON, async || address::is_at(run, node).await).await,
        Expectation::StoreInStep => poll(run, until, SOON, async || store::in_step(run).await).await,
        Expectation::Door {
            from,
            node,
            port,
            state,
        } => strangers::door(run, *from, node, *port, *state, until).await,
        Expectation::SmtpRefuses { from, node, port, what } => {
            strangers::smtp_refuses(run, *from, node, *port, *what, until).await
        }
        Expectation::MailSubmitted {
            from,
            to,
            port,
            served_by,
        } => {
            let submission = submission::Submission {
                from,
                to,
                port: *port,
                served_by: served_by.as_deref(),
            };
            submission::submitted(run, &submission, until).await
        }
        Expectation::MailSigned { from, by } => submission::signed(run, from, by.as_deref(), until).await,
        Expectation::MailSealed { to, by } => forwarding::sealed(run, to, by.as_deref(), until).await,
        Expectation::Healthy => healthy_by(run, until).await,
    }
}

/// The cluster becomes healthy. Every machine runs several programs for each look, and on an emulated one that recovers these
/// take the time that it needs itself, so that looks are as rare as it is slow.
pub(super) async fn healthy_by(run: &Run, until: Instant) -> StepResult {
    let pause = run.stretch(Duration::from_secs(1));
    poll(run, until, pause, async || healthy(run).await).await
}

/// Nothing ails the cluster.
pub(super) async fn healthy(run: &Run) -> Result<String, Miss> {
    let ailments = run.fleet.ailments().await;
    if ailments.is_empty() {
        Ok("nothing ails it".into())
    } else {
        sql::refused(run).await?;
        Err(Miss::NotYet(ailments.join("; ")))
    }
}

/// The deadline of one operation of a step: what is left of the step, but no more than one operation ever needs.
fn deadline(run: &Run, until: Instant) -> Duration {
    until
        .saturating_duration_since(Instant::now())
        .min(run.stretch(OPERATION))
        .max(Duration::from_millis(100))
}

/// A successful operation, served by the right node if one is named.
fn served(outcome: Outcome, wanted: Option<&str>) -> Result<String, Miss> {
    match (outcome, wanted) {
        (Outcome::Ok { served_by: Some(node) }, Some(wanted)) if node == wanted => Ok(format!("served by {node}")),
        (Outcome::Ok { served_by: Some(node) }, Some(wanted)) => {
            Err(Miss::NotYet(format!("served by {node} where {wanted} is expected")))
        }
        (Outcome::Ok { served_by: None }, Some(wanted)) => Err(Miss::NotYet(format!(
            "it does not tell who served it where {wanted} is expected"
        ))),
        (Outcome::Ok { served_by: Some(node) }, None) => Ok(format!("served by {node}")),
        (Outcome::Ok { served_by: None }, None) => Ok("it worked".into()),
        (Outcome::Fail { reason } | Outcome::Unknown { reason }, _) => Err(Miss::NotYet(reason)),
    }
}

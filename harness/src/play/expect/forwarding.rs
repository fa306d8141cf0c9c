//! Mail that a user forwards: it came authentic from elsewhere, and is believed there when it comes back.

use tokio::time::Instant;

use super::{SOON, deadline, mail};
use crate::play::run::Run;
use crate::play::step::{Miss, poll};
use crate::record::StepResult;

/// A message from elsewhere that comes back. A seal that does not hold will not hold the next time either.
pub(super) async fn sealed(run: &Run, to: &Option<String>, by: Option<&str>, until: Instant) -> StepResult {
    let to = run.user_or_first(to);
    poll(run, until, SOON, async || {
        let letter = run.compose(to, mail::BODY);
        let back = run.forward(&letter, deadline(run, until)).await;
        let back = back.map_err(|error| Miss::NotYet(error.to_string()))?;
        let seal = back
            .signature
            .map_err(|objection| Miss::Wrong(format!("{} came back through {}: {objection}", letter.id, back.by)))?;
        match by {
            Some(by) if by != back.by => Err(Miss::NotYet(format!(
                "came back through {} where {by} is expected",
                back.by
            ))),
            _ => Ok(format!("{} came back through {}, {seal}", letter.id, back.by)),
        }
    })
    .await
}

//! Who asked this node to be what, and whether that is granted.

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Agent, Wish, hands};
use crate::agent::Answer;
use crate::core::{Standing, may_promote, may_promote_by_force};
use crate::zfs::Role;

/// Somebody who wants this node to be writer.
pub(super) struct Petition {
    pub force: bool,
    pub wish: Wish,
}

impl Agent {
    pub(super) fn wish(&mut self, goal: Role, answer: oneshot::Sender<Answer>) {
        self.not_before = Instant::now();
        let others = self.wishes.extract_if(.., |wish| wish.goal != goal);
        let petitioners = self.petitions.drain(..).map(|petition| petition.wish);
        for other in others.chain(petitioners) {
            let _ = other.answer.send(Err(format!("asked to be {goal} in the meantime")));
        }
        self.wishes.push(Wish {
            goal,
            since: Instant::now(),
            answer,
        });
    }

    /// Grants what was asked for as soon as it is safe. What is in the way may be gone in a moment: the peer has just been
    /// demoted and has not said so yet, or its last mail is on its way.
    pub(super) fn judge_petitions(&mut self) {
        if self.petitions.is_empty() {
            return;
        }
        for petition in std::mem::take(&mut self.petitions) {
            let refusal = match (&self.pool, petition.force) {
                (None, _) => Err("the pool cannot be looked at"),
                (Some(pool), false) => may_promote(&self.situation(pool)),
                (Some(pool), true) => may_promote_by_force(&self.situation(pool)),
            };
            match refusal {
                Ok(()) => self.grant(petition),
                Err(why) if petition.wish.since.elapsed() >= self.parts.timing.drain => {
                    warn!("asked to be writer, refused: {why}");
                    // Who asked may have gone.
                    let _ = petition.wish.answer.send(Err(why.to_owned()));
                }
                Err(_) => self.petitions.push(petition),
            }
        }
    }

    fn grant(&mut self, petition: Petition) {
        info!("asked to be writer");
        if petition.force {
            error!(
                "FORCED to be writer: mail that only the other node has acknowledged is missing here. Should it ever come \
                 back, it has to come back as standby, and its mail is merged"
            );
        }
        self.forced = petition.force;
        self.lift_begun = None;
        self.goal = Role::Writer;
        self.wish(Role::Writer, petition.wish.answer);
    }

    /// UIDs that are not lifted keep the doors closed, and at last the node from being writer: mail that clients have seen
    /// under a UID would turn into other mail.
    pub(super) fn not_lifted(&mut self, why: &str) {
        let begun = *self.lift_begun.get_or_insert_with(Instant::now);
        if begun.elapsed() < self.parts.timing.lift {
            return;
        }
        let text = format!(
            "UIDs could not be lifted within {:?}, the doors stay closed and this node is standby again: {why}",
            self.parts.timing.lift
        );
        error!("{text}");
        self.lift_begun = None;
        self.goal = Role::Standby;
        for wish in self.wishes.extract_if(.., |wish| wish.goal == Role::Writer) {
            let _ = wish.answer.send(Err(text.clone()));
        }
    }

    pub(super) async fn reseed(&mut self) -> Answer {
        self.until_tidied().await;
        self.pool = None;
        self.look().await.map_err(|error| error.to_string())?;
        let pool = self.pool.clone().unwrap_or_default();
        let situation = self.situation(&pool);
        if self.goal != Role::Standby || situation.standing() != Standing::Standby {
            return Err(format!(
                "only a standby takes a new copy; this node is {}",
                situation.standing()
            ));
        }
        if self.peer.as_ref().is_none_or(|peer| peer.standing != Standing::Writer) {
            return Err("the peer has to be the writer, and connected".to_owned());
        }
        let kept = hands(&self.parts)
            .put_aside_whole(&pool)
            .await
            .map_err(|error| error.to_string())?;
        Ok(format!("the mail dataset is kept as {kept}; a new copy is on its way"))
    }
}

//! Actions of this node, and calls of the other one.

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::{Agent, Alone, Left, Owned, Waiter, hands, refuse};
use crate::act::{Hands, Outcome, Served};
use crate::agent::{Command, Committed};
use crate::config::Policy;
use crate::core::{Action, Doors, Offer, PeerView, Pool, Refusal, Situation, Target, accept};
use crate::link::Heard;
use crate::link::server::Call;
use crate::zfs::Stream;

impl Agent {
    pub(super) async fn act(&mut self, action: Action) {
        let Some(pool) = self.pool.clone() else { return };
        let beside_tidying = matches!(
            action,
            Action::Snapshot | Action::Send { .. } | Action::CloseDoors | Action::OpenDoors | Action::MakeReadonly
        );
        if self.tidying && !beside_tidying {
            return self.until_tidied().await;
        }
        if action == Action::Snapshot {
            self.waiters.begin();
            // What is written from now on may not be in it.
            self.activity = self.parts.zfs.activity(&self.parts.layout.dataset);
        }
        if matches!(action, Action::LiftUids { .. }) {
            self.lift_begun.get_or_insert_with(Instant::now);
        }
        let begun = Instant::now();
        let done = self.perform(&action, &pool).await;
        if matches!(done, Left::Done(Ok(_))) {
            self.time(&action, begun.elapsed());
        }
        match done {
            Left::Done(Ok(outcome)) => self.succeeded(&action, outcome),
            Left::Done(Err(error)) => {
                self.resume_failed |= error.spoils_resume(&action);
                match action {
                    Action::Snapshot => self.waiters.not_taken(),
                    Action::CloseDoors => self.doors_stuck = true,
                    _ => {}
                }
                let why = error.to_string();
                self.fail(&why);
                if matches!(action, Action::LiftUids { .. }) {
                    self.not_lifted(&why);
                }
            }
            Left::For(command) => {
                info!("{action:?} is left for something more urgent");
                self.pool = None;
                self.command(command).await;
            }
        }
    }

    /// Only what depends on the other node is left in the middle; all else is short.
    async fn perform(&mut self, action: &Action, pool: &Pool) -> Left {
        let follows = self.follows();
        let hands = Hands {
            zfs: &*self.parts.zfs,
            outside: &*self.parts.outside,
            peer: &*self.parts.peer,
            layout: &self.parts.layout,
            boot: &self.parts.boot,
        };
        let work = hands.perform(action, pool);
        if !matches!(
            action,
            Action::Send { .. } | Action::Resume { .. } | Action::AskAbort { .. }
        ) {
            return Left::Done(work.await);
        }
        tokio::pin!(work);
        let alone = match self.parts.policy {
            Policy::Accept => Committed::Alone,
            Policy::Defer => Committed::Deferred,
        };
        let late = Instant::now() + self.parts.timing.confirm;
        loop {
            tokio::select! {
                done = &mut work => return Left::Done(done),
                // One receiver of mail may not block the others: they join the next group meanwhile.
                command = self.parts.commands.recv() => match command {
                    // A peer that does not follow, because it gets its first copy, confirms nothing soon.
                    Some(Command::Commit(answer)) if !follows => {
                        if alone == Committed::Alone {
                            self.alone = Alone::Yes;
                        }
                        let _ = answer.send(alone);
                    }
                    Some(Command::Commit(answer)) => {
                        let since = Instant::now();
                        self.waiters.push(Waiter { since, answer });
                    }
                    Some(urgent) => return Left::For(urgent),
                    None => return Left::Done(work.await),
                },
                // Both send at once: this one gives way, and both look again.
                Some(call) = self.parts.calls.recv() => refuse(call),
                () = sleep_until(late), if !self.waiters.is_empty() => {
                    if alone == Committed::Alone {
                            self.alone = Alone::Yes;
                        }
                    for waiter in self.waiters.all() {
                        let _ = waiter.answer.send(alone);
                    }
                }
            }
        }
    }

    fn succeeded(&mut self, action: &Action, outcome: Outcome) {
        self.trouble = None;
        // Something that is done and has to be done again at once has no effect: that is no reason to spin.
        if self.last_done.as_ref() == Some(action) {
            self.not_before = Instant::now() + self.parts.timing.interval;
        }
        self.last_done = Some(action.clone());
        if !matches!(action, Action::Snapshot | Action::Tidy(_) | Action::Send { .. }) {
            info!("done: {action:?}");
        }
        match &outcome {
            Outcome::Taken(snapshot) => {
                self.waiters.taken(snapshot.guid);
                if self.alone == Alone::Yes {
                    self.alone = Alone::UpTo(snapshot.guid);
                }
                self.changed = false;
                self.next_poll = Instant::now() + self.parts.timing.interval;
                self.parts.metrics.snapshots.inc();
            }
            Outcome::Peer(view) => {
                // Newer than what it was asked last.
                let heard = Heard {
                    view: Some(view.clone()),
                    asked: Instant::now(),
                };
                self.parts.peer_state.send_if_modified(|before| before.update(heard));
                self.resume_failed = false;
                self.confirm(&view.snapshots);
                self.parts.metrics.sent.inc();
            }
            Outcome::Doors => {
                self.doors_stuck = false;
                self.doors = if *action == Action::OpenDoors {
                    Doors::Open
                } else {
                    Doors::Closed
                };
            }
            Outcome::Look | Outcome::Tidied | Outcome::Merged(_) => {}
        }
        match action {
            Action::EndReplace { .. } | Action::Settle => self.modified = false,
            Action::LiftUids { .. } => self.lift_begun = None,
            _ => {}
        }
        if !self.pool.as_mut().is_some_and(|pool| pool.after(action, &outcome)) {
            self.pool = None;
        }
    }

    fn time(&mut self, action: &Action, took: std::time::Duration) {
        match action {
            Action::Snapshot => self.times.snapshot.add([took]),
            Action::Send { .. } => self.times.send.add([took]),
            _ => {}
        }
    }

    pub(super) async fn call(&mut self, call: Call) {
        // What is known will do for a stream that goes on from it. Anything else is judged by what really is there.
        let goes_on = match (&call, &self.pool) {
            (Call::Offer { offer, .. }, Some(pool)) => accept(&self.situation(pool), offer).is_ok(),
            _ => false,
        };
        if !goes_on {
            self.until_tidied().await;
            self.pool = None;
            if let Err(error) = self.look().await {
                self.fail(&error.to_string());
                return refuse(call);
            }
        }
        match call {
            Call::Abort {
                target,
                snapshot,
                answer,
            } => {
                let done = hands(&self.parts).serve_abort(target, snapshot).await;
                self.pool = None;
                let view = self.fresh_view().await;
                let _ = answer.send(done.and(view));
            }
            Call::Offer { offer, stream, answer } => {
                let offered = Instant::now();
                let done = self.take_in(&offer, stream).await;
                let known = match (&done, &mut self.pool) {
                    (Ok(served), Some(pool)) => pool.after_serving(&offer, served),
                    _ => false,
                };
                if !known {
                    self.pool = None;
                }
                let view = self.fresh_view().await;
                if done.is_ok() && offer.target == Target::Live {
                    self.came = self.newest().map(|newest| (newest, offered));
                }
                if let Err(refusal) = &done {
                    info!("a stream was not taken: {refusal}");
                    self.modified |= refusal.to_string().contains("modified since most recent snapshot");
                }
                let _ = answer.send(done.and(view));
                if let Some(urgent) = self.urgent.take() {
                    self.command(urgent).await;
                }
            }
        }
    }

    /// How this node stands now, also for those who ask while the answer is on its way.
    async fn fresh_view(&mut self) -> Result<PeerView, Refusal> {
        self.look().await.map_err(|error| Refusal::Zfs(error.to_string()))?;
        let pool = self.pool.as_ref().ok_or(Refusal::Busy)?;
        Ok(self.situation(pool).view())
    }

    /// Receives. A command to change the role ends it: what came stays, and is resumed or thrown away.
    async fn take_in(&mut self, offer: &Offer, stream: Stream) -> Result<Served, Refusal> {
        let pool = self.pool.clone().ok_or(Refusal::Busy)?;
        // Parts of the agent that change while it receives are taken out of what is lent to the receive.
        let (peer, owned) = (self.peer.clone(), Owned::of(&self.parts));
        let situation = Situation {
            layout: &owned.layout,
            boot: &owned.boot,
            goal: self.goal,
            doors: self.doors,
            pool: &pool,
            peer: peer.as_ref(),
            changed: false,
            merging: self.merging,
            resume_failed: self.resume_failed,
            modified: self.modified,
            doors_stuck: self.doors_stuck,
            tidy_due: false,
            tidying: self.tidying,
            alone: false,
            unlifted: self.forced,
        };
        let hands = owned.hands();
        let mut work = std::pin::pin!(hands.serve(&situation, offer, stream));
        loop {
            tokio::select! {
                done = &mut work => return done,
                command = self.parts.commands.recv() => match command {
                    Some(Command::Commit(answer)) => {
                        let since = Instant::now();
                        self.waiters.push(Waiter { since, answer });
                    }
                    Some(urgent) => {
                        self.urgent = Some(urgent);
                        return Err(Refusal::Busy);
                    }
                    None => return work.await,
                },
            }
        }
    }
}

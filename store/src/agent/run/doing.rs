//! Actions of this node, calls of the other one, and merges, which run beside.

use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::{Agent, Left, Waiter, hands, refuse};
use crate::act::{Hands, Outcome};
use crate::agent::{Command, Committed};
use crate::config::Policy;
use crate::core::{Action, Doors, Offer, PeerView, Pool, Refusal, Situation};
use crate::link::server::Call;
use crate::zfs::Stream;

impl Agent {
    pub(super) async fn act(&mut self, action: Action) {
        let Some(pool) = self.pool.clone() else { return };
        if action == Action::Snapshot {
            self.waiters.begin();
        }
        let done = self.perform(&action, &pool).await;
        match done {
            Left::Done(Ok(outcome)) => self.succeeded(&action, outcome),
            Left::Done(Err(error)) => {
                self.resume_failed |= error.spoils_resume(&action);
                match action {
                    Action::Snapshot => self.waiters.not_taken(),
                    Action::CloseDoors => self.doors_stuck = true,
                    _ => {}
                }
                self.fail(&error);
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
                    Some(Command::Commit(answer)) if !follows => drop(answer.send(alone)),
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
                self.changed = false;
                self.parts.metrics.snapshots.inc();
            }
            Outcome::Peer(view) => {
                // Newer than what it was asked last.
                self.parts.peer_state.send_replace(Some(view.clone()));
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
            Outcome::Look | Outcome::Tidied => {}
        }
        if matches!(action, Action::EndReplace { .. } | Action::Settle) {
            self.modified = false;
        }
        if !self.pool.as_mut().is_some_and(|pool| pool.after(action, &outcome)) {
            self.pool = None;
        }
    }

    pub(super) async fn call(&mut self, call: Call) {
        self.pool = None;
        if let Err(error) = self.look().await {
            self.fail(&error);
            return refuse(call);
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
                let done = self.take_in(&offer, stream).await;
                self.pool = None;
                let view = self.fresh_view().await;
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

    async fn fresh_view(&mut self) -> Result<PeerView, Refusal> {
        self.look().await.map_err(|error| Refusal::Zfs(error.to_string()))?;
        let pool = self.pool.as_ref().ok_or(Refusal::Busy)?;
        Ok(self.situation(pool).view())
    }

    /// Receives. A command to change the role ends it: what came stays, and is resumed or thrown away.
    async fn take_in(&mut self, offer: &Offer, stream: Stream) -> Result<(), Refusal> {
        let pool = self.pool.clone().ok_or(Refusal::Busy)?;
        // Parts of the agent that change while it receives are taken out of what is lent to the receive.
        let (peer, layout, boot) = (self.peer.clone(), self.parts.layout.clone(), self.parts.boot.clone());
        let situation = Situation {
            layout: &layout,
            boot: &boot,
            goal: self.goal,
            doors: self.doors,
            pool: &pool,
            peer: peer.as_ref(),
            changed: false,
            merging: self.merging,
            resume_failed: self.resume_failed,
            modified: self.modified,
            doors_stuck: self.doors_stuck,
        };
        let (zfs, outside, link) = (
            self.parts.zfs.clone(),
            self.parts.outside.clone(),
            self.parts.peer.clone(),
        );
        let hands = Hands {
            zfs: &*zfs,
            outside: &*outside,
            peer: &*link,
            layout: &layout,
            boot: &boot,
        };
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

    pub(super) fn begin_merge(&mut self, tail: String) {
        let Some(pool) = self.pool.clone() else { return };
        info!("merging {tail}");
        self.merging = true;
        let (zfs, outside, peer) = (
            self.parts.zfs.clone(),
            self.parts.outside.clone(),
            self.parts.peer.clone(),
        );
        let (layout, boot) = (self.parts.layout.clone(), self.parts.boot.clone());
        let merged = self.merge_ends.clone();
        tokio::spawn(async move {
            let hands = Hands {
                zfs: &*zfs,
                outside: &*outside,
                peer: &*peer,
                layout: &layout,
                boot: &boot,
            };
            let done = hands.perform(&Action::Merge { tail }, &pool).await;
            let _ = merged.send(done.map(drop).map_err(|error| error.to_string())).await;
        });
    }

    pub(super) fn end_merge(&mut self, merged: Result<(), String>) {
        self.pool = None;
        match merged {
            Ok(()) => {
                self.merging = false;
                info!("the tail is merged");
            }
            Err(why) => {
                error!("the tail is not merged, and is kept: {why}");
                self.parts.metrics.failures.inc();
                self.trouble = Some(why);
                // It counts as being merged until the next try, so that nothing else waits for it.
                self.merge_again = Some(Instant::now() + self.parts.timing.role);
            }
        }
    }
}

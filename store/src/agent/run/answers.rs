//! Who waits for the agent, and what they are told.

use std::time::Duration;

use super::{Agent, Alone};
use crate::agent::Committed;
use crate::config::Policy;
use crate::core::{Doors, Standing};
use crate::zfs::{Guid, Role};

impl Agent {
    pub(super) fn answer_wishes(&mut self) {
        let Some(pool) = &self.pool else {
            return self.answer_without_pool();
        };
        let standing = self.situation(pool).standing();
        let live = pool.live.as_ref();
        let newest = live.and_then(|live| live.newest()).map(|newest| newest.guid);
        let writer = standing == Standing::Writer
            && self.doors == Doors::Open
            && live.is_some_and(|live| live.mounted && !live.readonly);
        let standby = matches!(standing, Standing::Standby | Standing::Empty) && self.doors == Doors::Closed;
        let peer_has_all = match &self.peer {
            Some(peer) => {
                peer.standing != Standing::Standby || newest.is_none_or(|newest| peer.snapshots.contains(&newest))
            }
            None => false,
        };
        for wish in std::mem::take(&mut self.wishes) {
            let waited = wish.since.elapsed();
            let done = match wish.goal {
                Role::Writer => writer,
                Role::Standby => standby && (peer_has_all || waited >= self.parts.timing.drain),
            };
            let answer = match (done, wish.goal) {
                (true, Role::Writer) => Ok("this node is the writer".to_owned()),
                (true, Role::Standby) if peer_has_all => {
                    Ok("this node is standby, and the peer has everything".to_owned())
                }
                (true, Role::Standby) => Ok("this node is standby; the peer does not have its last changes".to_owned()),
                (false, goal) if waited >= self.parts.timing.role => {
                    let trouble = self.trouble.clone().unwrap_or_else(|| "it takes longer".to_owned());
                    Err(format!("this node is not {goal} yet, and goes on trying: {trouble}"))
                }
                (false, _) => {
                    self.wishes.push(wish);
                    continue;
                }
            };
            // Who asked may have gone.
            let _ = wish.answer.send(answer);
        }
    }

    /// Answers mail that nobody will confirm.
    pub(super) fn answer_waiters(&mut self) {
        // A reply that was lost comes with the next sign of life.
        let there = self.peer.as_ref().map_or_else(Vec::new, |peer| peer.snapshots.clone());
        self.confirm(&there);
        let Some(pool) = &self.pool else { return };
        let writer = self.goal == Role::Writer && self.situation(pool).standing() == Standing::Writer;
        let oldest = self.waiters.iter().map(|waiter| waiter.since).min();
        let late = oldest.is_some_and(|since| since.elapsed() >= self.parts.timing.confirm);
        let answer = match (writer, self.follows() && !late, self.parts.policy) {
            (true, true, _) => return,
            (true, false, Policy::Accept) => Committed::Alone,
            (true, false, Policy::Defer) | (false, _, _) => Committed::Deferred,
        };
        for waiter in self.waiters.all() {
            if answer == Committed::Alone {
                self.alone = Alone::Yes;
            }
            let _ = waiter.answer.send(answer);
        }
    }

    pub(super) fn confirm(&mut self, there: &[Guid]) {
        if matches!(self.alone, Alone::UpTo(guid) if there.contains(&guid)) {
            self.alone = Alone::No;
        }
        let confirmed = self.waiters.confirmed(there);
        if confirmed.is_empty() {
            return;
        }
        let waited: Vec<Duration> = confirmed.iter().map(|waiter| waiter.since.elapsed()).collect();
        self.parts.metrics.confirmed_after(&waited);
        self.times.confirmation.add(waited);
        for waiter in confirmed {
            let _ = waiter.answer.send(Committed::Both);
        }
    }
}

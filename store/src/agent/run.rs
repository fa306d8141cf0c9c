//! The loop of the agent.

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::{Answer, Command, Committed, Parts, Status};
use crate::act::{ActError, Hands, Outcome};
use crate::config::Policy;
use crate::core::{
    Action, Decision, Doors, Offer, PeerView, Pool, Refusal, Situation, Standing, Waiters, decide, may_promote,
};
use crate::link::server::Call;
use crate::zfs::{Guid, Role, Stream};

/// Somebody who wants this node to be something.
struct Wish {
    goal: Role,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

struct Waiter {
    since: Instant,
    answer: oneshot::Sender<Committed>,
}

/// The agent.
pub struct Agent {
    parts: Parts,
    goal: Role,
    doors: Doors,
    pool: Option<Pool>,
    peer: Option<PeerView>,
    resume_failed: bool,
    modified: bool,
    doors_stuck: bool,
    changed: bool,
    waiters: Waiters<Waiter>,
    wishes: Vec<Wish>,
    trouble: Option<String>,
    merge_ends: mpsc::Sender<Result<(), String>>,
    merge_ended: mpsc::Receiver<Result<(), String>>,
    merging: bool,
    merge_again: Option<Instant>,
    /// A command for which a receive was left.
    urgent: Option<Command>,
    /// When changes are looked for next.
    next_look: Instant,
    /// After a failure nothing is tried before this.
    not_before: Instant,
}

/// Why an action was left.
enum Left {
    Done(Result<Outcome, ActError>),
    /// Somebody wants something that does not bear waiting.
    For(Command),
}

impl Agent {
    /// Nothing is looked at yet.
    pub fn new(parts: Parts) -> Agent {
        let now = Instant::now();
        let (merge_ends, merge_ended) = mpsc::channel(1);
        Agent {
            parts,
            goal: Role::Standby,
            doors: Doors::Unknown,
            pool: None,
            peer: None,
            resume_failed: false,
            modified: false,
            doors_stuck: false,
            changed: false,
            waiters: Waiters::default(),
            wishes: Vec::new(),
            trouble: None,
            merge_ends,
            merge_ended,
            merging: false,
            merge_again: None,
            urgent: None,
            next_look: now,
            not_before: now,
        }
    }

    /// Runs until the last sender of commands is gone.
    pub async fn run(mut self) {
        let mut peer_state = self.parts.peer_state.subscribe();
        loop {
            self.peer = peer_state.borrow_and_update().clone();
            if self.merge_again.is_some_and(|at| Instant::now() >= at) {
                self.merge_again = None;
                self.merging = false;
            }
            if let Err(error) = self.look().await {
                self.fail(&error);
            }
            let decision = self.decide();
            self.publish(&decision);
            self.answer_wishes();
            self.answer_waiters();
            let waits = Instant::now() < self.not_before;
            match decision {
                Decision::Do(Action::Merge { tail }) if !waits => self.begin_merge(tail),
                Decision::Do(action) if !waits => self.act(action).await,
                Decision::StepDown => {
                    warn!("the peer has taken over: this node becomes standby");
                    self.goal = Role::Standby;
                }
                Decision::Do(_) | Decision::Rest(_) => {
                    if !self.wait(&mut peer_state).await {
                        return;
                    }
                }
            }
        }
    }

    fn fail(&mut self, error: &dyn std::error::Error) {
        let text = error.to_string();
        if self.trouble.as_ref() != Some(&text) {
            warn!("{text}");
        }
        self.parts.metrics.failures.inc();
        self.trouble = Some(text);
        self.pool = None;
        self.not_before = Instant::now() + self.parts.timing.interval;
    }

    async fn look(&mut self) -> Result<(), ActError> {
        let layout = &self.parts.layout;
        if self.pool.is_none() {
            let found = self.parts.zfs.look(&layout.dataset).await?;
            let pool = Pool::new(layout, found);
            let live = pool.live.as_ref().map(|live| &live.marks);
            // An agent that was only started again goes on with what it was; after a reboot the engine has to say.
            let was_writer = live.is_some_and(|m| m.role == Role::Writer && m.boot.as_ref() == Some(&self.parts.boot));
            if was_writer && self.doors == Doors::Unknown {
                info!("the agent was started again on a writer: going on");
                self.goal = Role::Writer;
            }
            self.pool = Some(pool);
        }
        let live = self.pool.as_ref().and_then(|pool| pool.live.as_ref());
        let writes = self.goal == Role::Writer && live.is_some_and(|live| live.marks.role == Role::Writer);
        if writes && !self.changed && Instant::now() >= self.next_look {
            self.next_look = Instant::now() + self.parts.timing.interval;
            // `written` counts only what a transaction group has brought to the pool.
            self.parts.zfs.sync(&layout.dataset).await?;
            self.changed = self.parts.zfs.written(&layout.dataset).await? > 0;
        }
        Ok(())
    }

    fn situation<'a>(&'a self, pool: &'a Pool) -> Situation<'a> {
        Situation {
            layout: &self.parts.layout,
            boot: &self.parts.boot,
            goal: self.goal,
            doors: self.doors,
            pool,
            peer: self.peer.as_ref(),
            changed: self.changed || self.waiters.want_snapshot(),
            merging: self.merging,
            resume_failed: self.resume_failed,
            modified: self.modified,
            doors_stuck: self.doors_stuck,
        }
    }

    fn decide(&self) -> Decision {
        match &self.pool {
            Some(pool) => decide(&self.situation(pool)),
            None => Decision::Rest("the pool cannot be looked at"),
        }
    }

    fn publish(&mut self, decision: &Decision) {
        let Some(pool) = &self.pool else {
            let trouble = self.trouble.clone();
            self.parts.status.send_modify(|status| status.trouble = trouble);
            return;
        };
        let situation = self.situation(pool);
        let doing = match decision {
            Decision::Do(action) => format!("{action:?}"),
            Decision::StepDown => "giving up the writer's role".to_owned(),
            Decision::Rest(why) => (*why).to_owned(),
        };
        let status = Status::of(
            &situation,
            self.follows(),
            doing,
            self.trouble.clone(),
            self.waiters.len(),
        );
        let view = situation.view();
        self.parts.metrics.stands(&status);
        self.parts
            .view
            .send_if_modified(|old| std::mem::replace(old, view.clone()) != view);
        self.parts
            .status
            .send_if_modified(|old| std::mem::replace(old, status.clone()) != status);
    }

    /// True if the peer can confirm what this node writes.
    fn follows(&self) -> bool {
        let Some(live) = self.pool.as_ref().and_then(|pool| pool.live.as_ref()) else {
            return false;
        };
        let has_ours = |peer: &PeerView| peer.newest().is_some_and(|newest| live.by_guid(newest).is_some());
        self.peer
            .as_ref()
            .is_some_and(|peer| peer.standing == Standing::Standby && has_ours(peer))
    }

    fn answer_wishes(&mut self) {
        let Some(pool) = &self.pool else { return };
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
    fn answer_waiters(&mut self) {
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
            let _ = waiter.answer.send(answer);
        }
    }

    fn confirm(&mut self, there: &[Guid]) {
        for waiter in self.waiters.confirmed(there) {
            let _ = waiter.answer.send(Committed::Both);
        }
    }

    async fn wait(&mut self, peer_state: &mut watch::Receiver<Option<PeerView>>) -> bool {
        let mut until = self.next_look.max(self.not_before);
        if self.goal != Role::Writer || until <= Instant::now() {
            until = Instant::now() + self.parts.timing.interval;
        }
        if self.trouble.is_some() {
            self.pool = None;
        }
        tokio::select! {
            command = self.parts.commands.recv() => match command {
                Some(command) => self.command(command).await,
                None => return false,
            },
            Some(call) = self.parts.calls.recv() => self.call(call).await,
            Some(merged) = self.merge_ended.recv() => self.end_merge(merged),
            changed = peer_state.changed() => if changed.is_err() { return false; },
            () = sleep_until(until) => {}
        }
        true
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Commit(answer) => self.waiters.push(Waiter {
                since: Instant::now(),
                answer,
            }),
            Command::Promote(answer) => self.promote(answer).await,
            Command::Demote(answer) => {
                info!("asked to be standby");
                self.goal = Role::Standby;
                self.doors = Doors::Unknown;
                self.wish(Role::Standby, answer);
            }
            Command::Reseed(answer) => {
                let done = self.reseed().await;
                self.pool = None;
                let _ = answer.send(done);
            }
        }
    }

    fn wish(&mut self, goal: Role, answer: oneshot::Sender<Answer>) {
        self.not_before = Instant::now();
        for other in self.wishes.extract_if(.., |wish| wish.goal != goal) {
            let _ = other.answer.send(Err(format!("asked to be {goal} in the meantime")));
        }
        self.wishes.push(Wish {
            goal,
            since: Instant::now(),
            answer,
        });
    }

    async fn promote(&mut self, answer: oneshot::Sender<Answer>) {
        self.pool = None;
        if let Err(error) = self.look().await {
            self.fail(&error);
        }
        let refusal = match &self.pool {
            None => Err("the pool cannot be looked at"),
            Some(pool) => may_promote(&self.situation(pool)),
        };
        if let Err(why) = refusal {
            warn!("asked to be writer, refused: {why}");
            let _ = answer.send(Err(why.to_owned()));
            return;
        }
        info!("asked to be writer");
        self.goal = Role::Writer;
        self.wish(Role::Writer, answer);
    }

    async fn reseed(&mut self) -> Answer {
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

    async fn act(&mut self, action: Action) {
        let Some(pool) = self.pool.clone() else { return };
        if action == Action::Snapshot {
            self.waiters.begin();
        }
        let done = self.perform(&action, &pool).await;
        match done {
            Left::Done(Ok(outcome)) => self.succeeded(&action, outcome),
            Left::Done(Err(error)) => {
                match action {
                    Action::Snapshot => self.waiters.not_taken(),
                    Action::Send { .. } | Action::Resume { .. } => self.resume_failed = true,
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
        let late = Instant::now() + self.parts.timing.confirm;
        loop {
            tokio::select! {
                done = &mut work => return Left::Done(done),
                // One receiver of mail may not block the others: they join the next group meanwhile.
                command = self.parts.commands.recv() => match command {
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
                    let answer = match self.parts.policy {
                        Policy::Accept => Committed::Alone,
                        Policy::Defer => Committed::Deferred,
                    };
                    for waiter in self.waiters.all() {
                        let _ = waiter.answer.send(answer);
                    }
                }
            }
        }
    }

    fn succeeded(&mut self, action: &Action, outcome: Outcome) {
        self.trouble = None;
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

    async fn call(&mut self, call: Call) {
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

    fn begin_merge(&mut self, tail: String) {
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

    fn end_merge(&mut self, merged: Result<(), String>) {
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

fn hands(parts: &Parts) -> Hands<'_> {
    Hands {
        zfs: &*parts.zfs,
        outside: &*parts.outside,
        peer: &*parts.peer,
        layout: &parts.layout,
        boot: &parts.boot,
    }
}

fn refuse(call: Call) {
    let (Call::Offer { answer, .. } | Call::Abort { answer, .. }) = call;
    let _ = answer.send(Err(Refusal::Busy));
}

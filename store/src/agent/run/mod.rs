//! The loop of the agent.

mod answers;
mod beside;
mod doing;
mod lend;
mod poolless;
mod roles;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::beside::Ended;
use self::lend::{Owned, RoundTimes};
use self::roles::Petition;
use super::{Answer, Command, Committed, Parts, Status};
use crate::act::{ActError, Conflicts, Hands, Outcome};
use crate::core::{Action, Decision, Doors, PeerView, Pool, Refusal, Situation, Standing, Waiters, decide};
use crate::link::Heard;
use crate::link::server::Call;
use crate::zfs::{Disk, Guid, Role, ZfsError};

/// Somebody who wants this node to be something.
struct Wish {
    goal: Role,
    since: Instant,
    answer: oneshot::Sender<Answer>,
}

/// Whether mail was acknowledged that only this node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    No,
    /// It was, or may have been before the agent was started again.
    Yes,
    /// All of it is in this snapshot.
    UpTo(Guid),
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
    /// False until the first look, which tells whether only the agent was started again.
    has_looked: bool,
    pool: Option<Pool>,
    /// True while there is no pool at all: a disk was replaced by a blank one, say.
    no_pool: bool,
    peer: Option<PeerView>,
    /// What came from the peer last, and when it was offered.
    came: Option<(Guid, Instant)>,
    resume_failed: bool,
    modified: bool,
    doors_stuck: bool,
    changed: bool,
    waiters: Waiters<Waiter>,
    wishes: Vec<Wish>,
    /// Who wants this node to be writer, and has not been heard yet.
    petitions: Vec<Petition>,
    alone: Alone,
    /// When lifting UIDs was begun, while it does not work.
    lift_begun: Option<Instant>,
    /// A person has said that the other node is lost for good.
    forced: bool,
    trouble: Option<String>,
    last_done: Option<Action>,
    /// What runs beside says here that it has ended.
    ends: mpsc::Sender<Ended>,
    ended: mpsc::Receiver<Ended>,
    merging: bool,
    /// Of the last merge.
    conflicts: Conflicts,
    tidying: bool,
    polling: bool,
    asking_disks: bool,
    /// Disks that do not work, or have counted errors.
    unwell: Vec<Disk>,
    next_disks: Instant,
    merge_again: Option<Instant>,
    /// A command for which a receive was left.
    urgent: Option<Command>,
    /// When changes are looked for next.
    next_poll: Instant,
    next_full_poll: Instant,
    /// The dataset's counters at the last look for changes.
    activity: Option<u64>,
    next_tidy: Instant,
    /// When the pool was looked at last.
    looked: Instant,
    times: RoundTimes,
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
        let (ends, ended) = mpsc::channel(4);
        Agent {
            parts,
            goal: Role::Standby,
            doors: Doors::Unknown,
            has_looked: false,
            pool: None,
            no_pool: false,
            peer: None,
            came: None,
            resume_failed: false,
            modified: false,
            doors_stuck: false,
            changed: false,
            waiters: Waiters::default(),
            wishes: Vec::new(),
            petitions: Vec::new(),
            alone: Alone::Yes,
            lift_begun: None,
            forced: false,
            trouble: None,
            last_done: None,
            ends,
            ended,
            merging: false,
            conflicts: Conflicts::new(),
            tidying: false,
            polling: false,
            asking_disks: false,
            unwell: Vec::new(),
            next_disks: now,
            merge_again: None,
            urgent: None,
            next_poll: now,
            next_full_poll: now,
            activity: None,
            next_tidy: now,
            looked: now,
            times: RoundTimes::default(),
            not_before: now,
        }
    }

    /// Runs until the last sender of commands is gone.
    pub async fn run(mut self) {
        let mut peer_state = self.parts.peer_state.subscribe();
        loop {
            self.peer = peer_state.borrow_and_update().with(self.came);
            self.take_ended();
            if self.merge_again.is_some_and(|at| Instant::now() >= at) {
                self.merge_again = None;
                self.merging = false;
            }
            if let Err(error) = self.look().await {
                self.fail(&error.to_string());
            }
            if self.no_pool {
                self.without_pool().await;
            }
            self.poll();
            self.ask_after_disks();
            self.judge_petitions();
            let decision = self.decide();
            let anchored = (self.pool.as_ref()).is_some_and(|pool| self.situation(pool).is_anchored());
            // Answered first: who was told that his mail is kept does not wait any more.
            self.answer_waiters();
            self.publish(&decision);
            self.answer_wishes();
            let waits = Instant::now() < self.not_before;
            match decision {
                Decision::Do(Action::Merge { tail }) if !waits => self.begin_merge(tail),
                Decision::Do(Action::Tidy(tidy)) if !waits && anchored => self.begin_tidy(tidy),
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

    fn fail(&mut self, text: &str) {
        if self.trouble.as_deref() != Some(text) {
            warn!("{text}");
        }
        self.parts.metrics.failures.inc();
        self.trouble = Some(text.to_owned());
        self.pool = None;
        self.not_before = Instant::now() + self.parts.timing.interval;
    }

    /// Looks at the pool if what is known of it is not certain, and at times anyway: the agent is the only one who changes
    /// the dataset, but a person may. Mail seldom waits for that.
    async fn look(&mut self) -> Result<(), ActError> {
        let layout = &self.parts.layout;
        let (known_for, timing) = (self.looked.elapsed(), &self.parts.timing);
        let overdue = known_for >= timing.look * if self.waiters.is_empty() { 1 } else { 10 };
        if self.pool.is_none() || (overdue && !self.tidying) {
            self.pool = None;
            let found = self.parts.zfs.look(&layout.dataset).await;
            self.no_pool = matches!(found, Err(ZfsError::NoPool { .. }));
            let found = found?;
            let pool = Pool::new(layout, found);
            // An agent that was only started again goes on with what it was, unless it was on its way out of it; after a
            // reboot the engine has to say.
            let was_writer = pool.live.as_ref().is_some_and(|live| {
                let marks = &live.marks;
                !live.readonly && marks.role == Role::Writer && marks.boot.as_ref() == Some(&self.parts.boot)
            });
            if was_writer && !self.has_looked {
                info!("the agent was started again on a writer: going on");
                self.goal = Role::Writer;
            }
            self.has_looked = true;
            self.pool = Some(pool);
            self.looked = Instant::now();
        }
        Ok(())
    }

    fn newest(&self) -> Option<Guid> {
        let live = self.pool.as_ref()?.live.as_ref()?;
        live.newest().map(|newest| newest.guid)
    }

    /// Looks for changes that nobody waits for. Mail brings the others along.
    fn poll(&mut self) {
        let live = self.pool.as_ref().and_then(|pool| pool.live.as_ref());
        let writes = self.goal == Role::Writer && live.is_some_and(|live| live.marks.role == Role::Writer);
        let known = self.changed || self.polling || !self.waiters.is_empty();
        if !writes || known || Instant::now() < self.next_poll {
            return;
        }
        self.next_poll = Instant::now() + self.parts.timing.interval;
        let activity = self.parts.zfs.activity(&self.parts.layout.dataset);
        match activity {
            // Counters may miss what ZFS counts, so it is asked at times.
            Some(now) if Some(now) == self.activity && Instant::now() < self.next_full_poll => {}
            Some(_) if activity != self.activity && self.activity.is_some() => self.changed = true,
            _ => {
                self.next_full_poll = Instant::now() + self.parts.timing.interval * 10;
                self.begin_poll();
            }
        }
        self.activity = activity;
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
            tidy_due: Instant::now() >= self.next_tidy,
            tidying: self.tidying,
            alone: self.alone != Alone::No,
            unlifted: self.forced,
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
            return self.publish_trouble();
        };
        let situation = self.situation(pool);
        let doing = match decision {
            Decision::Do(action) => format!("{action:?}"),
            Decision::StepDown => "giving up the writer's role".to_owned(),
            Decision::Rest(why) => (*why).to_owned(),
        };
        let status = Status {
            trouble: self.trouble.clone(),
            conflicts: self.conflicts.clone(),
            waiting: self.waiters.len(),
            lag: self.times.lags(),
            disks: self.unwell.clone(),
            ..Status::of(&situation, self.follows(), doing)
        };
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

    async fn wait(&mut self, peer_state: &mut watch::Receiver<Heard>) -> bool {
        let mut until = self.next_poll.max(self.not_before);
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
            Some(ended) = self.ended.recv() => self.ended(ended),
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
            Command::Promote { force, answer } => {
                self.not_before = Instant::now();
                self.pool = None;
                let since = Instant::now();
                let goal = Role::Writer;
                let wish = Wish { goal, since, answer };
                self.petitions.push(Petition { force, wish });
            }
            Command::Demote(answer) => {
                info!("asked to be standby");
                self.pool = None;
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

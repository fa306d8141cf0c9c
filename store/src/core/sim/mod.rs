//! Two nodes, a gateway that keeps mail until it is acknowledged, and an engine that calls `promote` and `demote` as it
//! should. Everything is in memory; machines crash at any step of any command; defects can be planted.

mod checks;
mod ends;
mod plant;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use self::ends::{SimOutside, SimPeer};
use super::{
    Action, Decision, Doors, Layout, PeerView, Pool, Situation, Standing, Target, Tidy, Waiters, decide, may_promote,
};
use crate::act::{ActError, Hands, Outcome, Outside, Peer};
use crate::zfs::fake::FakePool;
use crate::zfs::{Role, Zfs};

pub const MAIL: &str = "tank/mail";

/// Defects that the invariants have to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    None,
    /// The writer sends over what only the other node has, which receives with a rollback.
    ForcedReceive,
    /// A returning writer takes its snapshot before it mounts.
    SnapshotBeforeMount,
    /// The commit proxy answers when the snapshot is taken, not when the other node has it.
    EarlyAnswer,
    /// A returning writer drops its tail without waiting for the merge.
    NoMerge,
    /// A promoted node does not wait until the other is demoted.
    HastyEngine,
    /// Tidying releases the holds before it places new ones, and looks only at its own side.
    CarelessTidy,
    /// A merge does not look for what the gateway has delivered again.
    BlindMerge,
    /// A take-over that is repeated raises the epoch once more.
    EpochTwice,
    /// A standby notes in its view what it has been offered, whether it came or not.
    HopefulView,
    /// Tidying counts what stays, and does not look at what the other node is known to hold.
    UnanchoredTidy,
    /// A standby believes old news of the writer more than what it has just got from it.
    ForgetfulReceiver,
}

/// What the commit proxy does without the other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Accept,
    Defer,
}

pub struct Node {
    pub pool: FakePool,
    pub goal: Role,
    pub doors: Mutex<Doors>,
    boot: String,
    starts: u32,
    /// Distinguishes the files of two nodes.
    seed: u64,
    blind_merge: bool,
    resume_failed: bool,
    modified: bool,
    waiters: Waiters<u32>,
    /// What the node knows of its pool without looking.
    view: Mutex<Option<Pool>>,
    /// Bytes written since the newest snapshot, as the node has polled last.
    written: u64,
    /// Tidying that was begun, and after how many steps it is carried out.
    tidying: Option<(Tidy, u32)>,
    steps: u32,
    /// What the other node said last.
    heard: Mutex<Option<PeerView>>,
    /// It has acknowledged mail, or may have, that is in no snapshot which the other node has confirmed.
    alone: bool,
}

pub struct World {
    pub nodes: [Node; 2],
    pub link: bool,
    pub cut_next: bool,
    pub lose_reply: bool,
    pub old_news: bool,
    pub acknowledged: BTreeMap<u32, bool>,
    pub writer: Option<usize>,
    pub policy: Policy,
    pub defect: Defect,
    pub layout: Layout,
    pub replicated: bool,
    pub trace: Vec<String>,
    /// Names of the actions that were carried out.
    pub done: BTreeSet<String>,
}

impl Node {
    /// What it knows of its pool from now on.
    fn knows(&self, view: Option<Pool>) {
        *self.view.lock().expect("a view") = view;
    }

    /// Its power is gone, and with it all that is not in the pool.
    fn forget(&mut self) {
        *self.doors.lock().expect("doors") = Doors::Unknown;
        self.waiters.all();
        self.knows(None);
        self.tidying = None;
        *self.heard.lock().expect("news") = None;
    }
}

impl World {
    pub fn new(policy: Policy, defect: Defect) -> World {
        let node = |seed| Node {
            pool: FakePool::new(seed),
            goal: Role::Standby,
            doors: Mutex::new(Doors::Unknown),
            boot: "1".to_owned(),
            starts: 1,
            seed,
            blind_merge: defect == Defect::BlindMerge,
            resume_failed: false,
            modified: false,
            waiters: Waiters::default(),
            view: Mutex::default(),
            written: 0,
            tidying: None,
            steps: 0,
            heard: Mutex::default(),
            alone: true,
        };
        World {
            nodes: [node(1), node(2)],
            link: true,
            cut_next: false,
            lose_reply: false,
            old_news: false,
            acknowledged: BTreeMap::new(),
            writer: None,
            policy,
            defect,
            layout: Layout {
                dataset: MAIL.to_owned(),
                mountpoint: "/var/vmail".to_owned(),
                keep: 3,
                retention: Duration::from_secs(3600),
            },
            replicated: false,
            trace: Vec::new(),
            done: BTreeSet::new(),
        }
    }

    fn hands<'a>(&'a self, node: &'a Node, outside: &'a dyn Outside, peer: &'a dyn Peer, boot: &'a str) -> Hands<'a> {
        Hands {
            zfs: &node.pool,
            outside,
            peer,
            layout: &self.layout,
            boot,
        }
    }

    /// What a node knows of its pool; it looks only if it knows nothing.
    async fn look(&self, index: usize) -> Option<Pool> {
        let known = self.nodes[index].view.lock().expect("a view").clone();
        if known.is_some() {
            return known;
        }
        let found = self.nodes[index].pool.look(MAIL).await.ok()?;
        let pool = Pool::new(&self.layout, found);
        self.nodes[index].knows(Some(pool.clone()));
        Some(pool)
    }

    fn situation<'a>(&'a self, index: usize, pool: &'a Pool, peer: Option<&'a PeerView>) -> Situation<'a> {
        let node = &self.nodes[index];
        Situation {
            layout: &self.layout,
            boot: &node.boot,
            goal: node.goal,
            doors: *node.doors.lock().expect("doors"),
            pool,
            peer,
            changed: node.waiters.want_snapshot() || node.written > 0,
            merging: false,
            resume_failed: node.resume_failed,
            modified: node.modified,
            doors_stuck: false,
            tidy_due: node.steps.is_multiple_of(3),
            tidying: node.tidying.is_some(),
            alone: node.alone,
            unlifted: false,
        }
    }

    async fn peer_of(&self, index: usize) -> Option<PeerView> {
        if !self.link {
            return None;
        }
        let pool = self.look(1 - index).await?;
        Some(self.situation(1 - index, &pool, None).view())
    }

    /// One decision of one node, and what follows from it. False if it rests.
    pub async fn step(&mut self, index: usize) -> bool {
        let acted = self.try_step(index).await;
        self.nodes[index].pool.fuse(None);
        self.cut_next = false;
        self.lose_reply = false;
        self.old_news = false;
        for node in &mut self.nodes {
            if node.pool.is_down() {
                node.forget();
            }
        }
        if self.defect == Defect::None {
            self.views_are_true().await;
        }
        acted
    }

    async fn try_step(&mut self, index: usize) -> bool {
        if self.nodes[index].pool.is_down() {
            return false;
        }
        if self.nodes[index].goal == Role::Writer {
            // What the daemon does at each interval, so that `written` is true.
            let _ = self.nodes[index].pool.sync(MAIL).await;
        }
        self.nodes[index].written = self.nodes[index].pool.written(MAIL).await.unwrap_or(0);
        self.nodes[index].steps += 1;
        let peer = match self.old_news {
            true => self.nodes[index].heard.lock().expect("news").clone(),
            false => self.peer_of(index).await,
        };
        *self.nodes[index].heard.lock().expect("news") = peer.clone();
        let Some(pool) = self.look(index).await else {
            return false;
        };
        self.answer_without_peer(index, peer.as_ref());
        let situation = self.situation(index, &pool, peer.as_ref());
        let mut decision = decide(&situation);
        let anchored = situation.is_anchored();
        let unsettled = situation.standing() == Standing::Unsettled;
        if self.defect == Defect::SnapshotBeforeMount && unsettled && decision == Decision::Do(Action::Mount) {
            decision = Decision::Do(Action::Settle);
        }
        if self.defect == Defect::SnapshotBeforeMount
            && situation.modified
            && let (Decision::Do(Action::Settle), Some(newest)) =
                (&decision, pool.live.as_ref().and_then(|l| l.newest()))
        {
            // The second line of defence against the same mistake.
            decision = Decision::Do(Action::Replace {
                base: newest.name.clone(),
            });
        }
        self.plant(index, &pool, peer.as_ref(), &mut decision).await;
        match decision {
            Decision::Rest(_) if self.nodes[index].tidying.is_some() => {
                self.go_on_tidying(index, u32::MAX).await;
                true
            }
            Decision::Rest(why) => {
                self.trace.push(format!("{index} rests: {why}"));
                false
            }
            Decision::StepDown => {
                self.nodes[index].goal = Role::Standby;
                true
            }
            Decision::Do(Action::Tidy(tidy)) if anchored => {
                self.trace.push(format!("{index} will carry out {tidy:?}"));
                let node = &mut self.nodes[index];
                node.tidying = Some((tidy, node.steps % 5));
                true
            }
            Decision::Do(action) => {
                let beside = matches!(action, Action::Snapshot | Action::Send { .. });
                let tidied = self.go_on_tidying(index, if beside { 1 } else { u32::MAX }).await;
                if !tidied || beside {
                    self.perform(index, &action, &pool).await;
                }
                true
            }
        }
    }

    /// Lets steps of a tidying that was begun pass, and carries it out after the last. True if it was.
    async fn go_on_tidying(&mut self, index: usize, steps: u32) -> bool {
        let node = &mut self.nodes[index];
        let Some((tidy, left)) = node.tidying.take() else {
            return false;
        };
        if left > steps {
            node.tidying = Some((tidy, left - steps));
            return false;
        }
        if let Some(pool) = self.look(index).await {
            self.perform(index, &Action::Tidy(tidy), &pool).await;
        }
        true
    }

    async fn perform(&mut self, index: usize, action: &Action, pool: &Pool) {
        if *action == Action::Snapshot {
            self.nodes[index].waiters.begin();
        }
        let done = {
            let node = &self.nodes[index];
            let boot = node.boot.clone();
            let peer = SimPeer {
                world: self,
                other: 1 - index,
            };
            let outside = SimOutside(node);
            self.hands(node, &outside, &peer, &boot).perform(action, pool).await
        };
        let shown = done.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
        self.trace.push(format!("{index} {action:?}: {shown}"));
        match done {
            Ok(outcome) => {
                let name = format!("{action:?}");
                let end = name.find([' ', '(']).unwrap_or(name.len());
                self.done.insert(name[..end].to_owned());
                let sound = matches!(self.defect, Defect::None | Defect::EpochTwice);
                if sound && !matches!(action, Action::Snapshot) {
                    self.twice_is_once(index, action, pool).await;
                }
                let mut view = self.nodes[index].view.lock().expect("a view").take();
                if !view.as_mut().is_some_and(|view| view.after(action, &outcome)) {
                    view = None;
                }
                self.nodes[index].knows(view);
                self.after(index, action, outcome);
            }
            Err(error) => {
                self.nodes[index].knows(None);
                self.failed(index, action, &error);
            }
        }
    }

    fn after(&mut self, index: usize, action: &Action, outcome: Outcome) {
        let node = &mut self.nodes[index];
        match outcome {
            Outcome::Taken(snapshot) => {
                node.waiters.taken(snapshot.guid);
                if self.defect == Defect::EarlyAnswer {
                    for id in node.waiters.confirmed(&[snapshot.guid]) {
                        self.acknowledged.insert(id, true);
                    }
                }
            }
            Outcome::Peer(view) => {
                node.resume_failed = false;
                *node.heard.lock().expect("news") = Some(view.clone());
                for id in node.waiters.confirmed(&view.snapshots) {
                    self.acknowledged.insert(id, true);
                }
                // All that was written is in the snapshot that the other node has now.
                node.alone &= node.written > 0;
            }
            _ => {}
        }
        self.settled(index, action);
    }

    /// A dataset that was not as its newest snapshot is, once it has one again.
    fn settled(&mut self, index: usize, action: &Action) {
        if matches!(action, Action::EndReplace { .. } | Action::Settle) {
            self.nodes[index].modified = false;
        }
    }

    fn failed(&mut self, index: usize, action: &Action, error: &ActError) {
        let node = &mut self.nodes[index];
        node.resume_failed |= error.spoils_resume(action);
        if *action == Action::Snapshot {
            node.waiters.not_taken();
        }
        if error.to_string().contains("modified since most recent") {
            self.nodes[1 - index].modified = true;
            self.nodes[1 - index].knows(None);
        }
    }
}

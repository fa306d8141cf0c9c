//! Two nodes, a gateway that keeps mail until it is acknowledged, and an engine that calls `promote` and `demote` as it
//! should. Everything is in memory; machines crash at any step of any command; defects can be planted.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    Action, Decision, Doors, Layout, Offer, PeerView, Pool, Refusal, Situation, Standing, Target, Waiters, decide,
    may_promote,
};
use crate::act::{Hands, MergeJob, Outcome, Outside, OutsideError, Peer, PeerError};
use crate::zfs::fake::FakePool;
use crate::zfs::{Change, Guid, Role, Stream, Zfs};

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
    resume_failed: bool,
    modified: bool,
    waiters: Waiters<u32>,
}

pub struct World {
    pub nodes: [Node; 2],
    pub link: bool,
    pub cut_next: bool,
    pub lose_reply: bool,
    pub acknowledged: BTreeMap<u32, bool>,
    pub writer: Option<usize>,
    pub policy: Policy,
    pub defect: Defect,
    pub layout: Layout,
    pub replicated: bool,
    pub trace: Vec<String>,
}

/// The first bytes of a stream, then an error.
struct Cut(Vec<u8>);

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Ready(Err(std::io::Error::other("the link was cut")));
        }
        let fits = buf.remaining().min(self.0.len());
        buf.put_slice(&self.0.drain(..fits).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

async fn cut(mut stream: Stream) -> Stream {
    use tokio::io::AsyncReadExt;
    let mut head = vec![0; 40];
    let read = stream.read(&mut head).await.expect("a stream in memory");
    head.truncate(read);
    Box::new(Cut(head))
}

struct SimOutside<'a>(&'a Node);

#[async_trait]
impl Outside for SimOutside<'_> {
    async fn open_doors(&self) -> Result<(), OutsideError> {
        *self.0.doors.lock().expect("doors") = Doors::Open;
        Ok(())
    }

    async fn close_doors(&self) -> Result<(), OutsideError> {
        *self.0.doors.lock().expect("doors") = Doors::Closed;
        Ok(())
    }

    async fn lift_uids(&self) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn merge(&self, job: &MergeJob) -> Result<(), OutsideError> {
        let tail = self.0.pool.files(&job.tail);
        for change in &job.tail_changes {
            let Change::Added(path) = change else { continue };
            let id = &tail[path];
            let is_live = self.0.pool.files(&job.live).values().any(|live| live == id);
            if !is_live && !self.0.pool.write(&job.live, path, Some(id)) {
                return Err(OutsideError("the live store cannot be written".to_owned()));
            }
        }
        Ok(())
    }

    fn tail_mountpoint(&self) -> String {
        "/run/tail".to_owned()
    }
}

struct SimPeer<'a> {
    world: &'a World,
    other: usize,
}

impl SimPeer<'_> {
    async fn serve(&self, offer: Offer, stream: Stream) -> Result<PeerView, PeerError> {
        let node = &self.world.nodes[self.other];
        let pool = self
            .world
            .look(self.other)
            .await
            .ok_or_else(|| PeerError::Lost("off".to_owned()))?;
        let situation = self.world.situation(self.other, &pool, None);
        let nobody = SimPeer {
            world: self.world,
            other: 1 - self.other,
        };
        let boot = node.boot.clone();
        let hands = self
            .world
            .hands(node, &SimOutside(node), &nobody, &boot)
            .serve(&situation, &offer, stream)
            .await;
        if let Err(refusal) = hands {
            let forced = self.world.defect == Defect::ForcedReceive && offer.target == Target::Live;
            return Err(match refusal {
                Refusal::Zfs(why) if node.pool.is_down() => PeerError::Lost(why),
                Refusal::WrongBase if forced => PeerError::Lost("forced".to_owned()),
                refusal => PeerError::Refused(refusal),
            });
        }
        self.view().await
    }

    async fn view(&self) -> Result<PeerView, PeerError> {
        let pool = self
            .world
            .look(self.other)
            .await
            .ok_or_else(|| PeerError::Lost("off".to_owned()))?;
        Ok(self.world.situation(self.other, &pool, None).view())
    }
}

#[async_trait]
impl Peer for SimPeer<'_> {
    async fn offer(&self, offer: Offer, mut stream: Stream) -> Result<PeerView, PeerError> {
        if !self.world.link {
            return Err(PeerError::Lost("no link".to_owned()));
        }
        if self.world.cut_next {
            stream = cut(stream).await;
        }
        let reply = self.serve(offer, stream).await?;
        if self.world.lose_reply {
            return Err(PeerError::Lost("the reply did not come".to_owned()));
        }
        Ok(reply)
    }

    async fn abort(&self, target: Target, snapshot: Guid) -> Result<PeerView, PeerError> {
        let node = &self.world.nodes[self.other];
        let boot = node.boot.clone();
        let hands = SimOutside(node);
        self.world
            .hands(node, &hands, self, &boot)
            .serve_abort(target, snapshot)
            .await?;
        self.view().await
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
            resume_failed: false,
            modified: false,
            waiters: Waiters::default(),
        };
        World {
            nodes: [node(1), node(2)],
            link: true,
            cut_next: false,
            lose_reply: false,
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

    async fn look(&self, index: usize) -> Option<Pool> {
        let found = self.nodes[index].pool.look(MAIL).await.ok()?;
        Some(Pool::new(&self.layout, found))
    }

    fn situation<'a>(&'a self, index: usize, pool: &'a Pool, peer: Option<&'a PeerView>) -> Situation<'a> {
        let node = &self.nodes[index];
        let written = pool.live.as_ref().is_some_and(|live| live.written > 0);
        Situation {
            layout: &self.layout,
            boot: &node.boot,
            goal: node.goal,
            doors: *node.doors.lock().expect("doors"),
            pool,
            peer,
            changed: node.waiters.want_snapshot() || written,
            merging: false,
            resume_failed: node.resume_failed,
            modified: node.modified,
            doors_stuck: false,
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
        for node in &mut self.nodes {
            if node.pool.is_down() {
                *node.doors.lock().expect("doors") = Doors::Unknown;
                node.waiters.all();
            }
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
        let peer = self.peer_of(index).await;
        let Some(pool) = self.look(index).await else {
            return false;
        };
        self.answer_without_peer(index, peer.as_ref());
        let situation = self.situation(index, &pool, peer.as_ref());
        let mut decision = decide(&situation);
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
            Decision::Rest(why) => {
                self.trace.push(format!("{index} rests: {why}"));
                false
            }
            Decision::StepDown => {
                self.nodes[index].goal = Role::Standby;
                true
            }
            Decision::Do(action) => {
                self.perform(index, &action, &pool).await;
                true
            }
        }
    }

    async fn plant(&self, index: usize, pool: &Pool, peer: Option<&PeerView>, decision: &mut Decision) {
        let (Some(live), Some(peer)) = (&pool.live, peer) else {
            return;
        };
        let base = live.snapshots.iter().rev().find(|s| peer.snapshots.contains(&s.guid));
        match (self.defect, &decision) {
            (Defect::ForcedReceive, Decision::Rest(why)) if why.contains("mail of its own, which comes first") => {
                if let (Some(base), Some(newest)) = (base, live.newest()) {
                    let other = &self.nodes[1 - index].pool;
                    other.force_receives();
                    let what = crate::zfs::Sending::Snapshot {
                        dataset: MAIL.to_owned(),
                        from: crate::zfs::Since::Snapshot(base.name.clone()),
                        snapshot: newest.name.clone(),
                    };
                    if let Ok(stream) = self.nodes[index].pool.send(&what).await {
                        let _ = other
                            .receive(MAIL, None, &crate::zfs::NewProperties::default(), stream)
                            .await;
                    }
                }
            }
            (
                Defect::NoMerge,
                Decision::Do(Action::Send {
                    target: Target::Tail, ..
                }),
            ) => {
                let base = base.map(|base| base.name.clone()).unwrap_or_default();
                *decision = Decision::Do(Action::Replace { base });
            }
            (Defect::CarelessTidy, Decision::Do(Action::Tidy(tidy))) if self.replicated => {
                let mut tidy = tidy.clone();
                tidy.release.append(&mut tidy.hold);
                tidy.release
                    .extend(live.snapshots.iter().filter(|s| s.held).map(|s| s.name.clone()));
                tidy.release.dedup();
                *decision = Decision::Do(Action::Tidy(tidy));
            }
            _ => {}
        }
    }

    fn answer_without_peer(&mut self, index: usize, peer: Option<&PeerView>) {
        let alone = peer.is_none_or(|peer| peer.standing != Standing::Standby);
        if alone && self.policy == Policy::Accept {
            for id in self.nodes[index].waiters.all() {
                self.acknowledged.insert(id, true);
            }
        }
        if alone && self.policy == Policy::Defer {
            // 4xx: the gateway keeps its mail.
            self.nodes[index].waiters.all();
        }
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
                if self.defect == Defect::None && !matches!(action, Action::Snapshot) {
                    self.twice_is_once(index, action, pool).await;
                }
                if self.defect == Defect::None {
                    self.incremental_view_is_true(index, action, &outcome, pool).await;
                }
                self.after(index, action, outcome);
            }
            Err(error) => self.failed(index, action, &error.to_string()),
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
                for id in node.waiters.confirmed(&view.snapshots) {
                    self.acknowledged.insert(id, true);
                }
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

    fn failed(&mut self, index: usize, action: &Action, error: &str) {
        let node = &mut self.nodes[index];
        match action {
            Action::Snapshot => node.waiters.not_taken(),
            Action::Resume { .. } | Action::Send { .. } => node.resume_failed = true,
            _ => {}
        }
        if error.contains("modified since most recent") {
            self.nodes[1 - index].modified = true;
        }
    }

    /// Each action once more, from the same sight: it must change nothing.
    async fn twice_is_once(&self, index: usize, action: &Action, pool: &Pool) {
        let node = &self.nodes[index];
        if node.pool.is_down() {
            return;
        }
        let again = Node {
            pool: node.pool.copy(),
            goal: node.goal,
            doors: Mutex::new(Doors::Unknown),
            boot: node.boot.clone(),
            starts: node.starts,
            resume_failed: false,
            modified: false,
            waiters: Waiters::default(),
        };
        again.pool.fuse(None);
        let before = again.pool.state();
        let boot = again.boot.clone();
        let outside = SimOutside(&again);
        let peer = SimPeer {
            world: self,
            other: 1 - index,
        };
        let other_before = self.nodes[1 - index].pool.state();
        let remote = matches!(
            action,
            Action::AskAbort { .. } | Action::Send { .. } | Action::Resume { .. }
        );
        if remote && (self.cut_next || self.lose_reply) {
            return;
        }
        let _ = self.hands(&again, &outside, &peer, &boot).perform(action, pool).await;
        assert_eq!(before, again.pool.state(), "{action:?} twice is not once");
        if remote && !self.nodes[1 - index].pool.is_down() {
            assert_eq!(
                other_before,
                self.nodes[1 - index].pool.state(),
                "{action:?} twice is not once there"
            );
        }
    }

    /// What the daemon keeps in mind is what it would see if it looked.
    async fn incremental_view_is_true(&self, index: usize, action: &Action, outcome: &Outcome, pool: &Pool) {
        let mut kept = pool.clone();
        if kept.after(action, outcome) && !self.nodes[index].pool.is_down() {
            let copy = self.nodes[index].pool.copy();
            copy.fuse(None);
            let found = Pool::new(&self.layout, copy.look(MAIL).await.expect("a copy is up"));
            assert_eq!(kept, found, "after {action:?} the view kept in mind is wrong");
        }
    }

    /// The gateway offers a message to the node whose doors are open.
    pub fn deliver(&mut self, id: u32) {
        self.acknowledged.entry(id).or_insert(false);
        let open = |node: &&mut Node| {
            *node.doors.lock().expect("doors") == Doors::Open
                && node.pool.is_writable(MAIL)
                && node.goal == Role::Writer
        };
        let Some(node) = self.nodes.iter_mut().find(open) else {
            return;
        };
        // Dovecot knows mail that it has by the gateway's queue id.
        let known = node.pool.files(MAIL).values().any(|known| *known == id.to_string());
        if !known {
            let path = format!("user{}/new/{id}.{}", id % 3, node.boot);
            assert!(
                node.pool.write(MAIL, &path, Some(&id.to_string())),
                "an open node takes mail"
            );
        }
        node.waiters.push(id);
        let alone = !self.link || self.nodes.iter().any(|node| node.pool.is_down());
        if alone && self.policy == Policy::Accept {
            self.acknowledged.insert(id, true);
        }
        self.trace.push(format!("delivered {id}"));
    }

    /// The machine loses its power.
    pub fn crash(&mut self, index: usize) {
        self.trace.push(format!("{index} crashes"));
        self.nodes[index].pool.crash();
        *self.nodes[index].doors.lock().expect("doors") = Doors::Unknown;
        self.nodes[index].waiters.all();
    }

    /// The machine starts again, if it was off.
    pub fn start(&mut self, index: usize) {
        if !self.nodes[index].pool.is_down() {
            return;
        }
        self.trace.push(format!("{index} starts"));
        let node = &mut self.nodes[index];
        node.pool.start();
        node.starts += 1;
        node.boot = node.starts.to_string();
        node.goal = Role::Standby;
        node.resume_failed = false;
        node.modified = false;
    }

    /// The engine looks: without a writer it promotes a node, once the other is surely none.
    pub async fn engine(&mut self) {
        let is_writer = |node: &Node| !node.pool.is_down() && node.goal == Role::Writer;
        if self.nodes.iter().any(is_writer) {
            return;
        }
        let hasty = self.defect == Defect::HastyEngine;
        let preferred = self.writer.map_or(0, |writer| 1 - writer);
        for index in [preferred, 1 - preferred] {
            let other = &self.nodes[1 - index].pool;
            let fenced = hasty || other.is_down() || !other.is_writable(MAIL);
            if self.nodes[index].pool.is_down() || !fenced {
                continue;
            }
            let peer = self.peer_of(index).await;
            let Some(pool) = self.look(index).await else { continue };
            if may_promote(&self.situation(index, &pool, peer.as_ref())).is_ok() {
                self.trace.push(format!("engine promotes {index}"));
                self.nodes[index].goal = Role::Writer;
                self.writer = Some(index);
                return;
            }
        }
    }

    /// The engine demotes the writer.
    pub fn demote(&mut self) {
        for node in &mut self.nodes {
            node.goal = Role::Standby;
            // 4xx or a lost connection: the gateway keeps what was not answered.
            node.waiters.all();
        }
        self.trace.push("engine demotes".to_owned());
    }
}

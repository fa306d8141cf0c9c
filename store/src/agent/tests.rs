//! Two agents over real TLS, each with a pool in memory.

mod lmtp;
mod roles;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::act::{Conflicts, MergeJob, OutsideError};
use crate::core::{Doors, Standing};
use crate::link::Tls;
use crate::link::client::Client;
use crate::link::server::Server;
use crate::link::tests::{Authority, limits};
use crate::metrics::Metrics;
use crate::zfs::Change;
use crate::zfs::fake::FakePool;

const MAIL: &str = "tank/mail";

struct FakeOutside {
    pool: Arc<FakePool>,
    open: Mutex<bool>,
    stuck: Arc<AtomicBool>,
    lift_fails: Arc<AtomicUsize>,
}

#[async_trait]
impl Outside for FakeOutside {
    async fn open_doors(&self) -> Result<(), OutsideError> {
        *self.open.lock().expect("doors") = true;
        Ok(())
    }

    async fn close_doors(&self) -> Result<(), OutsideError> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(OutsideError("the doors are stuck".to_owned()));
        }
        *self.open.lock().expect("doors") = false;
        Ok(())
    }

    async fn lift_uids(&self) -> Result<(), OutsideError> {
        match self.lift_fails.load(Ordering::SeqCst) {
            0 => Ok(()),
            left => {
                self.lift_fails.store(left - 1, Ordering::SeqCst);
                Err(OutsideError("no Dovecot answers".to_owned()))
            }
        }
    }

    async fn merge(&self, job: &MergeJob) -> Result<Conflicts, OutsideError> {
        for change in &job.tail_changes {
            let Change::Added(path) = change else { continue };
            let text = self.pool.files(&job.tail)[path].clone();
            if !self.pool.write(&job.live, path, Some(&text)) {
                return Err(OutsideError("cannot write".to_owned()));
            }
        }
        Ok(Conflicts::new())
    }

    fn tail_mountpoint(&self) -> String {
        "/run/tail".to_owned()
    }
}

/// A node; its tasks are gone while it is off.
struct Node {
    name: &'static str,
    pool: Arc<FakePool>,
    address: SocketAddr,
    boots: u32,
    stuck: Arc<AtomicBool>,
    /// So many more times lifting UIDs does not work.
    lift_fails: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

struct Duo {
    authority: Authority,
    policy: Policy,
    nodes: Vec<Node>,
}

async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

impl Duo {
    async fn new(policy: Policy) -> Duo {
        let mut nodes = Vec::new();
        for (seed, name) in [(1, "mail1"), (2, "mail2")] {
            nodes.push(Node {
                name,
                pool: Arc::new(FakePool::new(seed)),
                address: free_port().await,
                boots: 0,
                stuck: Arc::default(),
                lift_fails: Arc::default(),
                tasks: JoinSet::new(),
                commands: mpsc::channel(1).0,
                status: watch::channel(Status::unknown()).1,
            });
        }
        let mut duo = Duo {
            authority: Authority::new(),
            policy,
            nodes,
        };
        duo.start(0).await;
        duo.start(1).await;
        duo
    }

    fn tls(&self, index: usize) -> Tls {
        self.authority.tls(self.nodes[index].name, self.nodes[1 - index].name)
    }

    async fn start(&mut self, index: usize) {
        let tls = self.tls(index);
        let (peer_name, peer_address) = (self.nodes[1 - index].name, self.nodes[1 - index].address);
        let policy = self.policy;
        let node = &mut self.nodes[index];
        node.pool.start();
        node.boots += 1;
        let client = Arc::new(Client::new(tls.clone(), node.name.to_owned(), peer_address, limits()));
        let (commands, commands_in) = mpsc::channel(64);
        let (calls, calls_in) = mpsc::channel(1);
        let (view, view_out) = watch::channel(PeerView {
            standing: Standing::Unsettled,
            epoch: 0,
            snapshots: Vec::new(),
            held: Vec::new(),
            resume_token: None,
            tails: Vec::new(),
            alone: false,
        });
        let (status, status_out) = watch::channel(Status::unknown());
        let (peer_state, _) = watch::channel(crate::link::Heard::nothing());
        let server = Server {
            tls,
            peer: peer_name.to_owned(),
            view: view_out,
            calls,
            silence: Duration::from_secs(5),
        };
        let listener = TcpListener::bind(node.address).await.expect("the port is free again");
        let short = Duration::from_millis(20);
        let outside = FakeOutside {
            pool: node.pool.clone(),
            open: Mutex::new(false),
            stuck: node.stuck.clone(),
            lift_fails: node.lift_fails.clone(),
        };
        node.tasks.spawn(server.run(listener));
        node.tasks.spawn(client.clone().watch_peer(short, peer_state.clone()));
        let agent = Agent::new(Parts {
            zfs: node.pool.clone(),
            outside: Arc::new(outside),
            peer: client,
            layout: Layout {
                dataset: MAIL.to_owned(),
                mountpoint: "/var/vmail".to_owned(),
                keep: 3,
                retention: Duration::from_secs(3600),
            },
            boot: node.boots.to_string(),
            timing: Timing {
                interval: short,
                role: Duration::from_secs(10),
                lift: Duration::from_secs(1),
                tidy: short,
                look: short * 10,
                drain: Duration::from_secs(1),
                confirm: Duration::from_secs(5),
            },
            policy,
            commands: commands_in,
            calls: calls_in,
            peer_state,
            view,
            status,
            metrics: Arc::new(Metrics::default()),
        });
        node.tasks.spawn(agent.run());
        node.commands = commands;
        node.status = status_out;
    }

    /// Its power fails.
    async fn crash(&mut self, index: usize) {
        self.nodes[index].tasks.shutdown().await;
        self.nodes[index].pool.crash();
    }

    async fn until(&mut self, index: usize, what: &str, holds: impl FnMut(&Status) -> bool) {
        let status = &mut self.nodes[index].status;
        let waited = tokio::time::timeout(Duration::from_secs(20), status.wait_for(holds)).await;
        let held = matches!(waited, Ok(Ok(_)));
        drop(waited);
        assert!(
            held,
            "never so: {what}; node {index} says {:?}",
            self.nodes[index].status.borrow()
        );
    }

    async fn ask(&self, index: usize, command: impl FnOnce(oneshot::Sender<Answer>) -> Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.nodes[index].commands.send(command(answer)).await;
        assert!(sent.is_ok(), "the agent runs");
        answered.await.expect("an answer")
    }

    async fn promote(&self, index: usize) -> Answer {
        self.ask(index, |answer| Command::Promote { force: false, answer })
            .await
    }

    async fn force(&self, index: usize) -> Answer {
        self.ask(index, |answer| Command::Promote { force: true, answer }).await
    }

    async fn commit(&self, index: usize) -> Committed {
        let (answer, answered) = oneshot::channel();
        let sent = self.nodes[index].commands.send(Command::Commit(answer)).await;
        assert!(sent.is_ok(), "the agent runs");
        answered.await.expect("an answer")
    }

    /// Both run, mail1 is the writer, and mail2 follows.
    async fn in_step(policy: Policy) -> Duo {
        let mut duo = Duo::new(policy).await;
        duo.until(0, "both see each other", |status| status.peer == Some(Standing::Empty))
            .await;
        duo.promote(0).await.expect("promoted");
        duo.until(0, "the peer follows", |s| {
            s.newest.is_some() && s.newest == s.peer_newest && s.doing == "in step"
        })
        .await;
        duo
    }

    fn write(&self, index: usize, name: &str) {
        assert!(
            self.nodes[index]
                .pool
                .write(MAIL, &format!("anna/new/{name}"), Some(name)),
            "{index} is writable"
        );
    }

    fn has(&self, index: usize, name: &str) -> bool {
        self.nodes[index]
            .pool
            .files(MAIL)
            .contains_key(&format!("anna/new/{name}"))
    }
}

#[tokio::test]
async fn a_new_cluster_begins_with_a_promote_and_the_other_node_gets_its_copy() {
    let duo = Duo::in_step(Policy::Defer).await;
    assert!(duo.nodes[0].pool.is_writable(MAIL) && !duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn mail_is_confirmed_only_when_the_peer_has_it() {
    let duo = Duo::in_step(Policy::Defer).await;
    duo.write(0, "one");
    assert_eq!(duo.commit(0).await, Committed::Both);
    assert!(duo.has(1, "one"));
}

#[tokio::test]
async fn what_nobody_waits_for_reaches_the_peer_as_well() {
    let mut duo = Duo::in_step(Policy::Defer).await;
    duo.write(0, "flags");
    let before = duo.nodes[0].status.borrow().newest;
    duo.until(0, "a new snapshot is there", |s| {
        s.newest != before && s.newest == s.peer_newest
    })
    .await;
    assert!(duo.has(1, "flags"));
}

#[tokio::test]
async fn many_who_wait_share_few_snapshots() {
    let duo = Duo::in_step(Policy::Defer).await;
    let before = duo.nodes[0].pool.snapshots_taken();
    for index in 0..100 {
        duo.write(0, &index.to_string());
    }
    let waits = (0..100).map(|_| duo.commit(0));
    let all = futures_all(waits).await;
    assert!(all.iter().all(|committed| *committed == Committed::Both));
    let taken = duo.nodes[0].pool.snapshots_taken() - before;
    assert!(taken <= 10, "{taken} snapshots for 100 messages");
}

/// Polls all of them together.
async fn futures_all<T: std::marker::Send>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(Box::pin).map(Some).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        for slot in &mut pending {
            if let Some(future) = slot
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                done.push(value);
                *slot = None;
            }
        }
        match pending.iter().all(Option::is_none) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done
}

#[tokio::test]
async fn without_the_peer_the_policy_decides() {
    for (policy, expected) in [(Policy::Accept, Committed::Alone), (Policy::Defer, Committed::Deferred)] {
        let mut duo = Duo::in_step(policy).await;
        duo.crash(1).await;
        duo.write(0, "alone");
        assert_eq!(duo.commit(0).await, expected);
    }
}

#[tokio::test]
async fn a_switch_over_loses_nothing_and_makes_no_tail() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.write(0, "last");
    let text = duo.ask(0, Command::Demote).await.expect("demoted");
    assert!(text.contains("has everything"), "{text}");
    duo.promote(1).await.expect("promoted");
    assert!(duo.has(1, "last"));
    duo.write(1, "first");
    duo.until(1, "the old writer follows", |s| {
        s.newest == s.peer_newest && s.doing == "in step"
    })
    .await;
    assert!(duo.nodes[0].status.borrow().kept.is_empty());
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.until(1, "the peer is seen", |status| status.peer == Some(Standing::Writer))
        .await;
    let why = duo.promote(1).await.unwrap_err();
    assert!(why.contains("demote it first"), "{why}");
    assert!(!duo.nodes[1].pool.is_writable(MAIL));
}

#[tokio::test]
async fn promote_and_demote_may_be_asked_for_twice() {
    let duo = Duo::in_step(Policy::Accept).await;
    let epoch = duo.nodes[0].status.borrow().epoch;
    duo.promote(0).await.expect("it is the writer");
    assert_eq!(duo.nodes[0].status.borrow().epoch, epoch);
    for _ in 0..2 {
        duo.ask(0, Command::Demote).await.expect("it is standby");
    }
}

#[tokio::test]
async fn the_tail_of_a_crashed_writer_is_merged_when_it_returns() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.crash(1).await;
    duo.write(0, "tail");
    duo.crash(0).await;
    duo.start(1).await;
    duo.until(1, "it is standby", |status| {
        status.doors == Doors::Closed && status.standing == Standing::Standby
    })
    .await;
    duo.promote(1).await.expect("promoted");
    duo.write(1, "new");
    assert!(!duo.has(1, "tail"));
    duo.start(0).await;
    duo.until(1, "the old writer follows", |s| {
        s.newest.is_some() && s.newest == s.peer_newest && s.doing == "in step" && s.unmerged == 0 && !s.kept.is_empty()
    })
    .await;
    for node in 0..2 {
        assert!(
            duo.has(node, "tail") && duo.has(node, "new"),
            "node {node} lacks something"
        );
    }
    assert_eq!(duo.nodes[0].status.borrow().kept.len(), 1, "its old store is kept");
}

#[tokio::test]
async fn an_agent_that_is_only_started_again_goes_on_as_writer() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].tasks.shutdown().await;
    duo.nodes[0].boots -= 1;
    duo.start(0).await;
    duo.until(0, "it is writer again", |s| {
        s.standing == Standing::Writer && s.doors == Doors::Open
    })
    .await;
}

#[tokio::test]
async fn a_reseed_keeps_what_was_there_and_takes_a_new_copy() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.until(1, "the peer is seen", |status| status.peer == Some(Standing::Writer))
        .await;
    let text = duo.ask(1, Command::Reseed).await.expect("put aside");
    assert!(text.contains("tank/mail-old-"), "{text}");
    duo.until(1, "a new copy is there", |s| {
        s.newest.is_some() && s.newest == s.peer_newest
    })
    .await;
    assert_eq!(duo.nodes[1].status.borrow().kept.len(), 1);
    let why = duo.ask(0, Command::Reseed).await.unwrap_err();
    assert!(why.contains("only a standby"), "{why}");
}

#[tokio::test]
async fn doors_that_do_not_close_do_not_keep_the_store_writable() {
    let mut duo = Duo::in_step(Policy::Accept).await;
    duo.nodes[0].stuck.store(true, Ordering::SeqCst);
    let (answer, answered) = oneshot::channel();
    let sent = duo.nodes[0].commands.send(Command::Demote(answer)).await;
    assert!(sent.is_ok(), "the agent runs");
    duo.until(0, "the trouble is told", |s| {
        s.trouble.as_ref().is_some_and(|t| t.contains("stuck"))
    })
    .await;
    let pool = duo.nodes[0].pool.clone();
    duo.until(0, "it is not writable", |_| !pool.is_writable(MAIL)).await;
    duo.nodes[0].stuck.store(false, Ordering::SeqCst);
    answered.await.expect("an answer").expect("demoted");
}

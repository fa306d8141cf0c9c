//! The two nodes of the tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::act::{Conflicts, MergeJob, OutsideError};
use crate::agent::*;
use crate::core::Standing;
use crate::link::Tls;
use crate::link::client::Client;
use crate::link::server::Server;
use crate::link::tests::{Authority, limits};
use crate::metrics::Metrics;
use crate::zfs::Change;
use crate::zfs::fake::FakePool;

pub const MAIL: &str = "tank/mail";

pub struct FakeOutside {
    pub pool: Arc<FakePool>,
    pub open: Mutex<bool>,
    pub stuck: Arc<AtomicBool>,
    pub lift_fails: Arc<AtomicUsize>,
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

    async fn end_writers(&self) -> Result<(), OutsideError> {
        self.pool.end_writer();
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

    async fn announce(&self, _tail: &str, _tail_changes: &[Change]) -> Result<(), OutsideError> {
        Ok(())
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
pub struct Node {
    pub name: &'static str,
    pub pool: Arc<FakePool>,
    pub address: SocketAddr,
    pub boots: u32,
    pub stuck: Arc<AtomicBool>,
    /// So many more times lifting UIDs does not work.
    pub lift_fails: Arc<AtomicUsize>,
    pub tasks: JoinSet<()>,
    pub commands: mpsc::Sender<Command>,
    pub status: watch::Receiver<Status>,
}

pub struct Duo {
    pub authority: Authority,
    pub policy: Policy,
    pub nodes: Vec<Node>,
}

/// An address of one node alone. Its port is free while the node is off, and no other test may have it then: connections and
/// listeners of others are at other addresses.
async fn own_address() -> SocketAddr {
    static NODES: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 0x80, low, NODES.fetch_add(1, Ordering::SeqCst));
    TcpListener::bind((address, 0))
        .await
        .and_then(|listener| listener.local_addr())
        .expect("a port")
}

impl Duo {
    pub async fn new(policy: Policy) -> Duo {
        let mut nodes = Vec::new();
        for (seed, name) in [(1, "mail1"), (2, "mail2")] {
            nodes.push(Node {
                name,
                pool: Arc::new(FakePool::new(seed)),
                address: own_address().await,
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

    pub fn tls(&self, index: usize) -> Tls {
        self.authority.tls(self.nodes[index].name, self.nodes[1 - index].name)
    }

    pub async fn start(&mut self, index: usize) {
        let tls = self.tls(index);
        let (peer_name, peer_address) = (self.nodes[1 - index].name, self.nodes[1 - index].address);
        let policy = self.policy;
        let node = &mut self.nodes[index];
        node.pool.start();
        node.boots += 1;
        let client = Arc::new(Client::new(tls.clone(), node.name.to_owned(), peer_address, limits()));
        let (commands, commands_in) = mpsc::channel(64);
        let (calls, calls_in) = mpsc::channel(1);
        let (view, view_out) = watch::channel(PeerView::unknown());
        let (status, status_out) = watch::channel(Status::unknown());
        let (peer_state, _) = watch::channel(crate::link::Heard::nothing());
        let server = Server {
            tls,
            peer: peer_name.to_owned(),
            view: view_out,
            calls,
            releases: Arc::new(crate::link::tests::Shelf::default()),
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
                disks: short,
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
    pub async fn crash(&mut self, index: usize) {
        self.nodes[index].tasks.shutdown().await;
        self.nodes[index].pool.crash();
    }

    pub async fn until(&mut self, index: usize, what: &str, holds: impl FnMut(&Status) -> bool) {
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

    pub async fn ask(&self, index: usize, command: impl FnOnce(oneshot::Sender<Answer>) -> Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.nodes[index].commands.send(command(answer)).await;
        assert!(sent.is_ok(), "the agent runs");
        answered.await.expect("an answer")
    }

    pub async fn promote(&self, index: usize) -> Answer {
        self.ask(index, |answer| Command::Promote { force: false, answer })
            .await
    }

    pub async fn force(&self, index: usize) -> Answer {
        self.ask(index, |answer| Command::Promote { force: true, answer }).await
    }

    pub async fn commit(&self, index: usize) -> Committed {
        let (answer, answered) = oneshot::channel();
        let sent = self.nodes[index].commands.send(Command::Commit(answer)).await;
        assert!(sent.is_ok(), "the agent runs");
        answered.await.expect("an answer")
    }

    /// Both run, mail1 is the writer, and mail2 follows.
    pub async fn in_step(policy: Policy) -> Duo {
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

    pub fn write(&self, index: usize, name: &str) {
        assert!(
            self.nodes[index]
                .pool
                .write(MAIL, &format!("anna/new/{name}"), Some(name)),
            "{index} is writable"
        );
    }

    pub fn has(&self, index: usize, name: &str) -> bool {
        self.nodes[index]
            .pool
            .files(MAIL)
            .contains_key(&format!("anna/new/{name}"))
    }
}

/// Polls all of them together.
pub async fn futures_all<T: std::marker::Send>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
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

//! The commit proxy: LMTP (RFC 2033) from the gateways to Dovecot. A message that Dovecot has taken is acknowledged only
//! when the other node has confirmed the snapshot that holds it; many messages wait for one snapshot. The gateway keeps what
//! was not acknowledged and delivers it again; Dovecot knows it then by the gateway's queue id, and what came by a merge is
//! not given to Dovecot.

mod backend;
mod data;
mod idle;
mod late;
mod mailboxes;
mod session;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

pub use self::idle::Idle;
pub use self::mailboxes::Mailboxes;
use crate::agent::{Command, Committed, Status};
use crate::config::{CommitConfig, Policy};
use crate::core::{Doors, Standing};
use crate::deliveries::Deliveries;
use crate::metrics::Metrics;

/// Who confirms.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Whether a message that comes now can be acknowledged; the error is for the client.
    fn ready(&self) -> Result<(), &'static str>;
    /// Waits until what is on the local disk now is on the other node too.
    async fn commit(&self) -> Committed;
}

/// The agent, as the proxy sees it.
pub struct Agent {
    /// To the agent.
    pub commands: mpsc::Sender<Command>,
    /// How the node stands.
    pub status: watch::Receiver<Status>,
    /// What happens while the peer does not follow.
    pub policy: Policy,
}

#[async_trait]
impl Committer for Agent {
    fn ready(&self) -> Result<(), &'static str> {
        let status = self.status.borrow();
        if status.standing != Standing::Writer || status.doors != Doors::Open {
            return Err("this node takes no mail now");
        }
        if !status.follows && self.policy == Policy::Defer {
            return Err("the other node does not confirm mail now");
        }
        Ok(())
    }

    async fn commit(&self) -> Committed {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Commit(answer)).await.is_err() {
            return Committed::Deferred;
        }
        answered.await.unwrap_or(Committed::Deferred)
    }
}

/// What all sessions share.
pub struct Proxy {
    /// Limits and places.
    pub config: CommitConfig,
    /// Name in the greeting.
    pub name: String,
    /// Nobody delivers without TLS if it is there.
    pub tls: Option<TlsAcceptor>,
    /// Who confirms.
    pub committer: Arc<dyn Committer>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Connections to Dovecot that nobody uses now.
    pub idle: Idle,
    /// Turns to deliver.
    pub turns: Arc<Semaphore>,
    /// To whom Dovecot delivers just now.
    pub mailboxes: Mailboxes,
    /// What came by other ways.
    pub deliveries: Arc<Deliveries>,
}

impl Proxy {
    /// Nobody is connected yet.
    pub fn new(
        config: CommitConfig,
        name: String,
        tls: Option<TlsAcceptor>,
        committer: Arc<dyn Committer>,
        metrics: Arc<Metrics>,
        deliveries: Arc<Deliveries>,
    ) -> Proxy {
        Proxy {
            turns: Arc::new(Semaphore::new(config.limits.deliveries)),
            config,
            name,
            tls,
            committer,
            metrics,
            idle: Idle::default(),
            mailboxes: Mailboxes::default(),
            deliveries,
        }
    }
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, proxy: Arc<Proxy>) {
    let places = Arc::new(Semaphore::new(proxy.config.limits.connections));
    let mut sessions = JoinSet::new();
    loop {
        let (mut tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("a connection could not be accepted: {error}");
                continue;
            }
        };
        while sessions.try_join_next().is_some() {}
        let (proxy, place) = (proxy.clone(), places.clone().try_acquire_owned());
        sessions.spawn(async move {
            let Ok(_place) = place else {
                // Who is turned away may be gone already.
                let _ = tcp.write_all(b"421 4.3.2 Too many connections\r\n").await;
                return;
            };
            if let Err(error) = talk(tcp, &proxy).await {
                debug!("the session with {from} ended: {error}");
            }
        });
    }
}

/// A session, and the one inside of TLS if the client asks for it.
async fn talk(tcp: TcpStream, proxy: &Proxy) -> io::Result<()> {
    let Some(tcp) = session::run(tcp, proxy, false).await? else {
        return Ok(());
    };
    let Some(acceptor) = &proxy.tls else { return Ok(()) };
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "silent in the middle of the TLS handshake");
    let limit = proxy.config.limits.client.0;
    let tls = timeout(limit, acceptor.accept(tcp)).await.map_err(silent)??;
    session::run(tls, proxy, true).await.map(drop)
}

//! The side that dials. The connection is made when it is needed and kept; after any error it is dropped, and the next
//! request makes another one.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::frame::{self, Frame, PIECE};
use super::{Heard, Reply, Request, Tls, VERSION};
use crate::act::{Peer, PeerError};
use crate::core::{Offer, PeerView, Target};
use crate::release::{self, Host, HostError, Told};
use crate::zfs::{Guid, Stream};

/// A limit that is none.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

enum Ended {
    Early(Reply),
    Whole(io::Result<()>, Reply),
}

type Wire = TlsStream<TcpStream>;

struct Connection {
    read: ReadHalf<Wire>,
    write: WriteHalf<Wire>,
}

/// Time limits of the link.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of a connect with its handshake.
    pub connect: Duration,
    /// Of silence.
    pub silence: Duration,
    /// Of the answer to how the peer stands.
    pub state: Duration,
    /// Of the answer after the end of a stream, in which the peer writes it to its disks.
    pub answer: Duration,
}

/// Asks the other node.
pub struct Client {
    tls: Tls,
    name: String,
    address: SocketAddr,
    limits: Limits,
    connection: Mutex<Option<Connection>>,
}

fn lost(error: io::Error) -> PeerError {
    PeerError::Lost(error.to_string())
}

impl Client {
    /// Nothing is dialled yet.
    pub fn new(tls: Tls, name: String, address: SocketAddr, limits: Limits) -> Client {
        Client {
            tls,
            name,
            address,
            limits,
            connection: Mutex::new(None),
        }
    }

    /// When the other node was asked how it stands, and what it said; `None` while a stream is on its way, which is a sign of life itself.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn state(&self) -> Option<(Instant, Result<PeerView, PeerError>)> {
        let mut slot = self.connection.try_lock().ok()?;
        let begun = Instant::now();
        let asked = timeout(self.limits.state, self.ask(&mut slot, &Request::State)).await;
        let late = || PeerError::Lost(format!("it has not said how it stands within {:?}", self.limits.state));
        Some((begun, asked.unwrap_or_else(|_| Err(late()))))
    }

    /// Asks the peer how it stands, again and again.
    pub async fn watch_peer(self: Arc<Client>, every: Duration, peer: watch::Sender<Heard>) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some((asked, said)) = self.state().await else {
                continue;
            };
            if let Err(error) = &said
                && peer.borrow().view.is_some()
            {
                warn!("{error}");
            }
            let view = said.ok();
            peer.send_if_modified(|before| before.update(Heard { view, asked }));
        }
    }

    async fn dial(&self) -> io::Result<Connection> {
        let work = async {
            let tcp = TcpStream::connect(self.address).await?;
            tcp.set_nodelay(true)?;
            let wire = self.tls.connector.connect(self.tls.peer.clone(), tcp).await?;
            let (read, write) = tokio::io::split(wire);
            Ok(Connection { read, write })
        };
        let limit = self.limits.connect;
        let mut connection = timeout(limit, work).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection after {limit:?}"),
            ))
        })?;
        let hello = Request::Hello {
            version: VERSION,
            name: self.name.clone(),
        };
        frame::say(&mut connection.write, &hello, limit).await?;
        let _: Reply = frame::hear(&mut connection.read, limit).await?;
        Ok(connection)
    }

    /// A connection that is taken out of its place, so that one on which something went wrong is not used again.
    async fn connected(&self, slot: &mut Option<Connection>) -> Result<Connection, PeerError> {
        match slot.take() {
            Some(connection) => Ok(connection),
            None => self.dial().await.map_err(lost),
        }
    }

    async fn ask(&self, slot: &mut Option<Connection>, request: &Request) -> Result<PeerView, PeerError> {
        understood(self.exchange(slot, request).await?)
    }

    async fn exchange(&self, slot: &mut Option<Connection>, request: &Request) -> Result<Reply, PeerError> {
        let mut connection = self.connected(slot).await?;
        frame::say(&mut connection.write, request, self.limits.silence)
            .await
            .map_err(lost)?;
        let reply = frame::hear(&mut connection.read, self.limits.silence)
            .await
            .map_err(lost)?;
        *slot = Some(connection);
        Ok(reply)
    }

    /// Sends a request and the stream that belongs to it.
    async fn with_stream(&self, request: &Request, mut stream: Stream) -> Result<Reply, PeerError> {
        let mut slot = self.connection.lock().await;
        let mut connection = self.connected(&mut slot).await?;
        let Connection { read, write } = &mut connection;
        let limits = self.limits;
        frame::say(write, request, limits.silence).await.map_err(lost)?;
        let ended = {
            // A refusal may come before the stream has ended. Until then only the pump has a limit, on silence.
            let mut reply = pin!(frame::hear::<_, Reply>(read, FOREVER));
            let mut sent = pin!(pump(&mut stream, write, limits.silence));
            tokio::select! {
                reply = &mut reply => Ended::Early(reply.map_err(lost)?),
                sent = &mut sent => {
                    let sent = sent.map_err(lost)?;
                    let reply = timeout(limits.answer, &mut reply).await;
                    let reply = reply.map_err(|_| PeerError::Lost("no answer to a stream".to_owned()))?;
                    Ended::Whole(sent, reply.map_err(lost)?)
                }
            }
        };
        match ended {
            Ended::Whole(sent, reply) => {
                *slot = Some(connection);
                sent.map_err(|error| PeerError::Source(error.to_string()))?;
                Ok(reply)
            }
            // The pump was stopped, perhaps in the middle of a frame: this connection is of no more use.
            Ended::Early(reply) => Ok(reply),
        }
    }
}

fn understood(reply: Reply) -> Result<PeerView, PeerError> {
    match reply {
        Reply::View(view) => Ok(view),
        Reply::Refused(refusal) => Err(PeerError::Refused(refusal)),
        Reply::Releases(_) | Reply::Release(_) => Err(PeerError::Lost("it answered something else".to_owned())),
    }
}

fn of_host(error: PeerError) -> HostError {
    match error {
        PeerError::Refused(refusal) => HostError::Refused(refusal.to_string()),
        PeerError::Source(why) => HostError::Refused(format!("the stream could not be read: {why}")),
        PeerError::Lost(why) => HostError::Lost(why),
    }
}

/// The other node, asked about releases.
#[async_trait]
impl Host for Client {
    async fn ask(&self, ask: release::Ask) -> Result<Told, HostError> {
        let mut slot = self.connection.lock().await;
        match self.exchange(&mut slot, &Request::Releases(ask)).await {
            Ok(Reply::Releases(told)) => told.map_err(HostError::Refused),
            Ok(other) => Err(of_host(not_about_releases(other))),
            Err(error) => Err(of_host(error)),
        }
    }

    async fn take(&self, name: release::Name, stream: Stream) -> Result<(), HostError> {
        match self.with_stream(&Request::Release(name), stream).await {
            Ok(Reply::Release(done)) => done.map_err(HostError::Refused),
            Ok(other) => Err(of_host(not_about_releases(other))),
            Err(error) => Err(of_host(error)),
        }
    }
}

fn not_about_releases(reply: Reply) -> PeerError {
    match understood(reply) {
        Err(error) => error,
        Ok(_) => PeerError::Lost("it answered something else".to_owned()),
    }
}

/// Sends a stream in frames. An error of the stream itself is told to the other side and returned inside.
async fn pump(stream: &mut Stream, write: &mut WriteHalf<Wire>, limit: Duration) -> io::Result<Result<(), io::Error>> {
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => {
                frame::write(write, &Frame::End, limit).await?;
                return Ok(Ok(()));
            }
            Ok(read) => frame::write(write, &Frame::Data(piece[..read].to_vec()), limit).await?,
            Err(error) => {
                frame::write(write, &Frame::Broken, limit).await?;
                return Ok(Err(error));
            }
        }
    }
}

#[async_trait]
impl Peer for Client {
    async fn offer(&self, offer: Offer, stream: Stream) -> Result<PeerView, PeerError> {
        understood(self.with_stream(&Request::Offer(offer), stream).await?)
    }

    async fn abort(&self, target: Target, snapshot: Guid) -> Result<PeerView, PeerError> {
        let mut slot = self.connection.lock().await;
        self.ask(&mut slot, &Request::Abort { target, snapshot }).await
    }
}

//! The side that listens: proves who dials, answers at once how this node stands, and hands streams to the agent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::frame::{self, Frame};
use super::{Reply, Request, Tls, VERSION};
use crate::core::{Offer, PeerView, Refusal, Target};
use crate::release::{Host, HostError};
use crate::zfs::{Guid, Stream};

/// Something that only the agent can answer.
pub enum Call {
    /// A stream.
    Offer {
        /// What it is.
        offer: Offer,
        /// Its bytes.
        stream: Stream,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<PeerView, Refusal>>,
    },
    /// Throw away what is half received.
    Abort {
        /// Where.
        target: Target,
        /// Snapshot that names a tail.
        snapshot: Guid,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<PeerView, Refusal>>,
    },
}

/// What connections need.
#[derive(Clone)]
pub struct Server {
    /// Proves who dials.
    pub tls: Tls,
    /// The peer's name.
    pub peer: String,
    /// How this node stands.
    pub view: watch::Receiver<PeerView>,
    /// To the agent.
    pub calls: mpsc::Sender<Call>,
    /// The releases of this node; none of the agent's business, so mail does not wait for them.
    pub releases: Arc<dyn Host>,
    /// A peer that is silent for longer is lost.
    pub silence: Duration,
}

impl Server {
    /// Serves connections until it is dropped.
    pub async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((tcp, from)) => {
                    let server = self.clone();
                    connections.spawn(async move {
                        if let Err(error) = server.connection(tcp).await {
                            info!("the connection from {from} ended: {error}");
                        }
                    });
                }
                // Of no more descriptors, mostly; those that end make room.
                Err(error) => warn!("a connection could not be accepted: {error}"),
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn connection(&self, tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let handshake = timeout(self.silence, self.tls.acceptor.accept(tcp)).await;
        let mut wire = handshake.map_err(|_| io::Error::other("no TLS handshake"))??;
        if !self.tls.is_peer(wire.get_ref().1.peer_certificates()) {
            return Err(io::Error::other(format!("the certificate is not {}'s", self.peer)));
        }
        match frame::hear(&mut wire, self.silence).await? {
            Request::Hello { version: VERSION, name } if name == self.peer => {}
            other => return Err(io::Error::other(format!("not greeted as expected: {other:?}"))),
        }
        info!("{} is connected", self.peer);
        self.say_view(&mut wire).await?;
        loop {
            match frame::hear(&mut wire, self.silence).await? {
                Request::Hello { .. } => return Err(io::Error::other("greeted twice")),
                Request::State => self.say_view(&mut wire).await?,
                Request::Abort { target, snapshot } => {
                    let (answer, answered) = oneshot::channel();
                    let call = Call::Abort {
                        target,
                        snapshot,
                        answer,
                    };
                    let reply = self.ask(call, answered).await;
                    frame::say(&mut wire, &reply, self.silence).await?;
                }
                Request::Offer(offer) => {
                    debug!("offered {offer:?}");
                    let (pieces, stream) = incoming();
                    let (answer, answered) = oneshot::channel();
                    let reply = self.ask(Call::Offer { offer, stream, answer }, answered);
                    self.with_stream(&mut wire, pieces, reply).await?;
                }
                Request::Releases(ask) => {
                    let told = self.releases.ask(ask).await.map_err(in_words);
                    frame::say(&mut wire, &Reply::Releases(told), self.silence).await?;
                }
                Request::Release(name) => {
                    let (pieces, stream) = incoming();
                    let reply = async { Reply::Release(self.releases.take(name, stream).await.map_err(in_words)) };
                    self.with_stream(&mut wire, pieces, reply).await?;
                }
            }
        }
    }

    async fn say_view<W: tokio::io::AsyncWrite + Unpin>(&self, wire: &mut W) -> io::Result<()> {
        let view = self.view.borrow().clone();
        frame::say(wire, &Reply::View(view), self.silence).await
    }

    async fn ask(&self, call: Call, answered: oneshot::Receiver<Result<PeerView, Refusal>>) -> Reply {
        if self.calls.try_send(call).is_err() {
            return Reply::Refused(Refusal::Busy);
        }
        match answered.await {
            Ok(Ok(view)) => Reply::View(view),
            Ok(Err(refusal)) => Reply::Refused(refusal),
            Err(_) => Reply::Refused(Refusal::Busy),
        }
    }

    /// Passes on the stream that follows a request, and says what came of it.
    async fn with_stream<W: AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        wire: &mut W,
        pieces: mpsc::Sender<Piece>,
        reply: impl Future<Output = Reply>,
    ) -> io::Result<()> {
        let (mut read, mut write) = tokio::io::split(wire);
        let silence = self.silence;
        let receive = async {
            let mut pieces = Some(pieces);
            loop {
                match frame::read(&mut read, silence).await? {
                    Frame::Data(piece) => forward(&mut pieces, Piece::Bytes(piece)).await,
                    Frame::End => {
                        forward(&mut pieces, Piece::End).await;
                        return Ok(());
                    }
                    Frame::Broken => return Ok(()),
                    Frame::Message(_) => return Err(io::Error::other("a message in the middle of a stream")),
                }
            }
        };
        let reply = async {
            let reply = reply.await;
            frame::say(&mut write, &reply, silence).await
        };
        // An error of either drops the other: the stream then breaks off for who reads it.
        tokio::try_join!(receive, reply)?;
        write.flush().await
    }
}

fn in_words(error: HostError) -> String {
    match error {
        HostError::Refused(why) | HostError::Lost(why) => why,
    }
}

/// Passes a piece on; after a refusal nobody wants it any more.
async fn forward(pieces: &mut Option<mpsc::Sender<Piece>>, piece: Piece) {
    if let Some(sender) = pieces
        && sender.send(piece).await.is_err()
    {
        *pieces = None;
    }
}

/// A stream and the place where its pieces go.
fn incoming() -> (mpsc::Sender<Piece>, Stream) {
    let (pieces, incoming) = mpsc::channel(8);
    let stream = Incoming {
        pieces: incoming,
        piece: Vec::new(),
        at: 0,
        whole: false,
    };
    (pieces, Box::new(stream))
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// A stream from the wire. It ends well only if its end was said.
struct Incoming {
    pieces: mpsc::Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    whole: bool,
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.at == self.piece.len() {
            if self.whole {
                return Poll::Ready(Ok(()));
            }
            match std::task::ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::Bytes(piece)) => {
                    self.piece = piece;
                    self.at = 0;
                }
                Some(Piece::End) => self.whole = true,
                None => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
        let fits = buf.remaining().min(self.piece.len() - self.at);
        buf.put_slice(&self.piece[self.at..self.at + fits]);
        self.at += fits;
        Poll::Ready(Ok(()))
    }
}

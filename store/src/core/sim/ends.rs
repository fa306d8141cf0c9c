//! A node's doors, Dovecot and link, in the model.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::act::{Conflicts, MergeJob, OutsideError, PeerError};
use crate::core::{Offer, Refusal, accept};
use crate::zfs::{Change, Guid, Stream};

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

pub struct SimOutside<'a>(pub &'a Node);

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

    async fn end_writers(&self) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn lift_uids(&self) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn announce(&self, _tail: &str, _tail_changes: &[Change]) -> Result<(), OutsideError> {
        Ok(())
    }

    async fn merge(&self, job: &MergeJob) -> Result<Conflicts, OutsideError> {
        let tail = self.0.pool.files(&job.tail);
        for change in &job.tail_changes {
            let Change::Added(path) = change else { continue };
            let id = &tail[path];
            let is_live = self.0.pool.files(&job.live).values().any(|live| live == id);
            if (!is_live || self.0.blind_merge) && !self.0.pool.write(&job.live, path, Some(id)) {
                return Err(OutsideError("the live store cannot be written".to_owned()));
            }
        }
        Ok(Conflicts::new())
    }

    fn tail_mountpoint(&self) -> String {
        "/run/tail".to_owned()
    }
}

pub struct SimPeer<'a> {
    pub world: &'a World,
    pub other: usize,
}

impl SimPeer<'_> {
    async fn serve(&self, offer: Offer, stream: Stream) -> Result<PeerView, PeerError> {
        let node = &self.world.nodes[self.other];
        let off = || PeerError::Lost("off".to_owned());
        let mut pool = self.world.look(self.other).await.ok_or_else(off)?;
        if accept(&self.world.situation(self.other, &pool, None), &offer).is_err() {
            // What is not taken by what is known is judged by what is there.
            node.knows(None);
            pool = self.world.look(self.other).await.ok_or_else(off)?;
        }
        let is_live = pool
            .live
            .as_ref()
            .is_some_and(|live| live.by_guid(offer.snapshot).is_some());
        assert!(
            offer.target == Target::Live || !is_live,
            "a tail is sent of what the writer has"
        );
        let situation = self.world.situation(self.other, &pool, None);
        let nobody = SimPeer {
            world: self.world,
            other: 1 - self.other,
        };
        let boot = node.boot.clone();
        let served = self
            .world
            .hands(node, &SimOutside(node), &nobody, &boot)
            .serve(&situation, &offer, stream)
            .await;
        let mut view = Some(pool.clone());
        let known = match (&served, &mut view) {
            (Ok(served), Some(view)) => view.after_serving(&offer, served),
            (Err(_), Some(view)) if self.world.defect == Defect::HopefulView => self.hope(view, &offer),
            _ => false,
        };
        node.knows(view.filter(|_| known && !node.pool.is_down()));
        if served.is_ok() && offer.target == Target::Live {
            self.came_from_peer(&offer);
        }
        if known && served.is_err() {
            return self.view().await;
        }
        if let Err(refusal) = served {
            let forced = self.world.defect == Defect::ForcedReceive && offer.target == Target::Live;
            return Err(match refusal {
                Refusal::Zfs(why) if node.pool.is_down() => PeerError::Lost(why),
                Refusal::WrongBase if forced => PeerError::Lost("forced".to_owned()),
                refusal => PeerError::Refused(refusal),
            });
        }
        self.view().await
    }

    /// The peer has what it sends, whatever it said before.
    fn came_from_peer(&self, offer: &Offer) {
        let mut heard = self.world.nodes[self.other].heard.lock().expect("news");
        if let Some(heard) = heard
            .as_mut()
            .filter(|heard| !heard.snapshots.contains(&offer.snapshot))
            && self.world.defect != Defect::ForgetfulReceiver
        {
            heard.snapshots.push(offer.snapshot);
        }
    }

    /// The planted defect: the view has what was offered.
    fn hope(&self, view: &mut Pool, offer: &Offer) -> bool {
        let Some(live) = view
            .live
            .as_mut()
            .filter(|_| offer.target == Target::Live && offer.resume.is_none())
        else {
            return false;
        };
        if offer.base.is_none() || live.by_guid(offer.snapshot).is_some() {
            return false;
        }
        live.snapshots.push(crate::zfs::Snapshot {
            name: format!("hoped-{}", offer.snapshot),
            guid: offer.snapshot,
            written: None,
            held: false,
            cloned: false,
        });
        true
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
        node.knows(None);
        self.view().await
    }
}

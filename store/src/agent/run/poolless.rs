//! A node without a pool: its disks are blank, since one was replaced, or are not all there. It has nothing and serves nobody,
//! and says so, until somebody has made or brought back the pool.

use tracing::warn;

use super::Agent;
use crate::agent::Status;
use crate::core::{Doors, PeerView};
use crate::zfs::Role;

impl Agent {
    /// Closes the doors. Whoever asks whether this node is the writer, and stops it if that is not certain, is told that it is
    /// not.
    pub(super) async fn without_pool(&mut self) {
        if self.goal == Role::Writer {
            warn!("the pool of the writer is gone: this node becomes standby");
            self.goal = Role::Standby;
            self.doors = Doors::Unknown;
        }
        self.unwell.clear();
        if self.doors == Doors::Closed {
            return;
        }
        match self.parts.outside.close_doors().await {
            Ok(()) => self.doors = Doors::Closed,
            Err(error) => warn!("the doors do not close: {error}"),
        }
    }

    /// What people, and the other node, are told while the pool is not known.
    pub(super) fn publish_trouble(&self) {
        let trouble = self.trouble.clone();
        if !self.no_pool {
            self.parts.status.send_modify(|status| status.trouble = trouble);
            return;
        }
        let status = Status {
            doors: self.doors,
            peer: self.peer.as_ref().map(|peer| peer.standing),
            peer_newest: self.peer.as_ref().and_then(PeerView::newest),
            doing: "waiting for a pool".to_owned(),
            trouble,
            ..Status::unknown()
        };
        self.parts.metrics.stands(&status);
        self.parts
            .status
            .send_if_modified(|old| std::mem::replace(old, status.clone()) != status);
        // Not that it is empty: a pool that is only late may hold mail which the other node lacks.
        let view = PeerView::unknown();
        self.parts
            .view
            .send_if_modified(|old| std::mem::replace(old, view.clone()) != view);
    }

    /// Answers those who wait for a role.
    pub(super) fn answer_without_pool(&mut self) {
        if !self.no_pool {
            return;
        }
        for wish in std::mem::take(&mut self.wishes) {
            let answer = match wish.goal {
                Role::Standby if self.doors == Doors::Closed => {
                    Ok("this node has no pool, and its doors are closed".to_owned())
                }
                Role::Standby => {
                    self.wishes.push(wish);
                    continue;
                }
                Role::Writer => Err("this node has no pool".to_owned()),
            };
            // Who asked may have gone.
            let _ = wish.answer.send(answer);
        }
    }
}

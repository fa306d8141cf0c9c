//! Snapshots on their way to the standby, confirmations on their way back, and the tail that a returning node brings.

use std::time::Duration;

use super::{Contents, Standing};
use crate::fleet::Role;
use crate::fleet::fake::world::{Tick, World};
use crate::scenario::defect::Defect;

/// A writer whose standby is gone acknowledges alone after this long (`peer_missing = "accept"`).
const ALONE: Duration = Duration::from_secs(2);

/// A snapshot on its way.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    guid: u64,
    writes: u64,
    contents: Contents,
}

impl World {
    /// The other node, if it can take a snapshot.
    fn follower(&self, node: &str) -> Option<String> {
        let peer = self.peer(node)?;
        let follows = self.runs(&peer)
            && self.linked(node, &peer)
            && self.stands(&peer, Standing::Standby)
            && !self.replica(&peer).is_some_and(|replica| replica.full);
        follows.then_some(peer)
    }

    /// Takes a snapshot if there is something new, and sends it; or goes on alone.
    pub(super) fn replicate(&mut self, node: &str) {
        if !self.runs(node) || !self.stands(node, Standing::Writer) {
            return;
        }
        match self.follower(node) {
            Some(peer) => self.send(node, &peer),
            None => self.go_on_alone(node),
        }
    }

    fn send(&mut self, node: &str, peer: &str) {
        let peer_newest = self.replica(peer).map(|replica| replica.newest);
        let behind = self
            .replica(node)
            .is_some_and(|replica| replica.writes > replica.snapshotted || Some(replica.newest) != peer_newest);
        let idle = self.replica(node).is_some_and(|replica| replica.sending.is_none());
        if !behind || !idle {
            return;
        }
        let Some(guid) = self.snapshot(node) else { return };
        let early = self.has(Defect::StoreLateCopy) || self.has(Defect::StoreStuck);
        if let Some(replica) = self.replica_mut(node) {
            replica.alone = None;
            replica.sending = Some(Parcel {
                guid,
                writes: replica.writes,
                contents: replica.live.clone(),
            });
        }
        if early {
            self.confirm(node, None);
        }
        if self.has(Defect::StoreStuck) {
            return;
        }
        let way = match self.has(Defect::StoreLateCopy) {
            true => Duration::from_secs(8),
            false => self.between(80, 300),
        };
        self.after(way, Tick::Received(node.to_owned(), guid));
    }

    /// A new snapshot if something was written since the newest; the newest.
    fn snapshot(&mut self, node: &str) -> Option<u64> {
        let store = self.store.as_mut()?;
        let guid = store.guid();
        let replica = store.nodes.get_mut(node)?;
        if replica.writes > replica.snapshotted {
            replica.newest = guid;
            replica.snapshotted = replica.writes;
        }
        Some(replica.newest)
    }

    fn go_on_alone(&mut self, node: &str) {
        let now = self.now;
        self.snapshot(node);
        let Some(replica) = self.replica_mut(node) else { return };
        replica.sending = None;
        let since = *replica.alone.get_or_insert(now);
        if now - since >= ALONE && replica.confirmed < replica.writes {
            self.confirm(node, None);
        }
    }

    /// The senders of what was written so far are told.
    fn confirm(&mut self, node: &str, writes: Option<u64>) {
        if let Some(replica) = self.replica_mut(node) {
            replica.confirmed = writes.unwrap_or(replica.writes).max(replica.confirmed);
        }
        for gateway in self.of_role(Role::Gateway) {
            self.run_queue(&gateway);
        }
    }

    /// A snapshot has come, if both nodes still stand.
    pub fn received(&mut self, node: &str, guid: u64) {
        let fits = |parcel: &Parcel| parcel.guid == guid;
        let Some(replica) = self.replica_mut(node) else { return };
        let Some(parcel) = replica.sending.take_if(|parcel| fits(parcel)) else {
            return;
        };
        let Some(peer) = self.follower(node).filter(|_| self.runs(node)) else {
            return;
        };
        self.arrive(node, &peer, parcel);
    }

    fn arrive(&mut self, node: &str, peer: &str, parcel: Parcel) {
        let epoch = self.replica(node).map_or(0, |replica| replica.epoch);
        let copy = spoilt(parcel.contents.clone(), self.defect, &self.topology.users);
        if let Some(replica) = self.replica_mut(peer) {
            replica.live = copy.clone();
            replica.base = copy;
            replica.newest = parcel.guid;
            replica.epoch = epoch;
        }
        if let Some(replica) = self.replica_mut(node) {
            replica.base = parcel.contents;
        }
        self.confirm(node, Some(parcel.writes));
    }

    /// The last snapshot before the role goes; true if the other node has everything. Nothing is told here of what waits:
    /// the gateway sees closed doors, and tries the next writer, which has the message already.
    pub(super) fn hand_over(&mut self, node: &str) -> bool {
        let Some(peer) = self.follower(node) else { return false };
        let Some(guid) = self.snapshot(node) else { return false };
        let Some(replica) = self.replica_mut(node) else {
            return false;
        };
        replica.sending = None;
        replica.standing = Standing::Standby;
        let parcel = Parcel {
            guid,
            writes: replica.writes,
            contents: replica.live.clone(),
        };
        self.arrive(node, &peer, parcel);
        true
    }

    /// A node that does not know what it has asks the writer, if there is one.
    pub(super) fn rejoin(&mut self, node: &str) {
        let Some(peer) = self.peer(node) else { return };
        let waits = self.runs(node) && self.stands(node, Standing::Unsettled);
        let writer = self.runs(&peer) && self.linked(node, &peer) && self.stands(&peer, Standing::Writer);
        let idle = self
            .replica(node)
            .is_some_and(|replica| !replica.merging && !replica.promoting);
        if waits && writer && idle {
            if let Some(replica) = self.replica_mut(node) {
                replica.merging = true;
            }
            let soon = self.between(2000, 4000);
            self.after(soon, Tick::Merged(node.to_owned()));
        }
    }

    /// The tail is merged into the writer's store, and the node begins anew as standby.
    pub fn merged(&mut self, node: &str) {
        let Some(peer) = self.peer(node) else { return };
        let Some(replica) = self.replica_mut(node) else { return };
        if !std::mem::take(&mut replica.merging) || replica.standing != Standing::Unsettled {
            return;
        }
        let (tail, base) = (replica.live.clone(), replica.base.clone());
        let together = self.runs(node) && self.runs(&peer) && self.linked(node, &peer);
        if !together || !self.stands(&peer, Standing::Writer) {
            return;
        }
        let lost = self.has(Defect::StoreLoseTail);
        if let Some(writer) = self.replica_mut(&peer) {
            if !lost {
                writer.live.merge(&tail, &base);
            }
            writer.writes += 1;
            writer.sending = None;
        }
        if let Some(replica) = self.replica_mut(node) {
            replica.standing = Standing::Standby;
            (replica.newest, replica.blank) = (0, false);
        }
        // What it holds until the first snapshot comes is older than the writer's, not more.
        let live = self
            .replica(&peer)
            .map(|writer| writer.live.clone())
            .unwrap_or_default();
        if let Some(replica) = self.replica_mut(node) {
            replica.live = live.clone();
            replica.base = live;
        }
    }
}

/// What arrives in a cluster whose stream is spoilt.
fn spoilt(mut contents: Contents, defect: Option<Defect>, users: &[String]) -> Contents {
    match defect {
        Some(Defect::StoreForgetFlags) => contents.each_folder(|folder| {
            folder.mails.values_mut().for_each(|mail| mail.flags.clear());
        }),
        Some(Defect::StoreForgetAppends) => {
            for user in users {
                if let Some(drafts) = contents.folder_mut(user, "Drafts") {
                    drafts.mails.clear();
                }
            }
        }
        Some(Defect::StoreForgetMoves) => contents.unmove(),
        Some(Defect::StoreUndoExpunge) => contents.unremove(),
        Some(Defect::StoreSkipMail) => {
            for user in users.iter().take(1) {
                if let Some(inbox) = contents.folder_mut(user, "INBOX") {
                    inbox.mails.pop_first();
                }
            }
        }
        _ => {}
    }
    contents
}

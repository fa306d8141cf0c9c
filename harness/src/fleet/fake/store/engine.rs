//! Who is the writer: a lease that its holder renews while it sees one of the two other voters, closed doors when it cannot,
//! and a take-over by the standby when the lease has run out.

use std::time::Duration;

use super::{Contents, Standing};
use crate::fleet::Role;
use crate::fleet::fake::world::{Reach, Tick, World};
use crate::scenario::defect::Defect;

/// How often the engine looks.
pub(in crate::fleet::fake) const BEAT: Duration = Duration::from_millis(250);
/// A writer that could not renew its lease for this long closes its doors.
const LEASE: Duration = Duration::from_secs(4);
/// The other node takes over after this long: longer than the lease.
const TAKE_OVER: Duration = Duration::from_secs(6);
/// A writer that does not serve for this long gives the role away: `service_timeout` of the example cluster.
const SERVICE: Duration = Duration::from_secs(30);
/// What a mail node needs to serve mail and webmail.
const SERVICES: [&str; 4] = ["dovecot", "postfix", "nginx", "php8.4-fpm"];
/// A node that was cut off or booted and does not know whether the other one has more waits longer.
const WITHOUT_PEER: Duration = Duration::from_secs(25);

impl World {
    /// Everything that happens to the store by itself.
    pub fn store_beat(&mut self) {
        let nodes = self.of_role(Role::Mail);
        self.renew();
        self.fence(&nodes);
        self.elect(&nodes);
        self.give_away();
        for node in &nodes {
            self.rejoin(node);
            self.replicate(node);
        }
        self.after(BEAT, Tick::Store);
    }

    /// The node's own vote, the third member's and the other node's.
    fn has_majority(&self, node: &str) -> bool {
        let third = self
            .of_role(Role::LoadBalancer)
            .into_iter()
            .chain(self.of_role(Role::Gateway))
            .next();
        let sees = |other: &Option<String>| {
            other
                .as_ref()
                .is_some_and(|other| self.runs(other) && self.linked(node, other))
        };
        self.runs(node) && (sees(&third) || sees(&self.peer(node)))
    }

    fn renew(&mut self) {
        let Some(holder) = self.store.as_ref().and_then(|store| store.holder.clone()) else {
            return;
        };
        let active = self
            .replica(&holder)
            .is_some_and(|replica| replica.standing == Standing::Writer || replica.promoting);
        let now = self.now;
        if active
            && self.has_majority(&holder)
            && let Some(store) = &mut self.store
        {
            store.renewed = now;
        }
    }

    /// A writer without a lease closes its doors, as soon as it runs at all.
    fn fence(&mut self, nodes: &[String]) {
        for node in nodes {
            let Some(store) = &self.store else { return };
            let leased = store.holder.as_ref() == Some(node) && self.now.saturating_sub(store.renewed) < LEASE;
            if self.runs(node) && self.stands(node, Standing::Writer) && !leased {
                self.close(node);
            }
        }
    }

    fn close(&mut self, node: &str) {
        if let Some(replica) = self.replica_mut(node) {
            replica.standing = Standing::Unsettled;
            replica.sending = None;
        }
    }

    fn elect(&mut self, nodes: &[String]) {
        let Some(store) = &self.store else { return };
        let waited = self.now.saturating_sub(store.renewed);
        if waited < TAKE_OVER || self.has(Defect::StoreNoTakeOver) {
            return;
        }
        let settled = |node: &String| {
            let peer = self
                .peer(node)
                .filter(|peer| self.runs(peer) && self.linked(node, peer));
            let blank = self.replica(node).is_some_and(|replica| replica.blank);
            !blank && (self.stands(node, Standing::Standby) || peer.is_some() || waited >= WITHOUT_PEER)
        };
        let fit = nodes.iter().filter(|node| self.has_majority(node) && settled(node));
        let rank = |node: &&String| {
            let epoch = self.replica(node).map_or(0, |replica| replica.epoch);
            (epoch, self.stands(node, Standing::Standby))
        };
        let Some(next) = fit.max_by_key(rank).cloned() else {
            return;
        };
        self.lease_to(&next);
        let soon = self.between(800, 2000);
        self.after(soon, Tick::Promoted(next));
    }

    /// A writer that has not served for long gives the role to the other node, if that one can.
    fn give_away(&mut self) {
        let writer = self.store.as_ref().and_then(|store| store.holder.clone());
        let Some(writer) = writer.filter(|writer| self.stands(writer, Standing::Writer) && self.runs(writer)) else {
            return;
        };
        let serves = |node: &str| self.reach(None, node, &SERVICES) == Reach::Answers;
        let well = serves(&writer);
        let able = self.peer(&writer).filter(|peer| {
            serves(peer)
                && self.stands(peer, Standing::Standby)
                && self.has_majority(peer)
                && self.linked(&writer, peer)
        });
        let now = self.now;
        let Some(store) = &mut self.store else { return };
        if well {
            store.served = now;
        }
        let waited = now.saturating_sub(store.served);
        let Some(next) = able.filter(|_| waited >= SERVICE && !self.has(Defect::StoreNoTakeOver)) else {
            return;
        };
        if self.hand_over(&writer) {
            self.lease_to(&next);
            let soon = self.between(800, 2000);
            self.after(soon, Tick::Promoted(next));
        }
    }

    fn lease_to(&mut self, node: &str) {
        let now = self.now;
        if let Some(store) = &mut self.store {
            store.holder = Some(node.to_owned());
            (store.renewed, store.served) = (now, now);
        }
        if let Some(replica) = self.replica_mut(node) {
            replica.promoting = true;
        }
    }

    /// A node opens its doors as the writer, if it still may.
    pub fn promoted(&mut self, node: &str) {
        let holds = self
            .store
            .as_ref()
            .is_some_and(|store| store.holder.as_deref() == Some(node));
        if !holds || !self.runs(node) {
            return;
        }
        let epochs = self
            .store
            .iter()
            .flat_map(|store| store.nodes.values().map(|replica| replica.epoch));
        let epoch = epochs.max().unwrap_or(0) + 1;
        let defect = self.defect;
        if let Some(replica) = self.replica_mut(node) {
            replica.promoting = false;
            replica.standing = Standing::Writer;
            replica.epoch = epoch;
            match defect {
                Some(Defect::StoreReuseUids) => {}
                _ => replica.live.lift(),
            }
            if defect == Some(Defect::StoreNewValidity) {
                replica.live.each_folder(|folder| folder.validity += 1);
            }
            replica.writes += 1;
        }
        for gateway in self.of_role(Role::Gateway) {
            self.run_queue(&gateway);
        }
    }

    /// After a boot nothing is known of what the other node did meanwhile.
    pub fn store_booted(&mut self, node: &str) {
        if let Some(replica) = self.replica_mut(node) {
            replica.standing = Standing::Unsettled;
            (replica.promoting, replica.merging, replica.sending, replica.alone) = (false, false, None, None);
        }
    }

    /// The node's disk is taken away, and an empty one put in.
    pub fn store_blank(&mut self, node: &str) {
        let users = self.topology.users.clone();
        if let Some(replica) = self.replica_mut(node) {
            (replica.live, replica.base) = (Contents::of(&users), Contents::of(&users));
            (replica.newest, replica.blank) = (0, true);
            replica.standing = Standing::Unsettled;
        }
    }

    pub(super) fn promote_by_hand(&mut self, node: &str) -> Result<(), String> {
        if self.has(Defect::StoreRefuseRole) {
            return Err("this node is not writer yet, and goes on trying".into());
        }
        let serving = self
            .peer(node)
            .filter(|peer| self.stands(peer, Standing::Writer) && self.runs(peer));
        if let Some(peer) = serving {
            return Err(format!("{peer} is the writer"));
        }
        self.lease_to(node);
        self.promoted(node);
        Ok(())
    }

    pub(super) fn demote_by_hand(&mut self, node: &str) -> Result<String, String> {
        if !self.stands(node, Standing::Writer) {
            return Ok("this node is standby".into());
        }
        let everything = self.hand_over(node);
        let now = self.now;
        if let Some(store) = &mut self.store {
            (store.holder, store.renewed) = (None, now);
        }
        if everything {
            return Ok("this node is standby, and the peer has everything".into());
        }
        self.close(node);
        Ok("this node is standby; the peer does not have its last changes".into())
    }
}

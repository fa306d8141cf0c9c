//! The simulated mail store: one writer with open doors, a standby that receives its snapshots, a gateway whose mail is
//! acknowledged when the standby has it, tails that a lost writer leaves behind and that are merged when it returns.

mod contents;
mod engine;
mod replicate;
mod session;

use std::collections::BTreeMap;
use std::time::Duration;

pub(super) use self::contents::Contents;
pub(super) use self::session::FakeSession;
use super::world::{Power, Reach, Tick, World};
use crate::fleet::{ExecOutput, Role, StoreStatus, Topology};
use crate::scenario::defect::Defect;

/// How long before its doors close as planned a writer says so: `notice` of `[store]` with the profile `classic`.
const NOTICE: Duration = Duration::from_secs(7);

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Writer,
    Standby,
    /// It does not know yet what it has: after a boot, and after it lost the role.
    Unsettled,
}

/// What is written on a node's disk, and what its agent knows.
#[derive(Debug)]
pub(super) struct Replica {
    pub live: Contents,
    /// What both nodes had when the other one last confirmed, or this one last received.
    base: Contents,
    pub standing: Standing,
    epoch: u64,
    newest: u64,
    /// Changes so far, of those in the newest snapshot, and of those that senders were told of.
    pub writes: u64,
    snapshotted: u64,
    pub confirmed: u64,
    /// A snapshot on its way to the other node.
    sending: Option<replicate::Parcel>,
    /// Since when the other node does not follow.
    alone: Option<Duration>,
    promoting: bool,
    merging: bool,
    /// The pool has no room left.
    pub full: bool,
    /// The disk is new, and nobody has sent a copy yet.
    blank: bool,
}

/// The store on both mail nodes, and who holds the writer's lease.
#[derive(Debug)]
pub(super) struct MailStore {
    pub nodes: BTreeMap<String, Replica>,
    holder: Option<String>,
    renewed: Duration,
    /// When the writer's services were last all there.
    served: Duration,
    guids: u64,
    /// The writer that has announced at its health address that its doors are about to close.
    closing: Option<String>,
}

impl MailStore {
    pub fn of(topology: &Topology, mail_nodes: &[String]) -> Option<MailStore> {
        if !topology.has_store() {
            return None;
        }
        let replica = |index: usize| Replica {
            live: Contents::of(&topology.users),
            base: Contents::of(&topology.users),
            standing: if index == 0 {
                Standing::Writer
            } else {
                Standing::Standby
            },
            epoch: 1,
            newest: 1,
            writes: 0,
            snapshotted: 0,
            confirmed: 0,
            sending: None,
            alone: None,
            promoting: false,
            merging: false,
            full: false,
            blank: false,
        };
        let nodes = mail_nodes.iter().enumerate();
        Some(MailStore {
            nodes: nodes.map(|(index, node)| (node.clone(), replica(index))).collect(),
            holder: mail_nodes.first().cloned(),
            renewed: Duration::ZERO,
            served: Duration::ZERO,
            guids: 1,
            closing: None,
        })
    }

    fn guid(&mut self) -> u64 {
        self.guids += 1;
        self.guids
    }
}

impl World {
    pub(super) fn replica(&self, node: &str) -> Option<&Replica> {
        self.store.as_ref()?.nodes.get(node)
    }

    pub(super) fn replica_mut(&mut self, node: &str) -> Option<&mut Replica> {
        self.store.as_mut()?.nodes.get_mut(node)
    }

    /// True if the machine has power and its processors run.
    fn runs(&self, node: &str) -> bool {
        let machine = self.machines.get(node);
        machine.is_some_and(|machine| machine.power == Power::On && !machine.frozen)
    }

    fn stands(&self, node: &str, standing: Standing) -> bool {
        self.replica(node).is_some_and(|replica| replica.standing == standing)
    }

    /// True if clients find open doors on the node: without a store they do on every one.
    pub(super) fn lets_in(&self, node: &str) -> bool {
        self.store.is_none() || self.stands(node, Standing::Writer)
    }

    /// What a client of mail services meets on a mail node.
    pub(super) fn reach_mail(&self, from: Option<&str>, node: &str, services: &[&str]) -> Reach {
        match self.reach(from, node, services) {
            Reach::Answers if !self.lets_in(node) => Reach::Refuses,
            reach => reach,
        }
    }

    /// The writer, as those see it who come from `from`.
    pub(super) fn writer_for(&self, from: &str) -> Option<String> {
        let nodes = self.of_role(Role::Mail);
        let reachable = |node: &String| self.reach_mail(Some(from), node, &["dovecot", "mariadb"]) == Reach::Answers;
        nodes.into_iter().find(reachable)
    }

    /// What keeps the store from being healthy.
    pub(super) fn store_ailments(&self) -> Vec<String> {
        let Some(store) = &self.store else {
            return Vec::new();
        };
        let count = |standing| {
            store
                .nodes
                .values()
                .filter(|replica| replica.standing == standing)
                .count()
        };
        let mut found = Vec::new();
        if count(Standing::Writer) != 1 {
            found.push("no node is the writer of the mail store".to_owned());
        }
        let unsettled = store
            .nodes
            .iter()
            .filter(|(_, replica)| replica.standing == Standing::Unsettled);
        found.extend(unsettled.map(|(node, _)| format!("{node}: its copy of the mail store is not settled")));
        found
    }

    /// What the agent says.
    fn store_status(&self, node: &str) -> Option<StoreStatus> {
        let replica = self.replica(node)?;
        let peer = self
            .peer(node)
            .filter(|peer| self.runs(peer) && self.linked(node, peer));
        let peer = peer.and_then(|peer| self.replica(&peer));
        let two = self.has(Defect::StoreTwoWriters);
        let word = |replica: &Replica| match replica.standing {
            _ if replica.blank => "empty",
            Standing::Writer => "writer",
            Standing::Standby => "standby",
            Standing::Unsettled => "unsettled",
        };
        let writer = replica.standing == Standing::Writer || two;
        Some(StoreStatus {
            standing: if writer { "writer" } else { word(replica) }.into(),
            doors: if writer { "open" } else { "closed" }.into(),
            epoch: replica.epoch,
            newest: Some(replica.newest),
            peer: peer.map(|peer| word(peer).to_owned()),
            peer_newest: peer.map(|peer| peer.newest),
            follows: replica.alone.is_none() && peer.is_some_and(|peer| peer.standing == Standing::Standby),
            doing: "nothing".into(),
            trouble: None,
            unmerged: peer.map_or(0, |peer| usize::from(peer.merging)),
            waiting: usize::try_from(replica.writes - replica.confirmed).unwrap_or(usize::MAX),
        })
    }

    /// The verbs of the agent's command.
    pub(super) fn cluster_store(&mut self, node: &str, verb: &[&str]) -> ExecOutput {
        let said = |status: i32, text: String| ExecOutput {
            status,
            stdout: if status == 0 { text.clone() } else { String::new() },
            stderr: if status == 0 { String::new() } else { text },
        };
        match verb {
            ["status", "--json"] => match self.store_status(node).map(|status| serde_json::to_string(&status)) {
                Some(Ok(text)) => said(0, text),
                _ => said(4, "the daemon does not answer".into()),
            },
            ["promote"] => match self.promote_by_hand(node) {
                Ok(()) => said(0, "this node is the writer".into()),
                Err(reason) => said(1, reason),
            },
            ["demote"] => match self.demote_by_hand(node) {
                Ok(text) => said(0, text),
                Err(reason) => said(1, reason),
            },
            _ => said(2, "no such verb".into()),
        }
    }

    /// What pacemaker does when it is asked to move the role: it takes the order, and the writer announces its closing first.
    pub(in crate::fleet::fake) fn move_role(&mut self, to: &str) -> ExecOutput {
        let peer = self.peer(to);
        if let Some(store) = &mut self.store {
            store.closing = peer;
        }
        self.after(NOTICE, Tick::HandOver(to.to_owned()));
        ExecOutput {
            status: 0,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// Moves the role, if the writer can hand it over and the other node takes it.
    pub(in crate::fleet::fake) fn hand_role_over(&mut self, to: &str) {
        let handed_over = match self.peer(to) {
            Some(peer) => self.demote_by_hand(&peer).map(drop),
            None => Ok(()),
        };
        // A refusal shows: the role does not move.
        let _ = handed_over.and_then(|()| self.promote_by_hand(to));
        if let Some(store) = &mut self.store {
            store.closing = None;
        }
    }

    /// True if the node's health address says that its doors are about to close.
    pub(in crate::fleet::fake) fn is_closing(&self, node: &str) -> bool {
        let closing = self.store.as_ref().and_then(|store| store.closing.as_deref());
        closing == Some(node) && self.stands(node, Standing::Writer)
    }

    /// Ids of all messages of an account on a node's disk.
    pub(super) fn copy_of(&self, node: &str, user: &str) -> Option<Vec<String>> {
        self.runs(node).then(|| {
            let replica = self.replica(node);
            replica.map_or_else(Vec::new, |replica| replica.live.ids(user))
        })
    }
}

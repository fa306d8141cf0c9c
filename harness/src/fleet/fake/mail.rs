//! Simulated mail: MX hosts by preference, the queue of every Postfix with its retries, mailboxes a node.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Reach, Tick, World};
use super::{Attempt, Effect};
use crate::fleet::{FoundMail, Mail, Role};
use crate::probe::smtp::lot;
use crate::record::Outcome;
use crate::scenario::defect::Defect;

/// How often a queue is gone through while something waits in it.
const RETRY: Duration = Duration::from_secs(5);
/// How long a sender waits for a connection before it tries the next host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// All mail of the cluster.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// Node to what waits in its queue.
    queues: BTreeMap<String, Vec<Waiting>>,
    /// Node and user to mailbox.
    boxes: BTreeMap<(String, String), Vec<FoundMail>>,
    /// Node to lines about bounces in its log.
    bounces: BTreeMap<String, Vec<String>>,
    /// Node to the moment of its next regular queue run.
    next_run: BTreeMap<String, Duration>,
    accepted: u64,
}

#[derive(Debug, Clone)]
struct Waiting {
    mail: Mail,
    /// Not tried before this moment.
    not_before: Duration,
    copies: u32,
    /// With a mail store: it lies on a writer, and waits for its answer.
    pending: Option<Pending>,
}

/// What was handed to a writer that has not answered yet.
#[derive(Debug, Clone)]
struct Pending {
    node: String,
    boots: u64,
    /// Answered when so many changes of the node are confirmed.
    writes: u64,
}

impl World {
    /// The hosts that senders are told to use for a message, best first; gateways are of equal rank and take turns.
    fn mx(&self, message: &str) -> Vec<String> {
        let mut gateways = self.of_role(Role::Gateway);
        if gateways.is_empty() {
            return self.of_role(Role::Mail);
        }
        gateways.sort_by_key(|gateway| lot(message, gateway));
        gateways
    }

    /// A foreign sender begins to hand over a message.
    pub fn submit(&mut self, mail: &Mail) -> Attempt {
        if self.paused(Defect::PauseMailIn) {
            return Attempt::hang("no MX host answers");
        }
        let mut wait = self.between(20, 120);
        let mut last = "no MX host".to_owned();
        for host in self.mx(&mail.id) {
            match self.reach(None, &host, &["postfix"]) {
                Reach::Answers => return self.greet(&host, mail, wait),
                Reach::Refuses => last = format!("{host}: connection refused"),
                Reach::Silent => {
                    wait += CONNECT_TIMEOUT;
                    last = format!("{host}: no answer");
                }
            }
        }
        Attempt::fail(wait, &last)
    }

    fn greet(&self, host: &str, mail: &Mail, wait: Duration) -> Attempt {
        if !self.topology.users.contains(&mail.to) {
            return Attempt::fail(wait, &format!("{host}: 550 5.1.1 <{}>: User unknown", mail.to));
        }
        let knows_users = self.reach(None, host, &["mariadb"]) == Reach::Answers;
        let needs_users = self.of_role(Role::Mail).iter().any(|node| node == host);
        let filters = self.topology.filters && self.of_role(Role::Gateway).iter().any(|node| node == host);
        if filters && !self.has(Defect::BlindFilter) && !self.filter_works(host) {
            return Attempt::fail(
                wait,
                &format!("{host}: 451 4.7.1 Service unavailable - try again later"),
            );
        }
        if self.has(Defect::RefuseMail) || (needs_users && !knows_users) {
            return Attempt::fail(wait, &format!("{host}: 451 4.3.0 Temporary lookup failure"));
        }
        Attempt {
            wait,
            effect: Effect::Accept {
                node: host.to_owned(),
                mail: mail.clone(),
            },
        }
    }

    /// The message is through; the host still stands, or it is unknown what became of it.
    pub fn finish_submit(&mut self, node: &str, mail: &Mail) -> Outcome {
        if self.reach(None, node, &["postfix"]) != Reach::Answers {
            let kept = self.between(0, 1).is_zero();
            if kept {
                self.take(node, mail);
            }
            return Outcome::Unknown {
                reason: format!("{node}: connection lost after the end of DATA"),
            };
        }
        self.take(node, mail);
        Outcome::Ok {
            served_by: Some(node.to_owned()),
        }
    }

    fn take(&mut self, node: &str, mail: &Mail) {
        self.post.accepted += 1;
        let third = self.post.accepted == 3;
        let mut mail = mail.clone();
        let mut copies = 1;
        match self.defect {
            Some(Defect::LoseMail) if third => copies = 0,
            Some(Defect::DoubleMail) if third => copies = 2,
            Some(Defect::Misdeliver) if third => {
                if let Some(other) = self.topology.users.iter().find(|user| **user != mail.to) {
                    mail.to = other.clone();
                }
            }
            _ => {}
        }
        let late = if self.has(Defect::LateMail) {
            Duration::from_secs(120)
        } else {
            Duration::ZERO
        };
        let waiting = Waiting {
            mail,
            not_before: self.now + late,
            copies,
            pending: None,
        };
        self.post.queues.entry(node.to_owned()).or_default().push(waiting);
        let soon = self.between(20, 200);
        self.after(soon, Tick::Queue(node.to_owned()));
    }

    /// A Postfix goes through its queue, and again later if something is left.
    pub fn run_queue(&mut self, node: &str) {
        if self.reach(None, node, &["postfix"]) == Reach::Answers {
            let waiting = self.post.queues.remove(node).unwrap_or_default();
            let mut left = Vec::new();
            for mut entry in waiting {
                if !self.try_delivery(node, &mut entry) {
                    left.push(entry);
                }
            }
            self.post.queues.insert(node.to_owned(), left);
        }
        let waits = self.post.queues.get(node).is_some_and(|queue| !queue.is_empty());
        let due = self.post.next_run.get(node).is_some_and(|next| *next > self.now);
        if waits && !due {
            self.post.next_run.insert(node.to_owned(), self.now + RETRY);
            self.after(RETRY, Tick::Queue(node.to_owned()));
        }
    }

    fn try_delivery(&mut self, node: &str, entry: &mut Waiting) -> bool {
        if self.now < entry.not_before {
            return false;
        }
        if self.of_role(Role::Mail).iter().any(|name| name == node) {
            return self.deposit(node, entry);
        }
        if self.store.is_some() {
            return self.commit(node, entry);
        }
        let hosts = self.of_role(Role::Mail);
        if self.has(Defect::BounceMail) && !self.post.bounces.contains_key(node) {
            let line = format!("to=<{}>, status=bounced (host unreachable)", entry.mail.to);
            self.post.bounces.entry(node.to_owned()).or_default().push(line);
        }
        for host in hosts {
            if self.reach(Some(node), &host, &["postfix", "mariadb"]) == Reach::Answers {
                self.post.queues.entry(host.clone()).or_default().push(entry.clone());
                self.run_queue(&host);
                return true;
            }
        }
        false
    }

    /// Hands a message to the writer, and later hears whether it is confirmed. A writer that was lost meanwhile leaves that
    /// open: the message goes to the next one, which does not store it again if it has it.
    fn commit(&mut self, gateway: &str, entry: &mut Waiting) -> bool {
        if let Some(pending) = &entry.pending {
            let same = self.machines.get(&pending.node).map(|machine| machine.boots) == Some(pending.boots);
            let open = self.reach_mail(Some(gateway), &pending.node, &["dovecot"]) == Reach::Answers;
            let replica = self.replica(&pending.node);
            if same && open {
                return replica.is_some_and(|replica| replica.confirmed >= pending.writes);
            }
            entry.pending = None;
        }
        let Some(writer) = self.writer_for(gateway) else {
            return false;
        };
        if self.replica(&writer).is_some_and(|replica| replica.full) {
            return false;
        }
        let boots = self.machines.get(&writer).map_or(0, |machine| machine.boots);
        if let Some(replica) = self.replica_mut(&writer) {
            replica.live.deliver(&entry.mail.to, &entry.mail.id, entry.copies);
            replica.writes += 1;
            let writes = replica.writes;
            entry.pending = Some(Pending {
                node: writer,
                boots,
                writes,
            });
        }
        false
    }

    fn deposit(&mut self, node: &str, entry: &Waiting) -> bool {
        if self.reach(None, node, &["dovecot", "mariadb"]) != Reach::Answers {
            return false;
        }
        let mailbox = self
            .post
            .boxes
            .entry((node.to_owned(), entry.mail.to.clone()))
            .or_default();
        for _ in 0..entry.copies {
            let uid = mailbox.last().map_or(1, |last| last.uid + 1);
            mailbox.push(FoundMail {
                id: entry.mail.id.clone(),
                uid,
            });
        }
        true
    }

    /// Recipients that wait in a node's queue.
    pub fn queue_of(&self, node: &str) -> Vec<String> {
        if self.has(Defect::HideQueue) {
            return Vec::new();
        }
        let queue = self.post.queues.get(node).map(Vec::as_slice).unwrap_or_default();
        queue.iter().map(|entry| entry.mail.to.clone()).collect()
    }

    /// Lines about bounces in a node's log.
    pub fn bounces_of(&self, node: &str) -> Vec<String> {
        self.post.bounces.get(node).cloned().unwrap_or_default()
    }

    /// The mailbox of a user on a node.
    pub fn mailbox(&self, node: &str, user: &str) -> Vec<FoundMail> {
        if let Some(replica) = self.replica(node) {
            return replica.live.inbox(user);
        }
        self.post
            .boxes
            .get(&(node.to_owned(), user.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    /// An IMAP listing begins.
    pub fn list(&mut self, node: &str) -> Attempt {
        let wait = self.between(30, 150);
        if self.paused(Defect::PauseImap) {
            return Attempt::hang("IMAP does not answer");
        }
        match self.reach_mail(None, node, &["dovecot", "mariadb"]) {
            Reach::Answers => Attempt {
                wait,
                effect: Effect::Nothing,
            },
            Reach::Refuses => Attempt::fail(Duration::from_millis(5), "connection refused"),
            Reach::Silent => Attempt::hang("IMAP does not answer"),
        }
    }
}

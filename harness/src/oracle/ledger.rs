//! The mail ledger: what was accepted must be found exactly once, in a mailbox of its recipient, on one of the nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use crate::record::{Operation, Outcome, Service, What};

/// Counts of messages. A message is one id and one recipient, however often the sender had to try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Accepted: at least one attempt got its 250.
    pub accepted: usize,
    /// Accepted and found as it should be.
    pub found_once: usize,
    /// Accepted and nowhere.
    pub lost: usize,
    /// Found more often than the sender can have caused.
    pub doubled: usize,
    /// Found in a mailbox of somebody else.
    pub misdelivered: usize,
    /// Accepted and still in a queue at the end.
    pub waiting: usize,
    /// Accepted and not found, but a mailbox in which it could be was not looked into.
    pub unseen: usize,
    /// Found, with the mark of this run, but never sent.
    pub phantom: usize,
    /// Certainly not taken, as the sender was told.
    pub refused: usize,
    /// Found although certainly not taken.
    pub contradicted: usize,
    /// Neither accepted nor refused, e.g. the connection broke after the final dot. Never lost, never proof.
    pub unknown: usize,
    /// Of those, found.
    pub unknown_found: usize,
    /// Found, of other runs or from elsewhere.
    pub foreign: usize,
}

/// How the attempts to hand over one message ended.
#[derive(Debug, Default)]
struct Attempts {
    accepted: usize,
    unknown: usize,
}

impl Attempts {
    /// How many copies the sender itself can have caused: each attempt that was or may have been accepted makes one.
    fn most_copies(&self) -> usize {
        self.accepted + self.unknown
    }
}

/// Id and recipient, the recipient in small letters.
type Message<'a> = (&'a str, String);

/// Judges the ledger; `None` if it does not apply.
pub(super) fn judge(history: &History, terms: &Terms) -> (Option<Tally>, Vec<Reason>) {
    let sent = history.of_service(Service::MailIn).next().is_some();
    if !terms.oracle.ledger.unwrap_or(sent) {
        return (None, Vec::new());
    }
    let (tally, reasons) = Ledger::read(history, terms).judge(terms);
    (Some(tally), reasons)
}

struct Ledger<'a> {
    messages: BTreeMap<Message<'a>, Attempts>,
    /// The last look into each mailbox: node and user to ids.
    looks: BTreeMap<(&'a str, String), &'a [String]>,
    /// Recipient to number of waiting messages.
    queued: BTreeMap<String, usize>,
    /// Mailboxes that had to be looked into and were not.
    unseen: Vec<(String, String)>,
    /// Id to the mailboxes that hold it, once a copy.
    found: BTreeMap<&'a str, Vec<(&'a str, String)>>,
    foreign: usize,
    phantoms: Vec<String>,
}

impl<'a> Ledger<'a> {
    fn read(history: &History<'a>, terms: &Terms) -> Ledger<'a> {
        let messages = attempts(history);
        let looks = looks(history);
        let users = messages
            .keys()
            .map(|(_, to)| to.clone())
            .chain(terms.users.iter().map(|user| folded(user)));
        let users: BTreeSet<String> = users.collect();
        let all = users
            .iter()
            .flat_map(|user| terms.mail_nodes.iter().map(move |node| (node, user)));
        let unseen = all.filter(|(node, user)| !looks.contains_key(&(node.as_str(), (*user).clone())));
        let unseen = unseen.map(|(node, user)| (node.clone(), user.clone())).collect();
        let mut ledger = Ledger {
            queued: queued(history),
            unseen,
            found: BTreeMap::new(),
            foreign: 0,
            phantoms: Vec::new(),
            messages,
            looks,
        };
        ledger.sort_finds(history);
        ledger
    }

    /// Puts each copy found to the message that it is a copy of.
    fn sort_finds(&mut self, history: &History) {
        let ids: BTreeSet<&str> = self.messages.keys().map(|(id, _)| *id).collect();
        for ((node, user), mails) in &self.looks {
            for id in mails.iter() {
                if ids.contains(id.as_str()) {
                    self.found.entry(id).or_default().push((*node, user.clone()));
                } else if history.is_ours(id) {
                    self.phantoms.push(format!("{id} in {user} on {node}"));
                } else {
                    self.foreign += 1;
                }
            }
        }
    }

    fn judge(mut self, terms: &Terms) -> (Tally, Vec<Reason>) {
        let mut tally = Tally {
            foreign: self.foreign,
            phantom: self.phantoms.len(),
            ..Tally::default()
        };
        let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
        if !self.phantoms.is_empty() {
            cases.insert(Code::LedgerPhantom, std::mem::take(&mut self.phantoms));
        }
        for ((id, to), attempts) in &self.messages {
            let copies = self.found.get(id).map(Vec::as_slice).unwrap_or_default();
            let own: Vec<&str> = copies
                .iter()
                .filter(|(_, user)| user == to)
                .map(|(node, _)| *node)
                .collect();
            let strange: Vec<String> = copies
                .iter()
                .filter(|(_, user)| user != to && !self.messages.contains_key(&(*id, user.clone())))
                .map(|(node, user)| format!("{user} on {node}"))
                .collect();
            let fate = match (attempts.accepted, attempts.unknown) {
                (0, 0) if own.is_empty() && strange.is_empty() => Fate::Refused,
                (0, 0) => Fate::Contradicted,
                _ if !strange.is_empty() => Fate::Misdelivered,
                _ if own.len() > attempts.most_copies() => Fate::Doubled,
                (0, _) => Fate::Unknown,
                _ if !own.is_empty() => Fate::Found,
                _ if take_one(&mut self.queued, to) => Fate::Waiting,
                _ if self.unseen.iter().any(|(_, user)| user == to) => Fate::Unseen,
                _ => Fate::Lost,
            };
            tally.count(fate, attempts, !own.is_empty());
            if let Some(code) = fate.code(terms) {
                let places: Vec<String> = own
                    .iter()
                    .map(|node| format!("{to} on {node}"))
                    .chain(strange)
                    .collect();
                let place = if places.is_empty() {
                    String::new()
                } else {
                    format!(" (found: {})", some_of(&places))
                };
                cases.entry(code).or_default().push(format!("{id} to {to}{place}"));
            }
        }
        let mut reasons: Vec<Reason> = cases
            .into_iter()
            .map(|(code, cases)| {
                let words = in_words(&code);
                Reason::new(code, format!("{} {words}: {}", messages(cases.len()), some_of(&cases)))
            })
            .collect();
        reasons.extend(self.doubts(terms, &tally));
        (tally, reasons)
    }

    /// What keeps the ledger from proving anything.
    fn doubts(&self, terms: &Terms, tally: &Tally) -> Vec<Reason> {
        let mut doubts = Vec::new();
        if tally.accepted == 0 {
            let detail = format!(
                "no mail was accepted ({} refused, {} unknown)",
                tally.refused, tally.unknown
            );
            doubts.push(Reason::new(Code::LedgerNothingAccepted, detail));
        }
        if terms.mail_nodes.is_empty() {
            doubts.push(Reason::new(
                Code::LedgerNotSeen,
                "the cluster has no mail node whose mailboxes could be seen",
            ));
        }
        if !self.unseen.is_empty() {
            let mailboxes: Vec<String> = self
                .unseen
                .iter()
                .map(|(node, user)| format!("{user} on {node}"))
                .collect();
            let detail = format!(
                "mailboxes not looked into after the last mail was sent: {}",
                some_of(&mailboxes)
            );
            doubts.push(Reason::new(Code::LedgerNotSeen, detail));
        }
        doubts
    }
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Found,
    Lost,
    Doubled,
    Misdelivered,
    Waiting,
    Unseen,
    Refused,
    Contradicted,
    Unknown,
}

impl Fate {
    fn code(self, terms: &Terms) -> Option<Code> {
        match self {
            Fate::Lost => Some(Code::LedgerLost),
            Fate::Doubled => Some(Code::LedgerDoubled),
            Fate::Misdelivered => Some(Code::LedgerMisdelivered),
            Fate::Contradicted => Some(Code::LedgerContradicted),
            Fate::Waiting if !terms.oracle.mail_may_wait => Some(Code::LedgerWaiting),
            Fate::Waiting | Fate::Found | Fate::Unseen | Fate::Refused | Fate::Unknown => None,
        }
    }
}

impl Tally {
    fn count(&mut self, fate: Fate, attempts: &Attempts, found: bool) {
        match (attempts.accepted, attempts.unknown) {
            (0, 0) => self.refused += 1,
            (0, _) => {
                self.unknown += 1;
                self.unknown_found += usize::from(found);
            }
            _ => self.accepted += 1,
        }
        match fate {
            Fate::Found => self.found_once += 1,
            Fate::Lost => self.lost += 1,
            Fate::Doubled => self.doubled += 1,
            Fate::Misdelivered => self.misdelivered += 1,
            Fate::Waiting => self.waiting += 1,
            Fate::Unseen => self.unseen += 1,
            Fate::Contradicted => self.contradicted += 1,
            Fate::Refused | Fate::Unknown => {}
        }
    }
}

fn in_words(code: &Code) -> &'static str {
    match code {
        Code::LedgerLost => "accepted, but in no mailbox and no queue",
        Code::LedgerDoubled => "found more often than sent",
        Code::LedgerMisdelivered => "found in a mailbox of somebody else",
        Code::LedgerContradicted => "found although the sender was told that it was not taken",
        Code::LedgerWaiting => "accepted, but still in a queue at the end",
        _ => "found but never sent",
    }
}

fn messages(count: usize) -> String {
    if count == 1 {
        "1 message".into()
    } else {
        format!("{count} messages")
    }
}

/// Mail addresses are compared in small letters, as the nodes do.
fn folded(address: &str) -> String {
    address.to_lowercase()
}

fn attempts<'a>(history: &History<'a>) -> BTreeMap<Message<'a>, Attempts> {
    let mut messages: BTreeMap<Message<'a>, Attempts> = BTreeMap::new();
    for op in history.of_service(Service::MailIn) {
        let Operation::SendMail { mail, to } = op.operation else {
            continue;
        };
        let attempts = messages.entry((mail, folded(to))).or_default();
        match op.end.map(|(_, outcome)| outcome) {
            Some(Outcome::Ok { .. }) => attempts.accepted += 1,
            Some(Outcome::Fail { .. }) => {}
            // An attempt without an end may have been accepted after the record ended.
            Some(Outcome::Unknown { .. }) | None => attempts.unknown += 1,
        }
    }
    messages
}

fn looks<'a>(history: &History<'a>) -> BTreeMap<(&'a str, String), &'a [String]> {
    let mut looks = BTreeMap::new();
    for what in history.after_last(&[Service::MailIn]) {
        if let What::Mailbox { node, user, mails } = what {
            looks.insert((node.as_str(), folded(user)), mails.as_slice());
        }
    }
    looks
}

fn queued(history: &History) -> BTreeMap<String, usize> {
    let mut last: BTreeMap<&str, &[String]> = BTreeMap::new();
    for what in history.after_last(&[Service::MailIn]) {
        if let What::Queue { node, waiting } = what {
            last.insert(node, waiting);
        }
    }
    let mut queued = BTreeMap::new();
    for recipient in last.values().flat_map(|waiting| waiting.iter()) {
        *queued.entry(folded(recipient)).or_default() += 1;
    }
    queued
}

/// Takes one waiting message of a recipient, if there is one left.
fn take_one(queued: &mut BTreeMap<String, usize>, to: &str) -> bool {
    match queued.get_mut(to) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

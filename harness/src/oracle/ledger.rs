//! The mail ledger: what was accepted must be found exactly once, in a mailbox of its recipient, on one of the nodes.
//!
//! With a mail store the writer has every mailbox, so each is looked into on one node only, in all of its folders, and the
//! copy on the other node must hold the same messages. What a mail program removed may be gone, and what it moved while a
//! writer was lost may be there in both folders, see [`super::client`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::finds::{Attempts, Message, Programs, attempts, copies, folded, looks, only_last, queued};
use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use crate::record::{Delivery, Service};

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
    /// Accepted and removed by a mail program.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub removed: usize,
    /// With a mail store: accepted, found, and in the copy as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<usize>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

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
    programs: Programs<'a>,
    /// The last look into the copy of each account: ids. None without a store.
    copies: Option<BTreeMap<String, BTreeSet<&'a str>>>,
}

impl<'a> Ledger<'a> {
    fn read(history: &History<'a>, terms: &Terms) -> Ledger<'a> {
        let messages = attempts(history);
        let looks = match terms.delivery {
            Delivery::PerNode => looks(history),
            Delivery::Store => only_last(looks(history), history),
        };
        let users = messages
            .keys()
            .map(|(_, to)| to.clone())
            .chain(terms.users.iter().map(|user| folded(user)));
        let users: BTreeSet<String> = users.collect();
        let all = users
            .iter()
            .flat_map(|user| terms.mail_nodes.iter().map(move |node| (node, user)));
        let unseen: Vec<(String, String)> = match terms.delivery {
            Delivery::PerNode => all
                .filter(|(node, user)| !looks.contains_key(&(node.as_str(), (*user).clone())))
                .map(|(node, user)| (node.clone(), user.clone()))
                .collect(),
            Delivery::Store => users
                .iter()
                .filter(|user| !looks.keys().any(|(_, seen)| seen == *user))
                .map(|user| ("the writer".to_owned(), user.clone()))
                .collect(),
        };
        let mut ledger = Ledger {
            queued: queued(history),
            unseen,
            found: BTreeMap::new(),
            foreign: 0,
            phantoms: Vec::new(),
            programs: Programs::of(history),
            copies: (terms.delivery == Delivery::Store).then(|| copies(history)),
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
                } else if self.programs.stored.contains(id.as_str()) {
                    // Judged with what mail programs did.
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
                _ if own.len() > attempts.most_copies() + self.programs.left_behind(id) => Fate::Doubled,
                (0, _) => Fate::Unknown,
                _ if !own.is_empty() => Fate::Found,
                _ if self.programs.removed.contains(id) => Fate::Removed,
                _ if take_one(&mut self.queued, to) => Fate::Waiting,
                _ if self.unseen.iter().any(|(_, user)| user == to) => Fate::Unseen,
                _ => Fate::Lost,
            };
            tally.count(fate, attempts, !own.is_empty());
            if fate == Fate::Found
                && let Some(copies) = &self.copies
                && let Some(copy) = copies.get(to)
            {
                let copied = copy.contains(id);
                *tally.copied.get_or_insert(0) += usize::from(copied);
                if !copied {
                    cases
                        .entry(Code::LedgerNotCopied)
                        .or_default()
                        .push(format!("{id} to {to}"));
                }
            }
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
        if let Some(copies) = &self.copies {
            let users: BTreeSet<&String> = self.messages.keys().map(|(_, to)| to).collect();
            let unseen: Vec<&&String> = users.iter().filter(|user| !copies.contains_key(**user)).collect();
            if !unseen.is_empty() {
                let detail = format!("copies not looked into at the end: {}", some_of(&unseen));
                doubts.push(Reason::new(Code::LedgerCopyNotSeen, detail));
            }
        }
        doubts
    }
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Found,
    Removed,
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
            Fate::Waiting | Fate::Found | Fate::Removed | Fate::Unseen | Fate::Refused | Fate::Unknown => None,
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
            Fate::Removed => self.removed += 1,
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
        Code::LedgerNotCopied => "accepted and found on the writer, but not in the copy",
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

//! What the ledger goes by: attempts to hand over messages, the last looks into mailboxes, queues and copies, and what mail
//! programs may have done to messages.

use std::collections::{BTreeMap, BTreeSet};

use super::history::History;
use super::window::Window;
use crate::record::{ClientAction, Event, Operation, Outcome, Service, What};

/// How the attempts to hand over one message ended.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    pub accepted: usize,
    pub unknown: usize,
}

impl Attempts {
    /// How many copies the sender itself can have caused: each attempt that was or may have been accepted makes one.
    pub fn most_copies(&self) -> usize {
        self.accepted + self.unknown
    }
}

/// Id and recipient, the recipient in small letters.
pub(super) type Message<'a> = (&'a str, String);

/// What mail programs may have done to messages.
#[derive(Default)]
pub(super) struct Programs<'a> {
    /// Removed for good, or perhaps.
    pub removed: BTreeSet<&'a str>,
    /// Put there by a mail program, or perhaps: no message of a sender.
    pub stored: BTreeSet<&'a str>,
    /// How many more copies a move may have left behind.
    left_behind: BTreeMap<&'a str, usize>,
}

/// Mail addresses are compared in small letters, as the nodes do.
pub(super) fn folded(address: &str) -> String {
    address.to_lowercase()
}

pub(super) fn attempts<'a>(history: &History<'a>) -> BTreeMap<Message<'a>, Attempts> {
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

pub(super) fn looks<'a>(history: &History<'a>) -> BTreeMap<(&'a str, String), &'a [String]> {
    let mut looks = BTreeMap::new();
    for what in history.after_last(&[Service::MailIn]) {
        if let What::Mailbox { node, user, mails } = what {
            looks.insert((node.as_str(), folded(user)), mails.as_slice());
        }
    }
    looks
}

/// Of each mailbox the look that was taken last, on whichever node: the writer's.
pub(super) fn only_last<'a>(
    looks: BTreeMap<(&'a str, String), &'a [String]>,
    history: &History<'a>,
) -> BTreeMap<(&'a str, String), &'a [String]> {
    let mut last: BTreeMap<String, &str> = BTreeMap::new();
    for what in history.after_last(&[Service::MailIn]) {
        if let What::Mailbox { node, user, .. } = what {
            last.insert(folded(user), node);
        }
    }
    looks
        .into_iter()
        .filter(|((node, user), _)| last.get(user) == Some(node))
        .collect()
}

/// Accounts in the copy; a look at the node that the mailbox was read from too is none at a copy.
pub(super) fn copies<'a>(history: &History<'a>) -> BTreeMap<String, BTreeSet<&'a str>> {
    let mut writers: BTreeMap<String, &str> = BTreeMap::new();
    let mut copies = BTreeMap::new();
    for what in history.after_last(&[Service::MailIn]) {
        match what {
            What::Mailbox { node, user, .. } => {
                writers.insert(folded(user), node);
            }
            What::Copy { node, user, mails } => {
                copies.insert(
                    folded(user),
                    (node.as_str(), mails.iter().map(String::as_str).collect()),
                );
            }
            _ => {}
        }
    }
    let elsewhere = copies
        .into_iter()
        .filter(|(user, (node, _))| writers.get(user) != Some(node));
    elsewhere.map(|(user, (_, mails))| (user, mails)).collect()
}

impl<'a> Programs<'a> {
    pub fn of(history: &History<'a>) -> Programs<'a> {
        let mut programs = Programs::default();
        let mut moved = Vec::new();
        for Event { at, what } in history.events {
            let What::Acted {
                node, action, outcome, ..
            } = what
            else {
                continue;
            };
            if matches!(outcome, Outcome::Fail { .. }) {
                continue;
            }
            match action {
                ClientAction::Expunge { mail, .. } => {
                    programs.removed.insert(mail);
                }
                ClientAction::Append { mail, .. } => {
                    programs.stored.insert(mail);
                }
                ClientAction::Move { mail, .. } => {
                    let certain = matches!(outcome, Outcome::Ok { .. });
                    moved.push((*at, node.as_str(), mail.as_str(), certain));
                }
                ClientAction::Flag { .. } => {}
            }
        }
        if !moved.is_empty() {
            let window = Window::of(history);
            for (at, node, mail, certain) in moved {
                if !certain || window.crossed(node, at) {
                    *programs.left_behind.entry(mail).or_default() += 1;
                }
            }
        }
        programs
    }

    pub fn left_behind(&self, id: &str) -> usize {
        self.left_behind.get(id).copied().unwrap_or(0)
    }
}

pub(super) fn queued(history: &History) -> BTreeMap<String, usize> {
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

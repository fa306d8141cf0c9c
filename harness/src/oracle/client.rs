//! What mail programs did and were told is done has to hold at the end: stored messages are there, flags are set, moved
//! messages are where they went, removed ones are gone.
//!
//! A take-over may be crossed, see [`super::window`]: what the dead writer acknowledged last lies only on its disk until it
//! returns and its tail is merged. Removed mail may come back by that, a move may leave a copy behind, a flag or a move may
//! stay undone; this is counted and told. A message may be missing under no circumstances.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use super::window::Window;
use crate::record::{ClientAction, Event, Micros, Outcome, Service, What};

/// Counts of what mail programs did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// Changes that were acknowledged.
    pub acknowledged: usize,
    /// Of those, replaced by a later one of the same message, or of no more account because it was removed.
    pub superseded: usize,
    /// Of those that count, found as they should be.
    pub held: usize,
    /// Acknowledged by a writer that was lost before the copy is known to have had them.
    pub crossed: usize,
    /// Of those, removals and moves whose message is there again.
    pub came_back: usize,
    /// Of those, flags and moves that are not as they were.
    pub undone: usize,
    /// Neither acknowledged nor refused.
    pub unknown: usize,
}

/// An acknowledged change.
struct Done<'a> {
    at: Micros,
    node: &'a str,
    user: &'a str,
    action: &'a ClientAction,
}

/// Where a message lies at the end: folder and flags of each copy.
type Places<'a> = BTreeMap<(&'a str, &'a str), Vec<(&'a str, &'a [String])>>;

/// Judges what mail programs did; `None` if none was used.
pub(super) fn judge(history: &History, terms: &Terms) -> (Option<Clients>, Vec<Reason>) {
    let used = history.of_service(Service::ImapClient).next().is_some();
    if !terms.oracle.client.unwrap_or(used) {
        return (None, Vec::new());
    }
    let mut clients = Clients::default();
    let (done, unknown) = changes(history, &mut clients);
    let (places, seen) = last_look(history);
    let window = Window::of(history);
    let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
    for (number, change) in done.iter().enumerate() {
        let later = &done[number + 1..];
        if superseded(change, later, &unknown) {
            clients.superseded += 1;
            continue;
        }
        if !seen.contains(change.user) {
            continue;
        }
        let crossed = window.crossed(change.node, change.at);
        clients.crossed += usize::from(crossed);
        let key = (change.user, change.action.mail());
        let found = places.get(&key).map(Vec::as_slice).unwrap_or_default();
        match fault(change.action, found) {
            None => clients.held += 1,
            Some(Code::ActionExpungeUndone) if crossed => clients.came_back += 1,
            Some(Code::ActionMoveLost) if crossed && !found.is_empty() => {
                let arrived =
                    matches!(change.action, ClientAction::Move { to, .. } if found.iter().any(|(at, _)| at == to));
                if arrived {
                    clients.came_back += 1;
                } else {
                    clients.undone += 1;
                }
            }
            Some(Code::ActionFlagLost) if crossed && !found.is_empty() => clients.undone += 1,
            Some(code) => cases.entry(code).or_default().push(told(change, found)),
        }
    }
    let mut reasons: Vec<Reason> = cases
        .into_iter()
        .map(|(code, cases)| {
            let words = in_words(&code);
            Reason::new(code, format!("{} {words}: {}", cases.len(), some_of(&cases)))
        })
        .collect();
    reasons.extend(doubts(&clients, &seen, terms));
    (Some(clients), reasons)
}

fn doubts(clients: &Clients, seen: &BTreeSet<&str>, terms: &Terms) -> Vec<Reason> {
    let mut doubts = Vec::new();
    if clients.acknowledged == 0 {
        let detail = format!("mail programs changed nothing ({} of unknown outcome)", clients.unknown);
        doubts.push(Reason::new(Code::ActionNothingAcknowledged, detail));
    }
    let unseen = terms.users.iter().filter(|user| !seen.contains(user.as_str()));
    let unseen: Vec<&String> = unseen.collect();
    if !unseen.is_empty() {
        let detail = format!("accounts not looked into at the end: {}", some_of(&unseen));
        doubts.push(Reason::new(Code::ActionNotSeen, detail));
    }
    doubts
}

/// Acknowledged changes in their order; and those of unknown outcome.
fn changes<'a>(history: &History<'a>, clients: &mut Clients) -> (Vec<Done<'a>>, Vec<Done<'a>>) {
    let (mut done, mut unknown) = (Vec::new(), Vec::new());
    for Event { at, what } in history.events {
        let What::Acted {
            node,
            user,
            action,
            outcome,
        } = what
        else {
            continue;
        };
        let at = *at;
        let change = Done { at, node, user, action };
        match outcome {
            Outcome::Ok { .. } => done.push(change),
            Outcome::Unknown { .. } => unknown.push(change),
            Outcome::Fail { .. } => {}
        }
    }
    (clients.acknowledged, clients.unknown) = (done.len(), unknown.len());
    (done, unknown)
}

/// True if a later change of the same message takes the place of this one, acknowledged or perhaps done.
fn superseded(change: &Done, later: &[Done], unknown: &[Done]) -> bool {
    let perhaps = unknown.iter().filter(|other| other.at >= change.at);
    let others = later.iter().chain(perhaps);
    let mut others = others.filter(|other| other.user == change.user && other.action.mail() == change.action.mail());
    others.any(|other| {
        matches!(
            (change.action, other.action),
            (_, ClientAction::Expunge { .. }) | (ClientAction::Move { .. }, ClientAction::Move { .. })
        )
    })
}

/// The whole folders that were looked into after the last look began.
fn last_look<'a>(history: &History<'a>) -> (Places<'a>, BTreeSet<&'a str>) {
    let begin = history
        .events
        .iter()
        .rposition(|event| matches!(event.what, What::LastLook));
    let acted = history
        .events
        .iter()
        .rposition(|event| matches!(event.what, What::Acted { .. }));
    let from = match (begin, acted) {
        (Some(begin), Some(acted)) if begin < acted => history.events.len(),
        (Some(begin), _) => begin,
        (None, _) => history.events.len(),
    };
    // Of several looks into one folder the last counts.
    let mut folders = BTreeMap::new();
    for Event { what, .. } in &history.events[from..] {
        if let What::Folder {
            user,
            folder,
            from: 1,
            mails,
            ..
        } = what
        {
            folders.insert((user.as_str(), folder.as_str()), mails);
        }
    }
    let mut places: Places = BTreeMap::new();
    for ((user, folder), mails) in &folders {
        for mail in mails.iter() {
            let place = (*folder, mail.flags.as_slice());
            places.entry((*user, mail.id.as_str())).or_default().push(place);
        }
    }
    (places, folders.keys().map(|(user, _)| *user).collect())
}

/// What is wrong with the end of a message that was changed so last.
fn fault(action: &ClientAction, found: &[(&str, &[String])]) -> Option<Code> {
    match action {
        ClientAction::Append { .. } => found.is_empty().then_some(Code::ActionAppendLost),
        ClientAction::Flag { flag, .. } => {
            let set = found.iter().any(|(_, flags)| flags.contains(flag));
            (!set).then_some(Code::ActionFlagLost)
        }
        ClientAction::Move { folder, to, .. } => {
            let there = found.iter().any(|(at, _)| at == to);
            let here = found.iter().any(|(at, _)| at == folder);
            (!there || here).then_some(Code::ActionMoveLost)
        }
        ClientAction::Expunge { .. } => (!found.is_empty()).then_some(Code::ActionExpungeUndone),
    }
}

fn told(change: &Done, found: &[(&str, &[String])]) -> String {
    let places: Vec<&str> = found.iter().map(|(folder, _)| *folder).collect();
    let places = if places.is_empty() {
        "nowhere".to_owned()
    } else {
        places.join(" and ")
    };
    let (mail, user, at) = (change.action.mail(), change.user, crate::units::readable(change.at));
    format!("{mail} of {user}, at {at} on {} (found: {places})", change.node)
}

fn in_words(code: &Code) -> &'static str {
    match code {
        Code::ActionAppendLost => "stored by a mail program, but gone",
        Code::ActionFlagLost => "flagged by a mail program, but without the flag",
        Code::ActionMoveLost => "moved by a mail program, but not there or still here",
        _ => "removed by a mail program, but there",
    }
}

//! What mail programs keep about folders has to stay true, whichever node they reach: a UID names one message for ever,
//! UIDVALIDITY stays, UIDNEXT never goes down (RFC 9051 section 2.3.1). A program that caches by UID shows wrong mail
//! otherwise, and never notices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use crate::record::{Micros, Service, What};

/// What mail programs saw of folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uids {
    /// Looks into folders.
    pub looks: usize,
    /// Folders looked into.
    pub folders: usize,
    /// Different pairs of folder and UID.
    pub seen: usize,
    /// Of those, seen more than once.
    pub again: usize,
}

/// Account and folder.
type Folder<'a> = (&'a str, &'a str);

#[derive(Default)]
struct Known<'a> {
    validity: u32,
    next: u32,
    mails: BTreeMap<u32, &'a str>,
}

/// Judges all looks of mail programs; `None` if none was used.
pub(super) fn judge(history: &History, terms: &Terms) -> (Option<Uids>, Vec<Reason>) {
    let used = history.of_service(Service::ImapClient).next().is_some();
    if !terms.oracle.client.unwrap_or(used) {
        return (None, Vec::new());
    }
    let mut uids = Uids::default();
    let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
    let mut folders: BTreeMap<Folder, Known> = BTreeMap::new();
    let mut again = std::collections::BTreeSet::new();
    for event in history.events {
        let What::Folder {
            node,
            user,
            folder,
            uid_validity,
            uid_next,
            mails,
            ..
        } = &event.what
        else {
            continue;
        };
        uids.looks += 1;
        let place = format!("{folder} of {user} on {node} at {}", seconds(event.at));
        let known = folders.entry((user, folder)).or_insert_with(|| Known {
            validity: *uid_validity,
            next: *uid_next,
            mails: BTreeMap::new(),
        });
        if known.validity != *uid_validity {
            let case = format!("{place}: {} before, {uid_validity} now", known.validity);
            cases.entry(Code::UidValidityChanged).or_default().push(case);
            // Everything that was kept is void now, for the program as well.
            *known = Known {
                validity: *uid_validity,
                next: *uid_next,
                mails: BTreeMap::new(),
            };
        }
        if *uid_next < known.next {
            let case = format!("{place}: {} before, {uid_next} now", known.next);
            cases.entry(Code::UidNextBack).or_default().push(case);
        }
        known.next = *uid_next;
        for mail in mails {
            match known.mails.insert(mail.uid, &mail.id) {
                Some(before) if before != mail.id => {
                    let case = format!("{place}: UID {} was {before}, is {}", mail.uid, mail.id);
                    cases.entry(Code::UidReused).or_default().push(case);
                }
                Some(_) => {
                    again.insert((user, folder, mail.uid));
                }
                None => {}
            }
        }
    }
    uids.folders = folders.len();
    uids.seen = folders.values().map(|known| known.mails.len()).sum();
    uids.again = again.len();
    let mut reasons: Vec<Reason> = cases
        .into_iter()
        .map(|(code, cases)| {
            let words = in_words(&code);
            Reason::new(code, format!("{words}: {}", some_of(&cases)))
        })
        .collect();
    if uids.again == 0 && reasons.is_empty() {
        let detail = format!("of {} UIDs none was seen more than once", uids.seen);
        reasons.push(Reason::new(Code::UidNotSeen, detail));
    }
    (Some(uids), reasons)
}

fn in_words(code: &Code) -> &'static str {
    match code {
        Code::UidReused => "one UID named two messages",
        Code::UidValidityChanged => "UIDVALIDITY changed",
        _ => "UIDNEXT went down",
    }
}

fn seconds(at: Micros) -> String {
    crate::units::readable(at)
}

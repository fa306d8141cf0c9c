//! How far the copy of the mail store is behind, as senders see it: from the 250 that a sender heard until the message lies
//! in the copy. That is more than the store's own lag, for the gateway's queue and the hand-over lie in it too; so a limit
//! that holds here holds for the store.
//!
//! A message is seen in the copy between two moments; judged is the later one, and the widest distance of both is told as
//! the error. A message that was accepted while something was broken, or while a role was changed on purpose, or before
//! another message had reached the copy after that, is counted apart and not judged: a store without its other node
//! acknowledges alone, and that is what other oracles are for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use crate::record::{ClientAction, Event, Micros, Operation, Outcome, Service, What};
use crate::units::{readable, readable_limit};

/// What was measured of the lag. Lengths are microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Messages that were followed to the copy while nothing was broken.
    pub samples: usize,
    /// Of those, not seen there while they were waited for.
    pub never: usize,
    /// Messages that were followed while something was broken or not yet caught up.
    pub disturbed: usize,
    /// Half of the samples took at most this long.
    pub p50: Micros,
    /// 99 of 100 took at most this long (of fewer than 100 samples: all).
    pub p99: Micros,
    /// The longest.
    pub max: Micros,
    /// The widest distance between the two moments between which a message arrived.
    pub error: Micros,
    /// The limits by name.
    pub limits: BTreeMap<String, Micros>,
}

/// Measures the lag and holds it against its limits; `None` if nothing was followed and nothing has a limit.
pub(super) fn judge(history: &History, terms: &Terms) -> (Option<Lag>, Vec<Reason>) {
    let limits: BTreeMap<String, Micros> = terms
        .budget
        .lag
        .limits()
        .map(|(name, limit)| (name.to_owned(), limit.micros()))
        .collect();
    let followed = follow(history);
    if followed.is_empty() && limits.is_empty() {
        return (None, Vec::new());
    }
    let (judged, disturbed): (Vec<&Followed>, Vec<&Followed>) = followed.iter().partition(|one| !one.disturbed);
    let mut lags: Vec<Micros> = judged.iter().filter_map(|one| one.lag).collect();
    lags.sort_unstable();
    let never: Vec<String> = judged
        .iter()
        .filter(|one| one.lag.is_none())
        .map(|one| one.mail.to_owned())
        .collect();
    let lag = Lag {
        samples: judged.len(),
        never: never.len(),
        disturbed: disturbed.len(),
        p50: percentile(&lags, 50),
        p99: percentile(&lags, 99),
        max: lags.last().copied().unwrap_or(0),
        error: judged.iter().map(|one| one.error).max().unwrap_or(0),
        limits,
    };
    let reasons = if lag.limits.is_empty() {
        Vec::new()
    } else {
        objections(&lag, &never)
    };
    (Some(lag), reasons)
}

fn objections(lag: &Lag, never: &[String]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if lag.samples == 0 {
        let detail = format!(
            "no message was followed to the copy of the mail store while nothing was broken ({} while something was)",
            lag.disturbed
        );
        return vec![Reason::new(Code::LagUnseen, detail)];
    }
    if !never.is_empty() {
        let detail = format!(
            "{} of {} messages were not seen in the copy while they were waited for: {}",
            never.len(),
            lag.samples,
            some_of(never)
        );
        reasons.push(Reason::new(Code::LagNever, detail));
    }
    for (name, limit) in &lag.limits {
        let measured = match name.as_str() {
            "p50" => lag.p50,
            "p99" => lag.p99,
            _ => lag.max,
        };
        if measured > *limit {
            let detail = format!(
                "{name} of {} messages is {} (read to {}), the limit is {}",
                lag.samples,
                readable(measured),
                readable(lag.error),
                readable_limit(*limit)
            );
            reasons.push(Reason::new(Code::LagOver, detail));
        }
    }
    reasons
}

/// A message that was looked for in the copy.
struct Followed<'a> {
    mail: &'a str,
    lag: Option<Micros>,
    error: Micros,
    disturbed: bool,
}

fn follow<'a>(history: &History<'a>) -> Vec<Followed<'a>> {
    let accepted = accepted(history);
    let removed = removed(history);
    let mut trouble = Trouble::default();
    let mut followed = Vec::new();
    for Event { at, what } in history.events {
        trouble.note(*at, what);
        let (mail, seen) = match what {
            What::Copied {
                mail, earliest, latest, ..
            } => (mail, Some((*earliest, *latest))),
            // A mail program may have removed it before it came.
            What::NotCopied { mail, .. } if !removed.contains(mail.as_str()) => (mail, None),
            _ => continue,
        };
        let Some(since) = accepted.get(mail.as_str()) else {
            continue;
        };
        followed.push(Followed {
            mail,
            lag: seen.map(|(_, latest)| latest.saturating_sub(*since)),
            error: seen.map_or(0, |(earliest, latest)| latest.saturating_sub(earliest.max(*since))),
            disturbed: trouble.since(*since),
        });
        if seen.is_some() {
            trouble.caught_up(*since);
        }
    }
    followed
}

/// Messages that mail programs removed, or perhaps did.
fn removed<'a>(history: &History<'a>) -> BTreeSet<&'a str> {
    let removed = history.events.iter().filter_map(|event| match &event.what {
        What::Acted {
            action: ClientAction::Expunge { mail, .. },
            outcome: Outcome::Ok { .. } | Outcome::Unknown { .. },
            ..
        } => Some(mail.as_str()),
        _ => None,
    });
    removed.collect()
}

fn accepted<'a>(history: &History<'a>) -> BTreeMap<&'a str, Micros> {
    let ops = history.of_service(Service::MailIn);
    let accepted = ops.filter_map(|op| match op.operation {
        Operation::SendMail { mail, .. } => Some((mail.as_str(), op.succeeded()?)),
        _ => None,
    });
    accepted.collect()
}

/// What is broken, as one reads on in the record.
#[derive(Default)]
struct Trouble {
    /// Faults that were asked for and are not seen healed.
    open: usize,
    /// Steps under way that change a role.
    roles: Vec<usize>,
    /// When the last trouble began, and when it ended if it did.
    began: Option<Micros>,
    ended: Micros,
    /// A message that was accepted after the end of all trouble has reached the copy.
    caught_up: bool,
}

impl Trouble {
    fn note(&mut self, at: Micros, what: &What) {
        match what {
            What::Inject { .. } => {
                self.open += 1;
                self.begin(at);
            }
            What::Healed { .. } => {
                self.open = self.open.saturating_sub(1);
                self.ended = at;
            }
            What::StepBegin { step, kind, .. } if kind == "role" => {
                self.roles.push(*step);
                self.begin(at);
            }
            What::StepEnd { step, .. } if self.roles.contains(step) => {
                self.roles.retain(|open| open != step);
                self.ended = at;
            }
            _ => {}
        }
    }

    fn begin(&mut self, at: Micros) {
        self.began = Some(at);
        self.caught_up = false;
    }

    /// True if a message that was accepted then may have met trouble on its way until now.
    fn since(&self, accepted: Micros) -> bool {
        let under_way = self.open > 0 || !self.roles.is_empty();
        self.began
            .is_some_and(|began| under_way || !self.caught_up || accepted <= began.max(self.ended))
    }

    fn caught_up(&mut self, accepted: Micros) {
        self.caught_up |= self.open == 0 && self.roles.is_empty() && accepted > self.ended;
    }
}

/// The nearest rank, of sorted lengths.
fn percentile(sorted: &[Micros], percent: usize) -> Micros {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_length_that_was_measured() {
        let lengths: Vec<Micros> = (1..=200).collect();
        assert_eq!((percentile(&lengths, 50), percentile(&lengths, 99)), (100, 198));
        assert_eq!((percentile(&[7], 99), percentile(&[], 99)), (7, 0));
    }
}

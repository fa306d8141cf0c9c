//! Outages as clients meet them.
//!
//! The successes of a service cut the time into stretches, each from the moment one success was complete to the moment
//! the next one was; the first stretch begins with the first operation. A stretch is an *outage* if an operation that
//! began in it did not succeed, and its whole length counts: from the last proof that the service worked to the first
//! proof that it works again. That is never less than the true outage, and more by at most one pause between operations
//! and one answer time. Adjacent outages are one *flap*. An outage that no success ends lasts until the last failure.
//!
//! A stretch without failures can still be one long wait for an answer; a wait beyond the limit breaks the budget too.
//! Where nobody tried for longer than the limit, an outage of that length could hide, so nothing is proved.
//!
//! A limit for failures counts the operations that did not succeed, however short the outages are.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::{History, Op};
use super::terms::Terms;
use super::verdict::{Code, Reason};
use crate::fault::Fault;
use crate::record::{Micros, Service, micros};
use crate::units::{readable, readable_limit};

/// What was measured of one service (on one node, for IMAP and SQL).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The service.
    pub service: Service,
    /// The node asked, for services that are judged on each node apart.
    pub node: Option<String>,
    /// Operations begun.
    pub operations: usize,
    /// Operations that succeeded.
    pub succeeded: usize,
    /// The longest outage, `None` if there was none.
    pub longest: Option<Gap>,
    /// Number of separate outages.
    pub flaps: usize,
    /// Length of all outages together, microseconds.
    pub total: Micros,
    /// The longest wait for an answer outside of outages, microseconds.
    pub slowest: Micros,
    /// The longest stretch in which nobody tried, microseconds.
    pub blind: Micros,
    /// The budget, microseconds.
    pub limit: Option<Micros>,
    /// How the service came back after each fault, in the order of the faults.
    pub recoveries: Vec<Recovery>,
}

/// One outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last success before it was complete; if there was none, the first operation began.
    pub from: Micros,
    /// The next success was complete; `None` if none followed.
    pub to: Option<Micros>,
    /// Its length, microseconds; without a next success until the last failure.
    pub length: Micros,
}

/// How a service came back after a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The fault.
    pub fault: Fault,
    /// From the order to inject the fault until the first success of an operation that began after the fault was seen to
    /// have taken hold, microseconds; `None` if there was none.
    pub back_after: Option<Micros>,
    /// The node that served last before the fault and another that served first after it.
    pub moved: Option<Move>,
}

/// A change of the serving node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The node before the fault.
    pub from: String,
    /// The node after it.
    pub to: String,
    /// From the order to inject the fault until the first success on the new node, microseconds.
    pub after: Micros,
}

/// Measures every service that was used or has a budget, and holds it against the budget.
pub(super) fn judge(history: &History, terms: &Terms) -> (Vec<Outage>, Vec<Reason>) {
    let mut outages = Vec::new();
    let mut reasons = Vec::new();
    for (service, node) in subjects(history, terms) {
        let limit = match &node {
            Some(node) => terms.budget.of_node(service, node),
            None => terms.budget.of(service),
        };
        let ops: Vec<&Op> = history
            .of_service(service)
            .filter(|op| op.node() == node.as_deref())
            .collect();
        let outage = measure(service, node, &ops, history, limit);
        reasons.extend(limit.and_then(|limit| objection(&outage, &ops, history, limit)));
        let failures = terms.budget.failures.of(service);
        reasons.extend(failures.and_then(|limit| too_many_failures(&outage, &ops, limit)));
        outages.push(outage);
    }
    (outages, reasons)
}

/// What has to be measured: whatever was used, and whatever has a budget.
fn subjects(history: &History, terms: &Terms) -> BTreeSet<(Service, Option<String>)> {
    let used = history
        .ops
        .iter()
        .map(|op| (op.operation.service(), op.node().map(str::to_owned)));
    let mut subjects: BTreeSet<(Service, Option<String>)> = used.collect();
    for service in [Service::Webmail, Service::MailIn, Service::ImapClient] {
        subjects.extend(terms.budget.of(service).map(|_| (service, None)));
        subjects.extend(terms.budget.failures.of(service).map(|_| (service, None)));
    }
    for service in [Service::Imap, Service::Sql] {
        let own = terms.budget.on.iter().filter(|(_, own)| match service {
            Service::Imap => own.imap.is_some(),
            _ => own.sql.is_some(),
        });
        for node in terms.mail_nodes.iter().chain(own.map(|(node, _)| node)) {
            subjects.extend(
                terms
                    .budget
                    .of_node(service, node)
                    .map(|_| (service, Some(node.clone()))),
            );
        }
    }
    subjects
}

/// The first objection against a service with a budget; a broken budget goes before doubts.
fn objection(outage: &Outage, ops: &[&Op], history: &History, limit: Duration) -> Option<Reason> {
    let limit = micros(limit);
    let who = outage.name();
    let told = |code: Code, detail: String| Some(Reason::new(code, format!("{who} {detail}")));
    let budget = readable_limit(limit);
    if outage.operations == 0 {
        return told(
            Code::OutageUnseen(outage.service),
            "has a budget but was never used".into(),
        );
    }
    if let Some(gap) = outage.longest.filter(|gap| gap.length > limit) {
        let end = if gap.to.is_some() { "" } else { " and never came back" };
        let length = readable(gap.length);
        let from = readable(gap.from);
        let detail = format!("was away for {length} from {from} on{end}, the limit is {budget}");
        return told(Code::Outage(outage.service), detail);
    }
    if outage.slowest > limit {
        let detail = format!(
            "let a client wait for {}, the limit is {budget}",
            readable(outage.slowest)
        );
        return told(Code::Outage(outage.service), detail);
    }
    if let Some(gap) = last_gap(outage, ops) {
        let detail = format!("was away when traffic ended, by then for {} of {budget}", readable(gap));
        return told(Code::OutageNotBack(outage.service), detail);
    }
    if outage.operations == 1 {
        return told(
            Code::OutageUnseen(outage.service),
            "has a budget but was used only once".into(),
        );
    }
    if outage.blind > limit {
        let detail = format!(
            "was not tried for {}, an outage of {budget} could hide there",
            readable(outage.blind)
        );
        return told(Code::OutageBlind(outage.service), detail);
    }
    let untried = history
        .hits
        .iter()
        .find(|hit| !ops.iter().any(|op| op.begun >= hit.held));
    untried.and_then(|hit| {
        let detail = format!("was not tried after the fault at {}", readable(hit.held));
        told(Code::OutageBlind(outage.service), detail)
    })
}

/// More operations than allowed did not succeed, or nothing shows that any did.
fn too_many_failures(outage: &Outage, ops: &[&Op], limit: usize) -> Option<Reason> {
    let who = outage.name();
    let failed: Vec<&&Op> = ops.iter().filter(|op| op.missed()).collect();
    if let Some(first) = failed.first().filter(|_| failed.len() > limit) {
        let (count, all) = (failed.len(), outage.operations);
        let from = readable(first.begun);
        let detail = format!("{who} failed {count} times of {all}, the first at {from}, the limit is {limit}");
        return Some(Reason::new(Code::OutageFailed(outage.service), detail));
    }
    (outage.succeeded == 0).then(|| {
        let detail = format!("{who} has a limit for failures but never succeeded");
        Reason::new(Code::OutageUnseen(outage.service), detail)
    })
}

/// Length of the outage in which the record ends.
fn last_gap(outage: &Outage, ops: &[&Op]) -> Option<Micros> {
    let last_success = ops.iter().filter_map(|op| op.succeeded()).max();
    let failures = ops
        .iter()
        .filter(|op| op.missed() && last_success.is_none_or(|last| op.begun >= last));
    let last_failure = failures.map(|op| op.last_moment()).max()?;
    let from = last_success.or(outage.longest.map(|gap| gap.from))?;
    Some(last_failure.saturating_sub(from))
}

impl Outage {
    /// The service in words: `webmail`, `sql on mail1`.
    pub fn name(&self) -> String {
        match &self.node {
            Some(node) => format!("{} on {node}", self.service.as_str()),
            None => self.service.as_str().to_owned(),
        }
    }
}

fn measure(service: Service, node: Option<String>, ops: &[&Op], history: &History, limit: Option<Duration>) -> Outage {
    let stretches = stretches(ops);
    let mut outage = Outage {
        service,
        node,
        operations: ops.len(),
        succeeded: ops.iter().filter(|op| op.succeeded().is_some()).count(),
        longest: None,
        flaps: 0,
        total: 0,
        slowest: 0,
        blind: blind(ops, history),
        limit: limit.map(micros),
        recoveries: history.hits.iter().map(|hit| recovery(ops, hit)).collect(),
    };
    let mut before_was_out = false;
    for stretch in &stretches {
        match stretch {
            Stretch::Out(gap) => {
                outage.flaps += usize::from(!before_was_out);
                outage.total = outage.total.saturating_add(gap.length);
                if outage.longest.is_none_or(|longest| gap.length > longest.length) {
                    outage.longest = Some(*gap);
                }
            }
            Stretch::Fine { waited } => outage.slowest = outage.slowest.max(*waited),
        }
        before_was_out = matches!(stretch, Stretch::Out(_));
    }
    outage
}

/// The time between two successes.
enum Stretch {
    /// Nothing failed in it; the longest wait for the answer that ended it.
    Fine { waited: Micros },
    /// An operation that began in it did not succeed.
    Out(Gap),
}

/// Cuts the time at every success, see the head of this module.
fn stretches(ops: &[&Op]) -> Vec<Stretch> {
    let Some(start) = ops.iter().map(|op| op.begun).min() else {
        return Vec::new();
    };
    let mut successes: Vec<(Micros, Micros)> = ops
        .iter()
        .filter_map(|op| op.succeeded().map(|at| (at, op.begun)))
        .collect();
    successes.sort_unstable();
    let mut failures: Vec<(Micros, Micros)> = ops
        .iter()
        .filter(|op| op.missed())
        .map(|op| (op.begun, op.last_moment()))
        .collect();
    failures.sort_unstable();
    // Who waits for each success: it and all that end later, so the earliest beginning among those.
    let mut earliest: Vec<Micros> = successes.iter().map(|(_, begun)| *begun).collect();
    for place in (1..earliest.len()).rev() {
        earliest[place - 1] = earliest[place - 1].min(earliest[place]);
    }
    let mut stretches = Vec::new();
    let mut failures = failures.into_iter().peekable();
    let mut from = start;
    for ((at, _), waiting_since) in successes.into_iter().zip(earliest) {
        let mut out = false;
        while failures.next_if(|(begun, _)| *begun < at).is_some() {
            out = true;
        }
        stretches.push(match out {
            true => Stretch::Out(Gap {
                from,
                to: Some(at),
                length: at - from,
            }),
            false => Stretch::Fine {
                waited: at.saturating_sub(waiting_since.max(from)),
            },
        });
        from = at;
    }
    if let Some(last) = failures.map(|(_, end)| end).max() {
        stretches.push(Stretch::Out(Gap {
            from,
            to: None,
            length: last.saturating_sub(from),
        }));
    }
    stretches
}

/// The longest stretch in which no operation was under way, from the first operation or fault to the end of traffic
/// (without one, the last operation or fault).
fn blind(ops: &[&Op], history: &History) -> Micros {
    let Some(first) = ops.iter().map(|op| op.begun).min() else {
        return 0;
    };
    let first_fault = history.hits.iter().map(|hit| hit.asked).min();
    let last_fault = history.hits.iter().map(|hit| hit.held).max();
    let last = ops.iter().map(|op| op.last_moment()).max();
    let until = history.traffic_end.or(last.max(last_fault)).unwrap_or(first);
    let mut seen_to = first_fault.map_or(first, |fault| fault.min(first));
    let mut tried: Vec<(Micros, Micros)> = ops.iter().map(|op| (op.begun, op.last_moment())).collect();
    tried.sort_unstable();
    let mut longest = 0;
    for (begun, ended) in tried {
        longest = longest.max(begun.min(until).saturating_sub(seen_to));
        seen_to = seen_to.max(ended);
    }
    longest.max(until.saturating_sub(seen_to))
}

fn recovery(ops: &[&Op], hit: &super::history::Hit) -> Recovery {
    let after = || ops.iter().filter(|op| op.begun >= hit.held);
    let back = after().filter_map(|op| op.succeeded()).min();
    let before = ops.iter().filter(|op| op.succeeded().is_some_and(|at| at <= hit.asked));
    let served_before = before.max_by_key(|op| op.succeeded()).and_then(|op| op.served_by());
    let elsewhere = after().filter(|op| op.served_by().is_some() && op.served_by() != served_before);
    let first = elsewhere
        .filter_map(|op| Some((op.succeeded()?, op.served_by()?)))
        .min();
    Recovery {
        fault: hit.fault.clone(),
        back_after: back.map(|at| at.saturating_sub(hit.asked)),
        moved: served_before.zip(first).map(|(from, (at, to))| Move {
            from: from.to_owned(),
            to: to.to_owned(),
            after: at.saturating_sub(hit.asked),
        }),
    }
}

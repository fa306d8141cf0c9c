//! "Sometimes" conditions: a run in which nothing of what it is about happened must not pass.

use super::history::{History, Op};
use super::terms::{Terms, Witness};
use super::verdict::{Code, Reason};
use crate::record::{Event, Micros, Service, What};

/// Looks for every witness that the scenario calls.
pub(super) fn judge(history: &History, terms: &Terms) -> Vec<Reason> {
    let missing = terms.oracle.witness.iter().filter(|witness| !seen(history, witness));
    missing
        .map(|witness| Reason::new(Code::WitnessMissing, in_words(witness)))
        .collect()
}

fn seen(history: &History, witness: &Witness) -> bool {
    // In a run without faults everything is "after".
    let since = history.hits.first().map_or(0, |hit| hit.held);
    match witness {
        Witness::ServedBy { service, node } => {
            since_of(history, *service, since).any(|op| op.served_by() == Some(node.as_str()))
        }
        Witness::Moved { service } => moved(history, *service),
        Witness::Outage { service } => !history.hits.is_empty() && since_of(history, *service, since).any(Op::missed),
        Witness::Queued { node } => history.events.iter().any(
            |Event { what, .. }| matches!(what, What::Queue { node: at, waiting } if at == node && !waiting.is_empty()),
        ),
    }
}

fn since_of<'a, 'h>(
    history: &'h History<'a>,
    service: Service,
    since: Micros,
) -> impl Iterator<Item = &'h Op<'a>> + use<'a, 'h> {
    history.of_service(service).filter(move |op| op.begun >= since)
}

/// True if one node served before some fault and another after it.
fn moved(history: &History, service: Service) -> bool {
    history.hits.iter().any(|hit| {
        let before = history.of_service(service).filter(|op| op.last_moment() <= hit.asked);
        let before: Vec<&str> = before.filter_map(Op::served_by).collect();
        since_of(history, service, hit.held)
            .filter_map(Op::served_by)
            .any(|after| before.iter().any(|before| *before != after))
    })
}

fn in_words(witness: &Witness) -> String {
    match witness {
        Witness::ServedBy { service, node } => {
            format!("no {} was served by {node} after the first fault", service.as_str())
        }
        Witness::Moved { service } => {
            format!(
                "{} was never served by another node after a fault: no failover happened",
                service.as_str()
            )
        }
        Witness::Outage { service } => format!("{} succeeded every time: no fault was noticed", service.as_str()),
        Witness::Queued { node } => format!("no mail was seen waiting on {node}"),
    }
}

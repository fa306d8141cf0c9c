//! How the time of a take-over splits: until another node calls itself the writer, until its doors are open. The rest, until
//! a service is used there, is measured with that service's outage. Measured only; the budgets of services judge.

use serde::{Deserialize, Serialize};

use super::history::History;
use crate::fault::Fault;
use crate::record::{Event, Micros, What};

/// A node that became the writer after a fault. Times are microseconds from the order to inject the fault; both are as late
/// as somebody looked, so that a record without looks has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// The fault.
    pub fault: Fault,
    /// The new writer.
    pub node: String,
    /// Until it was seen to call itself the writer.
    pub writer_after: Micros,
    /// Until its doors were seen open.
    pub open_after: Micros,
}

/// Finds the first new writer after each fault, up to the next fault.
pub(super) fn measure(history: &History) -> Vec<TakeOver> {
    let ends = history.hits.iter().skip(1).map(|hit| hit.asked).chain([Micros::MAX]);
    history
        .hits
        .iter()
        .zip(ends)
        .filter_map(|(hit, end)| {
            let before = writer_before(history.events, hit.asked)?;
            let mut writer_after = None;
            history
                .events
                .iter()
                .filter(|event| (hit.asked..end).contains(&event.at))
                .find_map(|Event { at, what }| {
                    let What::Store { node, status } = what else {
                        return None;
                    };
                    if node == before || status.standing != "writer" {
                        return None;
                    }
                    let after = at - hit.asked;
                    let writer_after = *writer_after.get_or_insert(after);
                    status.serves().then(|| TakeOver {
                        fault: hit.fault.clone(),
                        node: node.clone(),
                        writer_after,
                        open_after: after,
                    })
                })
        })
        .collect()
}

/// The node that served last before a moment.
fn writer_before(events: &[Event], moment: Micros) -> Option<&str> {
    let mut earlier = events.iter().rev().filter(|event| event.at < moment);
    earlier.find_map(|event| match &event.what {
        What::Store { node, status } if status.serves() => Some(node.as_str()),
        _ => None,
    })
}

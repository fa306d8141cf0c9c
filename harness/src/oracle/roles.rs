//! There is at most one writer. Two agents that say so at about the same moment prove nothing, for a role may have moved
//! between the two questions; but a node that serves before and after another one does, without a new epoch, served at the
//! same time.

use std::collections::BTreeMap;

use super::history::History;
use super::verdict::{Code, Reason, some_of};
use crate::record::{Event, Micros, What};
use crate::units::readable;

/// Looks for two writers at once.
pub(super) fn judge(history: &History) -> Vec<Reason> {
    // Every moment at which a node was seen to serve.
    let mut all: Vec<(Micros, &str)> = Vec::new();
    // Node to the last of them and its epoch then, while it goes on.
    let mut served: BTreeMap<&str, (Micros, u64)> = BTreeMap::new();
    let mut cases = Vec::new();
    for Event { at, what } in history.events {
        let What::Store { node, status } = what else { continue };
        if !status.serves() {
            served.remove(node.as_str());
            continue;
        }
        if let Some((before, epoch)) = served.insert(node, (*at, status.epoch))
            && epoch == status.epoch
        {
            let meanwhile = all.iter().find(|(seen, other)| *other != node && *seen > before);
            cases.extend(meanwhile.map(|(seen, other)| {
                let (from, to) = (readable(before), readable(*at));
                format!("{node} from {from} to {to}, {other} at {}", readable(*seen))
            }));
        }
        all.push((*at, node));
    }
    if cases.is_empty() {
        return Vec::new();
    }
    vec![Reason::new(
        Code::StoreTwoWriters,
        format!("two nodes were writers at once: {}", some_of(&cases)),
    )]
}

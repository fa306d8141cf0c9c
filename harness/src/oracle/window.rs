//! What a writer acknowledged and could not hand on before it was lost. The writer's node is read from where mail programs
//! were let in and from what the agents said. A change that was acknowledged on one node *crossed* the take-over if the next
//! writer is another node, a fault lay between, and no evidence shows that the copy had the change before: evidence is a
//! message that was accepted after it and seen in the copy, since snapshots keep the order in which things were written.

use super::history::History;
use crate::record::{Event, Micros, Operation, Service, What};

/// Take-overs and evidence of one record.
pub(super) struct Window<'a> {
    /// Moments at which a node was seen to be the writer, in order.
    writers: Vec<(Micros, &'a str)>,
    /// Begin and end of each fault.
    faults: Vec<(Micros, Micros)>,
    /// Acceptance of a message, and when it was seen in the copy.
    copied: Vec<(Micros, Micros)>,
}

impl<'a> Window<'a> {
    pub fn of(history: &History<'a>) -> Window<'a> {
        let mut window = Window {
            writers: Vec::new(),
            faults: Vec::new(),
            copied: Vec::new(),
        };
        let mut open = Vec::new();
        for Event { at, what } in history.events {
            match what {
                What::Folder { node, .. } | What::Acted { node, .. } => window.writers.push((*at, node)),
                What::Store { node, status } if status.serves() => window.writers.push((*at, node)),
                What::Inject { fault } => open.push((fault, *at)),
                What::Healed { fault, .. } => {
                    if let Some(place) = open.iter().position(|(known, _)| *known == fault) {
                        window.faults.push((open.remove(place).1, *at));
                    }
                }
                What::Copied { mail, latest, .. } => {
                    let since = accepted(history, mail);
                    window.copied.extend(since.map(|since| (since, *latest)));
                }
                _ => {}
            }
        }
        window
            .faults
            .extend(open.into_iter().map(|(_, since)| (since, Micros::MAX)));
        window
    }

    /// True if what `node` acknowledged at that moment may not have been in the copy when another node took over.
    pub fn crossed(&self, node: &str, at: Micros) -> bool {
        let next = self.writers.iter().find(|(seen, writer)| *seen > at && *writer != node);
        let Some((taken_over, _)) = next else {
            return false;
        };
        let broken = self.faults.iter().any(|(from, to)| from <= taken_over && *to >= at);
        let in_copy = self
            .copied
            .iter()
            .any(|(accepted, seen)| *accepted > at && seen <= taken_over);
        broken && !in_copy
    }
}

fn accepted(history: &History, id: &str) -> Option<Micros> {
    let mut ops = history.of_service(Service::MailIn);
    ops.find_map(|op| match op.operation {
        Operation::SendMail { mail, .. } if mail == id => op.succeeded(),
        _ => None,
    })
}

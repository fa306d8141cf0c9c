//! Faults without evidence prove nothing: every injection and every healing needs its receipt.

use super::history::History;
use super::verdict::{Code, Reason};
use crate::fault::{Fault, Receipt};
use crate::record::{Event, What};

/// An order that waits for its receipt.
struct Order<'a> {
    fault: &'a Fault,
    code: Code,
    why: Option<&'a str>,
}

/// Pairs orders with receipts, the oldest first.
pub(super) fn judge(history: &History) -> Vec<Reason> {
    let mut open: Vec<Order> = Vec::new();
    let mut reasons = Vec::new();
    for Event { what, .. } in history.events {
        match what {
            What::Inject { fault } => open.push(Order {
                fault,
                code: Code::InjectReceiptMissing,
                why: None,
            }),
            What::Heal { fault } => open.push(Order {
                fault,
                code: Code::HealReceiptMissing,
                why: None,
            }),
            What::Injected { fault, receipt } => {
                reasons.extend(settle(&mut open, fault, receipt, Code::InjectReceiptMissing));
            }
            What::Healed { fault, receipt } => {
                reasons.extend(settle(&mut open, fault, receipt, Code::HealReceiptMissing));
            }
            What::NoReceipt { fault, reason } => {
                // It answers the latest order about that fault.
                let order = open
                    .iter_mut()
                    .rev()
                    .find(|order| order.fault == fault && order.why.is_none());
                match order {
                    Some(order) => order.why = Some(reason),
                    None => reasons.push(unasked(fault)),
                }
            }
            _ => {}
        }
    }
    reasons.extend(open.into_iter().map(|order| {
        let what = if order.code == Code::InjectReceiptMissing {
            "it took hold"
        } else {
            "it was healed"
        };
        let why = order.why.unwrap_or("the record holds no receipt");
        Reason::new(
            order.code,
            format!("{}: no evidence that {what}: {why}", describe(order.fault)),
        )
    }));
    reasons
}

/// Takes the order that a receipt belongs to off the list; a receipt that shows nothing is none.
fn settle(open: &mut Vec<Order>, fault: &Fault, receipt: &Receipt, code: Code) -> Option<Reason> {
    let Some(place) = open.iter().position(|order| order.fault == fault && order.code == code) else {
        return Some(unasked(fault));
    };
    if receipt.observed.trim().is_empty() {
        return None;
    }
    open.remove(place);
    None
}

fn unasked(fault: &Fault) -> Reason {
    Reason::new(
        Code::RecordMalformed,
        format!("a receipt nobody asked for: {}", describe(fault)),
    )
}

/// A fault in words: `power-cut of mail1`.
pub fn describe(fault: &Fault) -> String {
    match fault {
        Fault::PowerCut { node } => format!("power-cut of {node}"),
        Fault::Freeze { node } => format!("freeze of {node}"),
        Fault::Reboot { node } => format!("reboot of {node}"),
        Fault::ServiceStop { node, service } => format!("stop of {service} on {node}"),
        Fault::ServiceKill { node, service } => format!("kill of {service} on {node}"),
        Fault::ServiceFreeze { node, service } => format!("freeze of {service} on {node}"),
        Fault::DiskFull { node } => format!("full pool of {node}"),
        Fault::DiskFlip { node } => format!("changed byte on a disk of {node}"),
        Fault::DiskNew { node } => format!("empty disk of {node}"),
        Fault::LinkCut {
            from,
            to,
            both_ways: true,
        } => format!("cut between {from} and {to}"),
        Fault::LinkCut {
            from,
            to,
            both_ways: false,
        } => format!("cut from {from} to {to}"),
    }
}

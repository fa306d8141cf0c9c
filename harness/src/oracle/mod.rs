//! Judges a finished record: the mail ledger, outage budgets, replication, receipts, steps. Pure: no I/O, no clock.
//!
//! Each judge reads the whole record and gives what it measured and its reasons against a pass. What it cannot know it
//! never takes for granted: no operation, no look, no receipt make a run inconclusive, not passed.

mod history;
mod judgement;
mod ledger;
mod outage;
mod receipts;
mod replication;
mod steps;
mod terms;
mod verdict;
mod witness;

#[cfg(test)]
pub(crate) mod tests;

pub use self::judgement::{Judgement, judge};
pub use self::ledger::Tally;
pub use self::outage::{Gap, Move, Outage, Recovery};
pub use self::replication::Replicated;
pub use self::terms::{Budgets, NodeBudgets, OracleConfig, Terms, Witness};
pub use self::verdict::{Code, Reason, Verdict};

/// A fault in words: `power-cut of mail1`.
pub use self::receipts::describe as describe_fault;

//! Judges a finished record: the mail ledger, outage budgets, replication, receipts, steps. Pure: no I/O, no clock.
//!
//! Each judge reads the whole record and gives what it measured and its reasons against a pass. What it cannot know it
//! never takes for granted: no operation, no look, no receipt make a run inconclusive, not passed.

mod client;
mod finds;
mod history;
mod judgement;
mod lag;
mod ledger;
mod outage;
mod receipts;
mod replication;
mod roles;
mod steps;
mod takeover;
mod terms;
mod uid;
mod verdict;
mod window;
mod witness;

#[cfg(test)]
pub(crate) mod tests;

pub use self::client::Clients;
pub use self::judgement::{Judgement, MailStore, judge};
pub use self::lag::Lag;
pub use self::ledger::Tally;
pub use self::outage::{Gap, Move, Outage, Recovery};
pub use self::replication::Replicated;
pub use self::takeover::TakeOver;
pub use self::terms::{Budgets, FailureBudget, LagBudget, NodeBudgets, OracleConfig, Terms, Witness};
pub use self::uid::Uids;
pub use self::verdict::{Code, Reason, Verdict};

/// A fault in words: `power-cut of mail1`.
pub use self::receipts::describe as describe_fault;

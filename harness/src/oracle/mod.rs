//! Judges a finished record: the mail ledger, outage budgets, replication. Pure: no I/O, no clock.

mod terms;

pub use self::terms::{Budgets, NodeBudgets, OracleConfig, Terms, Witness};

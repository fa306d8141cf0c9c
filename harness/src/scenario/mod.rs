//! Scenario files: model, parser with carets, rules, plan. Pure: knows neither a clock nor a machine; what plays a plan is
//! [`crate::play`].

pub mod check;
pub mod defect;
pub mod expectation;
pub mod model;
mod pace;
pub mod parse;
pub mod plan;
pub mod schema;
mod shape;
#[cfg(test)]
mod tests;
pub mod traffic;
mod variant;
pub mod words;

pub use self::model::{Action, Scenario, Stage, Step};
pub use self::parse::{Parsed, parse};
pub use self::plan::Plan;

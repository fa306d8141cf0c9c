//! Every judge against records with exactly one planted defect, against random records, and against records that show
//! nothing.

mod outages;
mod planted;
mod random;
mod stores;
pub(crate) mod story;
mod vacuous;
mod witnesses;

//! The QEMU guest agent: run a command, read and write files, ask and set the time, make a node of a machine.

mod agent;
mod clock;
mod error;
mod exec;
#[cfg(test)]
mod fake;
mod file;
mod journal;
mod provision;
mod stream;
mod systemd;
#[cfg(test)]
mod tests;
pub mod wire;

pub use agent::Agent;
pub use clock::lag_seconds;
pub use error::GuestError;
pub use provision::{NetworkPlan, individualize, install_bundle, provision, unpack_bundle, unpack_bundle_in};
pub use stream::Stream;
pub use systemd::{UnitState, unit_name};

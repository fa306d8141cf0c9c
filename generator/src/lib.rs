//! From a description of a highly available mail cluster (`cluster.toml`) to every configuration file of every node.
//!
//! The road is [`spec`] (the description as types) → [`check`] (what an expert would object to) → [`render`] (an
//! in-memory [`bundle::Bundle`] of files with owner and mode) → a folder or a tar archive that is copied to production
//! as it is. The core does no I/O; only [`cli`] touches files.

pub mod bundle;
pub mod check;
pub mod cli;
pub mod diag;
pub mod render;
pub mod secrets;
pub mod spec;

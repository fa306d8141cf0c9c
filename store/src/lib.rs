//! Keeps one ZFS mail dataset in step on two nodes. Which of them is the writer is decided elsewhere, by an engine that
//! calls `promote` and `demote`; here both are carried out so that no acknowledged mail is lost.

pub mod act;
pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod deliveries;
pub mod link;
pub mod metrics;
pub mod outside;
pub mod proxy;
pub mod release;
pub mod zfs;

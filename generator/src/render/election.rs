//! What templates see of the program that decides who is the writer.

use std::time::Duration;

use serde::Serialize;

use super::RenderError;
use super::model::Machine;
use crate::spec::{Cluster, LOOKS, Node, Role, Span};

/// The folder of templates that only this engine has; in it `mail`, `third` (the machine with the third vote) and `voter`
/// (both).
pub(super) const FOLDER: &str = "pacemaker";

/// Pacemaker, corosync and sbd. Times are in the unit that each program's file has.
#[derive(Serialize)]
pub(super) struct Election {
    third: Machine,
    /// Whether this node has the third vote.
    votes_third: bool,
    /// corosync's name of the cluster.
    name: String,
    watchdog: String,
    /// Milliseconds.
    token: u128,
    /// Milliseconds.
    consensus: u128,
    /// Milliseconds.
    device: u128,
    /// Milliseconds.
    sync: u128,
    /// Seconds.
    watchdog_timeout: u64,
    /// Seconds until the other node is asked to be the writer, by these limits.
    takeover: u64,
    stonith: String,
    promote: String,
    demote: String,
    monitor: String,
    interval: String,
    failure: String,
    /// Seconds that a writer may not serve.
    service: u64,
    /// Seconds between two looks at whether a node can serve.
    look: u64,
    /// Seconds for which a node that did not serve counts as unable to at least.
    unfit: u64,
}

impl Election {
    /// Nothing where a person decides.
    pub(super) fn new(cluster: &Cluster, node: &Node) -> Result<Option<Election>, RenderError> {
        if !cluster.decides_itself() {
            return Ok(None);
        }
        let third = cluster
            .third_vote()
            .ok_or_else(|| RenderError::Description("no machine has the third vote".to_owned()))?;
        let election = &cluster.election;
        Ok(Some(Election {
            third: Machine::new(cluster, third),
            votes_third: cluster.has_third_vote(node),
            name: cluster.voting_name(),
            watchdog: election.watchdog.clone(),
            token: election.token.length().as_millis(),
            consensus: election.consensus().as_millis(),
            device: election.device_timeout.length().as_millis(),
            sync: election.sync_timeout.length().as_millis(),
            watchdog_timeout: election.watchdog_timeout.length().as_secs(),
            takeover: rounded_up(election.takeover()),
            stonith: interval(&election.stonith_watchdog_timeout),
            promote: interval(&election.promote),
            demote: interval(&election.demote),
            monitor: interval(&election.monitor),
            interval: interval(&election.interval),
            failure: interval(&election.failure_timeout),
            service: election.service_timeout.length().as_secs(),
            look: (election.service_timeout.length().as_secs() / LOOKS).max(1),
            unfit: rounded_up(election.failure_timeout.length()),
        }))
    }
}

fn rounded_up(length: Duration) -> u64 {
    length.as_secs().saturating_add(u64::from(length.subsec_nanos() > 0))
}

/// A length of time as pacemaker reads it: a number with `s` or `ms`.
fn interval(span: &Span) -> String {
    let length = span.length();
    match length.subsec_nanos() {
        0 => format!("{}s", length.as_secs()),
        _ => format!("{}ms", length.as_millis()),
    }
}

/// Whether a folder of [`FOLDER`] has files for a node.
pub(super) fn has(folder: &str, cluster: &Cluster, node: &Node) -> bool {
    let (mail, third) = (node.role == Role::Mail, cluster.has_third_vote(node));
    cluster.decides_itself()
        && match folder {
            "mail" => mail,
            "third" => third,
            "voter" => mail || third,
            _ => false,
        }
}

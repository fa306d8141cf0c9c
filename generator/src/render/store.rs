//! The mail store as templates see it.

use serde::Serialize;

use crate::spec::{Cluster, Engine, Node};

/// Bytes that a message may have besides what its sender counts: headers that are added on the way.
const HEADERS: u64 = 1 << 20;

/// Seconds that a gateway waits longer than the agent does, so that the answer comes from the agent.
const GRACE: u64 = 10;

/// The mail store, on one node.
#[derive(Serialize)]
pub(super) struct Store {
    pool: String,
    /// This node's disks; on machines of other roles none.
    disks: Vec<String>,
    /// `mirror`, or nothing.
    layout: &'static str,
    engine: &'static str,
    peer_missing: &'static str,
    metrics_from: Vec<String>,
    interval: String,
    keep: u32,
    retention: String,
    confirm: String,
    deliver: String,
    doors: String,
    role: String,
    drain: String,
    /// Seconds.
    hold: u64,
    /// Seconds.
    notice: u64,
    command: String,
    stream: String,
    connect: String,
    heartbeat: String,
    answer: String,
    silence: String,
    active: String,
    doveadm: String,
    releases: u32,
    install: String,
    /// Largest message that is delivered, bytes.
    message: u64,
    /// Seconds within which a gateway has its answer after the end of a message.
    answered: u64,
}

impl Store {
    /// The store of a cluster that has one.
    pub(super) fn new(cluster: &Cluster, node: &Node) -> Option<Store> {
        let store = cluster.store.as_ref()?;
        Some(Store {
            pool: store.pool.clone(),
            disks: cluster.disks(node).to_vec(),
            layout: store.layout.as_str(),
            engine: match cluster.election.engine {
                Engine::Manual => "manual",
                Engine::Pacemaker => "pacemaker",
            },
            peer_missing: store.peer_missing.as_str(),
            metrics_from: cluster.read_store().iter().map(ToString::to_string).collect(),
            interval: store.interval.to_string(),
            keep: store.keep,
            retention: store.retention.to_string(),
            confirm: store.confirm.to_string(),
            deliver: store.deliver.to_string(),
            doors: store.doors.to_string(),
            role: store.role.to_string(),
            drain: store.drain.to_string(),
            hold: store.hold.length().as_secs(),
            notice: store.notice(cluster.webmail.check).as_secs(),
            command: store.command.to_string(),
            stream: store.stream.to_string(),
            connect: store.connect.to_string(),
            heartbeat: store.heartbeat.to_string(),
            answer: store.answer.to_string(),
            silence: store.silence.to_string(),
            active: store.active.to_string(),
            doveadm: store.doveadm.to_string(),
            releases: store.releases,
            install: store.install.to_string(),
            message: (u64::from(cluster.mail.message_size_mib) << 20) + HEADERS,
            answered: store
                .confirm
                .length()
                .saturating_add(store.deliver.length())
                .as_secs()
                .saturating_add(GRACE),
        })
    }
}

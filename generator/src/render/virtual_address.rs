//! What templates see of the address that moves between two load balancers.

use serde::Serialize;

use super::model::Machine;
use crate::spec::{Cluster, Node};

/// Priorities of the two (RFC 9568 section 5.2.4): different ones, so that both know who gives way when they meet as
/// holders of the address.
const PRIORITIES: [u8; 2] = [150, 100];

/// The virtual address, on one node.
#[derive(Serialize)]
pub(super) struct VirtualAddress {
    address: String,
    router_id: u8,
    /// Both load balancers.
    balancers: Vec<Machine>,
    /// On a load balancer the other one.
    peer: Option<Machine>,
    /// On a load balancer its own.
    priority: u8,
}

impl VirtualAddress {
    /// Nothing where no address moves.
    pub(super) fn new(cluster: &Cluster, node: &Node) -> Option<VirtualAddress> {
        let shared = cluster.virtual_address()?;
        let own = shared.balancers.iter().position(|balancer| balancer.name == node.name);
        Some(VirtualAddress {
            address: shared.address.to_string(),
            router_id: shared.router_id(),
            balancers: shared
                .balancers
                .iter()
                .map(|other| Machine::new(cluster, other))
                .collect(),
            peer: own.map(|own| Machine::new(cluster, shared.balancers[1 - own])),
            priority: own.map_or(0, |own| PRIORITIES[own]),
        })
    }
}

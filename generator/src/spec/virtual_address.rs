//! The address that moves between two load balancers.

use std::net::Ipv4Addr;

use super::{Cluster, Node, Role};

/// An address that whichever of two load balancers is well has (VRRP version 3, RFC 9568).
#[derive(Debug, Clone, Copy)]
pub struct VirtualAddress<'a> {
    /// The address that clients know.
    pub address: Ipv4Addr,
    /// Both load balancers in the order of the description: if both could have the address, the first one takes it.
    pub balancers: [&'a Node; 2],
}

impl VirtualAddress<'_> {
    /// By this number the two know what they talk about (1 to 255). It is the last number of the address, so that two
    /// clusters in one subnet differ.
    pub fn router_id(&self) -> u8 {
        match self.address.octets()[3] {
            0 => 255,
            number => number,
        }
    }
}

impl Cluster {
    /// The virtual address, if one is described and there are two load balancers to have it.
    pub fn virtual_address(&self) -> Option<VirtualAddress<'_>> {
        let balancers: Vec<&Node> = self.of_role(Role::LoadBalancer).collect();
        Some(VirtualAddress {
            address: self.network.virtual_address?,
            balancers: balancers.try_into().ok()?,
        })
    }

    /// Whether a node is one of the two that may have the virtual address.
    pub fn shares_address(&self, node: &Node) -> bool {
        let shared = self.virtual_address();
        shared.is_some_and(|shared| shared.balancers.iter().any(|balancer| balancer.name == node.name))
    }
}

//! Where the harness itself stands on the virtual network: the router, a neighbour in the subnet, hosts outside.

use std::net::Ipv4Addr;

use generator::spec::Cluster;

/// Addresses that the harness answers for. The outside ones are from TEST-NET-3 (RFC 5737), which no real network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The cluster's default gateway and resolver.
    pub router: Ipv4Addr,
    /// A host in the cluster's subnet that is no node.
    pub inside: Ipv4Addr,
    /// The foreign mail server.
    pub sender: Ipv4Addr,
    /// A person's browser and mail program.
    pub client: Ipv4Addr,
}

impl Addresses {
    /// Finds room for the harness beside the nodes: the inside host takes the highest free address of the subnet.
    /// `None` if the subnet is full.
    pub fn plan(cluster: &Cluster) -> Option<Addresses> {
        let taken = |address: &Ipv4Addr| {
            *address == cluster.network.router
                || Some(*address) == cluster.network.virtual_address
                || cluster.nodes.iter().any(|node| node.address == *address)
        };
        let subnet = cluster.network.subnet;
        let last = u32::from(subnet.broadcast()).saturating_sub(1);
        let first = u32::from(subnet.network()).saturating_add(1);
        let inside = (first..=last)
            .rev()
            .map(Ipv4Addr::from)
            .find(|address| !taken(address))?;
        Some(Addresses {
            router: cluster.network.router,
            inside,
            sender: Ipv4Addr::new(203, 0, 113, 25),
            client: Ipv4Addr::new(203, 0, 113, 80),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_host_takes_the_highest_address_that_no_node_has() {
        let text = include_str!("../../../../generator/examples/pair.toml").replace("192.168.1.30", "192.168.1.254");
        let cluster: Cluster = toml::from_str(&text).unwrap();
        assert_eq!(
            Addresses::plan(&cluster).unwrap().inside,
            Ipv4Addr::new(192, 168, 1, 253)
        );
    }

    #[test]
    fn a_full_subnet_has_no_room() {
        let text = include_str!("../../../../generator/examples/pair.toml")
            .replace("192.168.1.0/24", "192.168.1.10/32")
            .replace("192.168.1.1\"", "192.168.1.10\"");
        let cluster: Cluster = toml::from_str(&text).unwrap();
        assert_eq!(Addresses::plan(&cluster), None);
    }
}

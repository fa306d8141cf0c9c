//! Addresses: unique, within the subnet, and free to use.

use std::net::Ipv4Addr;

use super::Findings;

pub(super) fn check(findings: &mut Findings<'_>) {
    subnet(findings);
    router(findings);
    for index in 0..findings.cluster().nodes.len() {
        if !duplicate(findings, index) {
            place(findings, index);
        }
    }
    if let Some(address) = findings.cluster().network.virtual_address {
        moving(findings, address);
    }
}

/// The address that moves between load balancers: a free one of the subnet, as a node's has to be.
fn moving(findings: &mut Findings<'_>, address: Ipv4Addr) {
    let cluster = findings.cluster();
    let path = "network.virtual_address";
    let Some(owner) = cluster.nodes.iter().position(|node| node.address == address) else {
        return free(findings, path, "the virtual address is", address);
    };
    let name = &cluster.nodes[owner].name;
    let finding = findings
        .at(
            "duplicate-address",
            path,
            format!("that of {name}"),
            format!("the virtual address {address} is {name}'s own"),
        )
        .related(findings.span(&format!("node[{owner}].address")), "used here")
        .why(format!("the virtual address moves to the load balancer that is well, while {name} keeps its own: two machines would answer for it"))
        .help("choose a free address of the subnet, and leave each load balancer its own");
    findings.push(finding);
}

fn subnet(findings: &mut Findings<'_>) {
    let subnet = findings.cluster().network.subnet;
    if subnet != subnet.trunc() {
        let finding = findings
            .at(
                "subnet-host-bits",
                "network.subnet",
                "bits beyond the prefix are set",
                format!("{subnet} is an address in a network, not a network"),
            )
            .why("firewall and name-server files take a network's own address only")
            .help(format!("write \"{}\"", subnet.trunc()));
        findings.push(finding);
    }
}

fn router(findings: &mut Findings<'_>) {
    let network = &findings.cluster().network;
    let (router, subnet) = (network.router, network.subnet);
    if !subnet.contains(&router) {
        let finding = findings
            .at(
                "router-outside-subnet",
                "network.router",
                format!("not in {}", subnet.trunc()),
                format!("the router {router} lies outside the subnet"),
            )
            .related(findings.span("network.subnet"), "the subnet")
            .why("a node reaches a router only in its own subnet")
            .help("give the router's address within the subnet, or mend the subnet");
        findings.push(finding);
    }
}

/// The same address twice: accepted by HAProxy, and after a kill every request fails (the fault of the set-up that
/// this grew from).
fn duplicate(findings: &mut Findings<'_>, index: usize) -> bool {
    let nodes = &findings.cluster().nodes;
    let node = &nodes[index];
    let Some(first) = nodes[..index].iter().position(|n| n.address == node.address) else {
        return false;
    };
    let message = if nodes[first].role == node.role {
        format!(
            "{} and {} have the same address {}",
            nodes[first].name, node.name, node.address
        )
    } else {
        let (one, other) = (nodes[first].role.as_str(), node.role.as_str());
        format!(
            "the {one} {} and the {other} {} have the same address {}",
            nodes[first].name, node.name, node.address
        )
    };
    let finding = findings
        .at("duplicate-address", &format!("node[{index}].address"), "used again", message)
        .related(findings.span(&format!("node[{first}].address")), "first used here")
        .why("both names lead to one machine, so nothing takes over when it fails; HAProxy accepts such servers and then answers 503")
        .help(format!("give {} an address of its own", node.name));
    findings.push(finding);
    true
}

fn place(findings: &mut Findings<'_>, index: usize) {
    let node = &findings.cluster().nodes[index];
    let (subject, address) = (format!("{} has", node.name), node.address);
    free(findings, &format!("node[{index}].address"), &subject, address);
}

/// An address that a host of the subnet can have. `subject` begins the sentence that says otherwise.
fn free(findings: &mut Findings<'_>, path: &str, subject: &str, address: Ipv4Addr) {
    let network = &findings.cluster().network;
    if !network.subnet.contains(&address) {
        let label = format!("not in {}", network.subnet.trunc());
        let finding = findings
            .at(
                "address-outside-subnet",
                path,
                label,
                format!("{subject} an address outside the subnet"),
            )
            .related(findings.span("network.subnet"), "the subnet")
            .why("the nodes and the router would not reach it, and the firewalls would not let it in")
            .help("give it an address within the subnet");
        findings.push(finding);
    } else if let Some(owner) = reserved(network.subnet, network.router, address) {
        let finding = findings
            .at(
                "address-reserved",
                path,
                format!("{owner} address"),
                format!("{subject} {owner} address"),
            )
            .why("a host with that address cannot be reached")
            .help("choose another address within the subnet");
        findings.push(finding);
    }
}

fn reserved(subnet: ipnet::Ipv4Net, router: Ipv4Addr, address: Ipv4Addr) -> Option<&'static str> {
    // A /31 has neither of the first two (RFC 3021), a /32 is one host.
    let small = subnet.prefix_len() >= 31;
    match address {
        a if a == router => Some("the router's"),
        a if a == subnet.network() && !small => Some("the network's own"),
        a if a == subnet.broadcast() && !small => Some("the broadcast"),
        a if a.is_loopback() => Some("a loopback"),
        a if a.is_multicast() => Some("a multicast"),
        a if a.is_unspecified() || a.octets()[0] >= 240 => Some("a reserved"),
        _ => None,
    }
}

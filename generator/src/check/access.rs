//! Who reaches the nodes: administrators by SSH, and whoever a further open port is for.

use ipnet::Ipv4Net;

use super::Findings;

/// Ports of services that are made for strangers: mail, webmail and mail programs.
const PUBLIC: [u16; 8] = [25, 80, 443, 465, 587, 993, 995, 4190];

/// Networks shorter than this prefix are the world: 16 million addresses and more.
const WORLD: u8 = 8;

pub(super) fn check(findings: &mut Findings<'_>) {
    unset(findings);
    cut_off(findings);
    everywhere(findings);
    ports(findings);
    unread(findings);
    figures(findings);
}

fn unset(findings: &mut Findings<'_>) {
    let network = &findings.cluster().network;
    if !network.admin_from.is_empty() {
        return;
    }
    let subnet = network.subnet.trunc();
    let finding = findings
        .at(
            "admin-from-unset",
            "network",
            "no `admin_from`",
            format!("SSH is let in from {subnet} only"),
        )
        .why("the installation turns a firewall on: an administrator who comes from elsewhere keeps the session that is open and gets no other")
        .help("name the networks of the administrators")
        .fix(findings.with("network", "admin_from", &format!("[\"{subnet}\"]")));
    findings.push(finding);
}

/// An administrator can come from the network.
fn is_source(net: &Ipv4Net) -> bool {
    let first = net.network();
    let nowhere = first.is_unspecified() && net.prefix_len() > WORLD;
    !(nowhere || first.is_loopback() || first.is_multicast() || first.octets()[0] >= 240)
}

fn cut_off(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let admin_from = &cluster.network.admin_from;
    let only_nodes = |net: &Ipv4Net| net.prefix_len() == 32 && cluster.nodes.iter().any(|n| n.address == net.addr());
    if admin_from.is_empty() || admin_from.iter().any(|net| is_source(net) && !only_nodes(net)) {
        return;
    }
    let subnet = cluster.network.subnet.trunc();
    let finding = findings
        .at(
            "ssh-cut-off",
            "network.admin_from",
            "no administrator comes from there",
            "the firewalls would let no administrator in",
        )
        .why("after the installation nobody reaches the nodes by SSH; what is left is the console")
        .help("name the networks from which administrators come")
        .fix(findings.instead("network.admin_from", format!("[\"{subnet}\"]")));
    findings.push(finding);
}

fn everywhere(findings: &mut Findings<'_>) {
    for (index, from) in findings.cluster().network.admin_from.iter().enumerate() {
        if from.prefix_len() < WORLD {
            let finding = findings
                .at(
                    "admin-from-everywhere",
                    &format!("network.admin_from[{index}]"),
                    extent(from),
                    format!("SSH is open to {}", extent(from)),
                )
                .why("the log-in of every node can be tried from anywhere")
                .help("name the networks of the administrators");
            findings.push(finding);
        }
    }
}

fn extent(net: &Ipv4Net) -> String {
    match net.prefix_len() {
        0 => "every address".to_owned(),
        prefix => format!("{} million addresses", (1_u64 << (32 - prefix)) / 1_000_000),
    }
}

fn ports(findings: &mut Findings<'_>) {
    for (index, allowed) in findings.cluster().network.allowed.iter().enumerate() {
        let port = allowed.port.get();
        if allowed.from.prefix_len() >= WORLD || PUBLIC.contains(&port) {
            continue;
        }
        let path = format!("network.allow[{index}].from");
        let subnet = findings.cluster().network.subnet.trunc();
        let finding = findings
            .at(
                "port-open-to-world",
                &path,
                extent(&allowed.from),
                format!(
                    "port {port} of every {} node is open to {}",
                    allowed.role.as_str(),
                    extent(&allowed.from)
                ),
            )
            .why(exposed(port))
            .help("name the hosts that need the port")
            .fix(findings.instead(&path, format!("\"{subnet}\"")));
        findings.push(finding);
    }
}

/// Figures are for somebody.
fn unread(findings: &mut Findings<'_>) {
    let monitoring = findings.cluster().monitoring.as_ref();
    if monitoring.is_none_or(|monitoring| !monitoring.from.is_empty()) {
        return;
    }
    let finding = findings
        .at(
            "monitoring-without-readers",
            "monitoring.from",
            "nobody",
            "figures are exported, and nobody may read them",
        )
        .why("the firewall lets the hosts of this list in and no others, and a list without one is none that it can load")
        .help("name the hosts on which Prometheus runs, or leave [monitoring] out");
    findings.push(finding);
}

/// Who reads figures: of the mail store, and of everything.
fn figures(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let store = cluster.store.iter().flat_map(|store| &store.metrics_from);
    let all = cluster.monitoring.iter().flat_map(|monitoring| &monitoring.from);
    let numbered = |key: &'static str, what: &'static str| move |(index, from)| (format!("{key}[{index}]"), what, from);
    let readers = store
        .enumerate()
        .map(numbered("store.metrics_from", "the agents' figures"))
        .chain(
            all.enumerate()
                .map(numbered("monitoring.from", "figures of every node")),
        );
    for (path, what, from) in readers.filter(|(_, _, from)| from.prefix_len() < WORLD) {
        let finding = findings
            .at(
                "port-open-to-world",
                &path,
                extent(from),
                format!("{what} are open to {}", extent(from)),
            )
            .why(exposed(9090))
            .help("name the hosts that read them");
        findings.push(finding);
    }
}

/// What is behind a port.
fn exposed(port: u16) -> &'static str {
    match port {
        22 => "the log-in of every node can be tried from anywhere",
        3306 => "the databases hold every account's password hash; their port is found by scanners within hours",
        24 => "LMTP takes mail for every mailbox without asking who sends it",
        143 => "IMAP without TLS from the first byte invites log-ins in clear text",
        8404 | 9090 | 9100 | 9101 | 9104 => {
            "figures of the inside (names, versions, loads) tell an attacker where to begin"
        }
        _ => "every service that listens there is found by scanners within hours and tried",
    }
}

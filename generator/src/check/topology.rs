//! Who is there: two mail nodes, one primary, and what stands in front of them.

use super::Findings;
use crate::spec::Role;

pub(super) fn check(findings: &mut Findings<'_>) {
    mail_nodes(findings);
    primaries(findings);
    fronts(findings);
}

/// Indices of the nodes of a role.
fn of(findings: &Findings<'_>, role: Role) -> Vec<usize> {
    let nodes = findings.cluster().nodes.iter().enumerate();
    nodes.filter(|(_, n)| n.role == role).map(|(index, _)| index).collect()
}

fn mail_nodes(findings: &mut Findings<'_>) {
    let found = of(findings, Role::Mail);
    if found.len() == 2 {
        return;
    }
    // The place: the first node too many, or the list that is too short.
    let path = found
        .get(2)
        .map_or_else(|| "node[0]".to_owned(), |i| format!("node[{i}]"));
    let label = if found.len() > 2 {
        "one too many"
    } else {
        "a mail node is missing"
    };
    let count = match found.len() {
        0 => "there is no mail node".to_owned(),
        1 => "there is only one mail node".to_owned(),
        n => format!("there are {n} mail nodes"),
    };
    let finding = findings
        .at("mail-node-count", &path, label, format!("{count}; a cluster has exactly two"))
        .why("databases replicate both ways between two nodes: with one nothing takes over, a third would get no replication")
        .help("describe two nodes with role = \"mail\"");
    findings.push(finding);
}

fn primaries(findings: &mut Findings<'_>) {
    let nodes = &findings.cluster().nodes;
    for (index, node) in nodes
        .iter()
        .enumerate()
        .filter(|(_, n)| n.primary && n.role != Role::Mail)
    {
        let finding = findings
            .at(
                "primary-not-mail",
                &format!("node[{index}].primary"),
                format!("a {}", node.role.as_str()),
                format!("{} is the primary but not a mail node", node.name),
            )
            .why("the primary is the first choice for webmail and the first next hop of mail")
            .help("set primary = true on a mail node");
        findings.push(finding);
    }
    let mail = of(findings, Role::Mail);
    let marked: Vec<usize> = mail.iter().copied().filter(|i| nodes[*i].primary).collect();
    if let [first, second, ..] = marked[..] {
        let finding = findings
            .at(
                "two-primaries",
                &format!("node[{second}].primary"),
                "also the primary",
                format!("{} and {} are both the primary", nodes[first].name, nodes[second].name),
            )
            .related(findings.span(&format!("node[{first}].primary")), "already the primary")
            .why("webmail and mail need one first choice; two would both be written to")
            .help("keep primary = true on one mail node");
        findings.push(finding);
    }
    // With a primary on the wrong node the mend is already told.
    if marked.is_empty() && !nodes.iter().any(|n| n.primary) && !mail.is_empty() {
        let finding = findings
            .at(
                "no-primary",
                &format!("node[{}]", mail[0]),
                "could be the primary",
                "no mail node is the primary",
            )
            .why("webmail and mail need one first choice")
            .help("add primary = true to one mail node");
        findings.push(finding);
    }
}

fn fronts(findings: &mut Findings<'_>) {
    if let [only] = of(findings, Role::Gateway)[..] {
        let finding = findings
            .at(
                "single-gateway",
                &format!("node[{only}]"),
                "the only gateway",
                "one gateway is a single point of failure",
            )
            .why("while it is down no mail comes in; senders keep it and try again later")
            .help("a second node with role = \"gateway\" gets an MX record of equal preference");
        findings.push(finding);
    }
    match of(findings, Role::LoadBalancer)[..] {
        [] => {
            let finding = findings
                .at(
                    "no-load-balancer",
                    "webmail",
                    "nothing stands before the nodes",
                    "there is no load balancer",
                )
                .why("when the primary fails nothing moves webmail to the other node")
                .help("describe a node with role = \"load-balancer\"");
            findings.push(finding);
        }
        [only] => {
            let finding = findings
                .at(
                    "single-load-balancer",
                    &format!("node[{only}]"),
                    "the only load balancer",
                    "one load balancer is a single point of failure",
                )
                .why("while it is down no one reaches webmail, though both mail nodes work")
                .help("describe a second node with role = \"load-balancer\", and a network.virtual_address that moves between the two");
            findings.push(finding);
        }
        [first, second] => without_address(findings, first, second),
        [_, _, third, ..] => {
            let finding = findings
                .at(
                    "load-balancer-count",
                    &format!("node[{third}]"),
                    "one too many",
                    "there are more than two load balancers",
                )
                .why("the virtual address moves between two: the one that has it and the one that takes it over")
                .help("describe two nodes with role = \"load-balancer\"");
            findings.push(finding);
        }
    }
    unused_address(findings);
}

/// Two load balancers, and nothing that leads clients to the one that is well.
fn without_address(findings: &mut Findings<'_>, first: usize, second: usize) {
    let cluster = findings.cluster();
    if cluster.network.virtual_address.is_some() {
        return;
    }
    let (one, other) = (&cluster.nodes[first].name, &cluster.nodes[second].name);
    let finding = findings
        .at(
            "virtual-address-missing",
            "network",
            "no `virtual_address`",
            "two load balancers have no address that moves between them",
        )
        .related(findings.span(&format!("node[{second}]")), "the second load balancer")
        .why(format!("webmail's name leads to {one} and {other}: when one of them dies, clients go on trying it, and each waits for a time limit"))
        .help("add virtual_address = \"...\", a free address of the subnet");
    findings.push(finding);
}

/// A virtual address that no machine would take.
fn unused_address(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    if cluster.network.virtual_address.is_none() || cluster.of_role(Role::LoadBalancer).count() > 1 {
        return;
    }
    let finding = findings
        .at(
            "virtual-address-unused",
            "network.virtual_address",
            "nobody to move between",
            "there is a virtual address, and no second load balancer",
        )
        .why("it is left out of every file: names lead to the one load balancer's own address")
        .help("describe a second node with role = \"load-balancer\", or remove the address")
        .fix(findings.without("network.virtual_address"));
    findings.push(finding);
}

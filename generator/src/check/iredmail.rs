//! Mail nodes that are iRedMail's: what an overlay of it can be asked for.

use super::{Finding, Findings};
use crate::spec::{Role, Target};

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let targets = cluster.nodes.iter().map(|node| (node.role, node.target));
    let places = |wanted: Target| {
        let mut places = targets.clone().enumerate();
        places.find_map(|(index, found)| (found == (Role::Mail, wanted)).then_some(index))
    };
    let Some(index) = places(Target::Iredmail) else { return };
    let found = [
        places(Target::Debian13).map(|other| mixed(findings, index, other)),
        cluster.store.is_some().then(|| with_store(findings, index)),
        cluster.access.is_some().then(|| with_access(findings, index)),
        (!cluster.mailboxes.is_empty()).then(|| with_mailboxes(findings, index)),
    ];
    for finding in found.into_iter().flatten() {
        findings.push(finding);
    }
}

fn target(index: usize) -> String {
    format!("node[{index}].target")
}

fn mixed(findings: &Findings<'_>, index: usize, other: usize) -> Finding {
    let nodes = &findings.cluster().nodes;
    let (name, plain) = (&nodes[index].name, &nodes[other].name);
    findings
        .at(
            "iredmail-mixed",
            &target(index),
            "one of two",
            format!("{name} is an iRedMail node, {plain} is not"),
        )
        .related(findings.span(&format!("node[{other}].name")), "the other mail node")
        .why("each is to go on with what the other one has: accounts, sessions and mail have to mean the same to both")
        .help("set target = \"iredmail\" at both mail nodes, or at none")
}

fn with_store(findings: &Findings<'_>, index: usize) -> Finding {
    findings
        .at(
            "iredmail-with-store",
            "store",
            "not for iRedMail",
            "the mail store takes mail in by itself, past iRedMail's filter, policy and delivery",
        )
        .related(findings.span(&target(index)), "delivers with its own Dovecot")
        .why("its agent speaks LMTP to the gateway and to Dovecot; iRedMail has Postfix, Amavis and a pipe to dovecot-lda between them")
        .help("leave [store] out, or let both mail nodes be Debian's (leave `target` out)")
}

fn with_access(findings: &Findings<'_>, index: usize) -> Finding {
    findings
        .at(
            "iredmail-with-access",
            "access",
            "not for iRedMail",
            "[access] needs ports with the PROXY protocol, which iRedMail's Dovecot and Postfix do not have",
        )
        .related(findings.span(&target(index)), "listens as iRedMail has it")
        .why("without it every log-in would seem to come from the load balancer, which fail2ban would then ban")
        .help("leave [access] out; mail programs reach the nodes by their own names")
}

fn with_mailboxes(findings: &Findings<'_>, index: usize) -> Finding {
    findings
        .at(
            "iredmail-with-mailboxes",
            "mailbox[0]",
            "made in iRedAdmin",
            "accounts of iRedMail nodes are made by iRedMail's own tools",
        )
        .related(findings.span(&target(index)), "has accounts of its own")
        .why("a mailbox there is rows in several tables, and a folder whose name is made up by iRedAdmin")
        .help("leave every [[mailbox]] out; accounts that are there stay, and new ones are made in iRedAdmin on either node")
}

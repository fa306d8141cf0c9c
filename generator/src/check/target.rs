//! What can be installed on which node.

use super::Findings;
use crate::spec::{Role, Target};

pub(super) fn check(findings: &mut Findings<'_>) {
    let (gateway, mail) = (
        (
            "a Proxmox Mail Gateway",
            "only gateways can be one",
            "make the node a gateway",
        ),
        (
            "an iRedMail node",
            "only mail nodes can be one",
            "make the node a mail node",
        ),
    );
    let nodes = findings.cluster().nodes.clone();
    for (index, node) in nodes.iter().enumerate() {
        let (product, label, other) = match (node.target, node.role) {
            (Target::Pmg, Role::Mail | Role::LoadBalancer) => gateway,
            (Target::Iredmail, Role::Gateway | Role::LoadBalancer) => mail,
            _ => continue,
        };
        let path = format!("node[{index}].target");
        let (name, role) = (&node.name, node.role.as_str());
        let message = format!("{name} cannot be {product}: it is a {role} node");
        let why = match node.target {
            Target::Pmg => {
                "a Proxmox Mail Gateway receives mail and hands it on; it keeps no mailboxes and balances nothing"
            }
            _ => {
                "iRedMail is a mail server with mailboxes and webmail; it is neither a gateway alone nor a load balancer"
            }
        };
        let finding = findings
            .at("target-wrong-role", &path, label, message)
            .why(why)
            .help(format!("leave `target` out, or {other}"))
            .fix(findings.without(&path));
        findings.push(finding);
    }
}

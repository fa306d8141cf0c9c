//! Clocks: what keeps the time of the nodes together.

use super::{Findings, names};

pub(super) fn check(findings: &mut Findings<'_>) {
    let servers = &findings.cluster().network.time_servers;
    let why = match findings.cluster().store {
        Some(_) => {
            "the agents of the mail store show one another certificates: a clock that is ahead or behind makes them invalid, and the other node follows no more; mail is filed by the time of the node that took it, and logs of a take-over cannot be put in order"
        }
        None => {
            "with clocks apart, certificates count as not yet valid, logs of a failover cannot be put in order, and log-in codes of a half-minute fail"
        }
    };
    if servers.is_empty() {
        let finding = findings
            .at(
                "no-time-source",
                "network",
                "no `time_servers`",
                "nothing that is generated keeps the nodes' clocks",
            )
            .why(why)
            .help("name the time servers that the nodes follow")
            .fix(findings.with(
                "network",
                "time_servers",
                r#"["0.debian.pool.ntp.org", "1.debian.pool.ntp.org"]"#,
            ));
        findings.push(finding);
    }
    for (index, server) in servers.iter().enumerate() {
        if !names::is_domain(server) && !names::is_label(server) && server.parse::<std::net::IpAddr>().is_err() {
            let finding = findings
                .at(
                    "time-server-invalid",
                    &format!("network.time_servers[{index}]"),
                    "neither a name nor an address",
                    format!("{server:?} is not a time server"),
                )
                .why("the node's time service would ask nobody")
                .help("write a host name or an address, e.g. \"0.debian.pool.ntp.org\"");
            findings.push(finding);
        }
    }
}

//! Who decides which mail node is the writer: the third vote, the watchdog, and whether the time limits fit together.

use std::time::Duration;

use super::{Finding, Findings};
use crate::spec::{Election, Engine, LOOKS, Role, SOFTWARE_WATCHDOG, Span, Store};

/// No time limit of a take-over is longer.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn check(findings: &mut Findings<'_>) {
    let Some(store) = &findings.cluster().store else {
        return;
    };
    third(findings);
    match findings.cluster().election.engine {
        Engine::Manual => manual(findings),
        Engine::Pacemaker => {
            voting_name(findings);
            watchdog(findings);
            limits(findings, store);
        }
    }
}

fn third(findings: &mut Findings<'_>) {
    if findings.cluster().third_vote().is_some() {
        return;
    }
    let election = &findings.cluster().election;
    let (path, label, message) = match &election.third {
        Some(name) if findings.cluster().node(name).is_some() => (
            "role.third",
            "a mail node, which has a vote already",
            format!("{name:?} cannot have the third vote"),
        ),
        Some(name) => ("role.third", "no node", format!("{name:?} cannot have the third vote")),
        None if election.engine == Engine::Manual => return,
        None => (
            "role.engine",
            "decides by majority",
            "nobody has the third vote".to_owned(),
        ),
    };
    let finding = findings
        .at("third-vote", path, label, message)
        .why("when the mail nodes do not see one another, the third vote says which of them may write; it has to come from a machine that stays when one of them dies")
        .help("name a load balancer or a gateway, or leave it out: the first of these is taken")
        .fix(findings.without("role.third"));
    findings.push(finding);
}

fn manual(findings: &mut Findings<'_>) {
    let place = if findings.loaded.spans.value("role.engine").is_some() {
        "role.engine"
    } else {
        "store"
    };
    let finding = findings
        .at("manual-role", place, "a person decides", "nobody takes over by himself")
        .why("when the writer dies, mail waits at the gateway and webmail is away until somebody runs `cluster-store promote` on the other node")
        .help("engine = \"pacemaker\" has the other node take over; or be sure that somebody is called at night");
    findings.push(finding);
}

/// The name by which the third vote knows the mail nodes must stand in nobody else's certificate.
fn voting_name(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let name = cluster.voting_name();
    let others = cluster
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.role != Role::Mail);
    let nodes = others.filter(|(_, node)| cluster.fqdn(node) == name);
    let mut places: Vec<String> = nodes.map(|(index, _)| format!("node[{index}].name")).collect();
    places.extend((cluster.webmail.host == name).then(|| "webmail.host".to_owned()));
    for place in places {
        let finding = findings
            .at("voting-name-taken", &place, format!("makes it {name}"), format!("{name} is what the third vote knows the mail nodes by"))
            .why("the third vote takes whoever shows a certificate with that name for a mail node, and lets it vote on who may write; with this name another machine has such a certificate")
            .help("another name");
        findings.push(finding);
    }
}

fn watchdog(findings: &mut Findings<'_>) {
    let module = &findings.cluster().election.watchdog;
    let plain = module.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if module.is_empty() || !plain {
        let finding = findings
            .at("watchdog-invalid", "role.watchdog", "no module", format!("{module:?} is not the name of a kernel module"))
            .why("without a watchdog sbd does not start, and without sbd neither corosync nor pacemaker: nobody would be the writer")
            .help("the name without folder and ending, e.g. \"iTCO_wdt\", \"ipmi_watchdog\", \"i6300esb\" or \"softdog\"")
            .fix(findings.instead("role.watchdog", format!("{SOFTWARE_WATCHDOG:?}")));
        findings.push(finding);
    } else if module == SOFTWARE_WATCHDOG {
        let place = if findings.loaded.spans.value("role.watchdog").is_some() {
            "role.watchdog"
        } else {
            "role.engine"
        };
        let finding = findings
            .at("software-watchdog", place, "no hardware resets the node", "a watchdog that a kernel which hangs takes along")
            .why("the other node takes over once the watchdog must have reset this one. One whose kernel hangs, and comes back, would not have been reset, and would be a second writer until it notices")
            .help("name the module of the mail nodes' own watchdog: watchdog = \"iTCO_wdt\" or \"ipmi_watchdog\" on most servers, \"i6300esb\" in virtual machines that have it");
        findings.push(finding);
    }
}

fn times(election: &Election) -> [(&'static str, &Span); 11] {
    [
        ("token", &election.token),
        ("device_timeout", &election.device_timeout),
        ("sync_timeout", &election.sync_timeout),
        ("watchdog_timeout", &election.watchdog_timeout),
        ("stonith_watchdog_timeout", &election.stonith_watchdog_timeout),
        ("promote", &election.promote),
        ("demote", &election.demote),
        ("monitor", &election.monitor),
        ("interval", &election.interval),
        ("failure_timeout", &election.failure_timeout),
        ("service_timeout", &election.service_timeout),
    ]
}

/// Times that do not go together: two writers, or a node that is reset for nothing.
fn limits(findings: &mut Findings<'_>, store: &Store) {
    let election = &findings.cluster().election;
    for (key, time) in times(election) {
        let length = time.length();
        if length < Duration::from_millis(1) || length > LONGEST {
            let why = "a limit that passes at once, or never, is none";
            wrong(findings, key, "from 1ms to an hour".to_owned(), why);
        }
    }
    let (watchdog, sync) = (&election.watchdog_timeout, &election.sync_timeout);
    if watchdog.length().subsec_nanos() > 0 {
        wrong(
            findings,
            "watchdog_timeout",
            "no whole seconds".to_owned(),
            "sbd knows whole seconds only",
        );
    }
    let service = &election.service_timeout;
    if service.length() < Duration::from_secs(LOOKS) || service.length().subsec_nanos() > 0 {
        let label = format!("whole seconds, {LOOKS} at least");
        let why = "the writer is looked at three times within it, and a look has whole seconds";
        wrong(findings, "service_timeout", label, why);
    }
    if sync.length() >= watchdog.length() {
        let why = "sbd lets a node live for the watchdog's time that does not know yet whether it has a majority: it would be reset while it still asks the third vote";
        wrong(
            findings,
            "sync_timeout",
            format!("shorter than watchdog_timeout ({watchdog})"),
            why,
        );
    }
    if election.device_timeout.length() >= sync.length() {
        let why = "the third vote would not know yet that a node is gone when it has to say who goes on, and neither would get its vote";
        wrong(
            findings,
            "device_timeout",
            format!("shorter than sync_timeout ({sync})"),
            why,
        );
    }
    if election.stonith_watchdog_timeout.length() < watchdog.length().saturating_mul(2) {
        let label = format!("twice watchdog_timeout ({watchdog}) at least");
        let why = "the other node would become the writer before this one's watchdog has certainly reset it: two writers take mail that the other one does not have";
        let twice = watchdog.length().saturating_mul(2).as_secs().max(1);
        let fix = findings.with("role", "stonith_watchdog_timeout", &format!("\"{twice}s\""));
        let finding = limit(findings, "stonith_watchdog_timeout", label)
            .why(why)
            .help("as long as the watchdog and sbd need together")
            .fix(fix);
        findings.push(finding);
    }
    let notice = store.notice(findings.cluster().webmail.check);
    let needed = store.drain.length().saturating_add(notice);
    if election.demote.length() <= needed {
        let label = format!(
            "longer than notice and drain of [store] together ({}s)",
            needed.as_secs_f64()
        );
        let why = "a writer that lets its clients know, and waits for the other node to take its last changes, would be reset for being late";
        wrong(findings, "demote", label, why);
    }
}

fn wrong(findings: &mut Findings<'_>, key: &str, label: String, why: &'static str) {
    let finding = limit(findings, key, label)
        .why(why)
        .help("leave it out: its default fits to the others' defaults")
        .fix(findings.without(&format!("role.{key}")));
    findings.push(finding);
}

/// The place is the limit, or the table if its default does not fit to what the others are.
fn limit(findings: &Findings<'_>, key: &str, label: String) -> Finding {
    findings.at(
        "role-limits",
        &format!("role.{key}"),
        label,
        format!("the time limit role.{key} cannot be"),
    )
}

#[cfg(test)]
mod tests {
    use crate::check::check;
    use crate::spec::Cluster;

    const ROLE: &str = include_str!("../../examples/role.toml");

    /// What the check says of the example with the lines that begin so replaced.
    fn codes(text: &str) -> Vec<String> {
        let found = check(&Cluster::parse("role.toml", text).unwrap());
        found.into_iter().map(|finding| finding.code.into_owned()).collect()
    }

    #[test]
    fn a_majority_needs_a_machine_for_the_third_vote() {
        let alone = ROLE
            .replace("role = \"load-balancer\"", "role = \"mail\"")
            .replace("role = \"gateway\"", "role = \"mail\"")
            .replace("third = \"lb\"\n", "");
        assert!(codes(&alone).contains(&"third-vote".to_owned()));
    }

    #[test]
    fn the_limits_of_an_engine_that_does_not_run_are_nobodys_concern() {
        let manual = ROLE
            .replace("engine = \"pacemaker\"", "engine = \"manual\"")
            .replace("sync_timeout = \"3s\"", "sync_timeout = \"1h\"");
        assert_eq!(codes(&manual), ["manual-role"]);
    }
}

//! The mail store: what stands around it, and whether its times and numbers fit together.

use std::time::Duration;

use super::Findings;
use crate::spec::{PeerMissing, Role, Span, Store};

const DAY: Duration = Duration::from_secs(86_400);

/// No time of the store is longer.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// The most that anybody waits at the load balancer.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

pub(super) fn check(findings: &mut Findings<'_>) {
    let Some(store) = &findings.cluster().store else {
        pointless_role(findings);
        return;
    };
    gateway(findings);
    watched(findings, store);
    kept(findings, store);
    limits(findings, store);
}

fn pointless_role(findings: &mut Findings<'_>) {
    if findings.loaded.spans.value("role").is_none() {
        return;
    }
    let finding = findings
        .at("role-without-store", "role", "decides nothing", "[role] without a mail store")
        .why("who is the writer only matters where there is one store that both mail nodes have: no file says anything of it")
        .help("describe the mail store, [store], or remove [role]");
    findings.push(finding);
}

fn gateway(findings: &mut Findings<'_>) {
    if findings.cluster().of_role(Role::Gateway).next().is_some() {
        return;
    }
    let finding = findings
        .at("store-without-gateway", "store", "nothing keeps mail meanwhile", "a mail store without a gateway")
        .why("the gateway's queue is the journal: a message stays in it until both mail nodes have it, and mail nodes deliver to nobody else. Without one nobody would bring mail to the writer")
        .help("describe a node with role = \"gateway\"");
    findings.push(finding);
}

fn watched(findings: &mut Findings<'_>, store: &Store) {
    if store.peer_missing != PeerMissing::Accept || !findings.cluster().read_store().is_empty() {
        return;
    }
    let finding = findings
        .at("accept-unwatched", "store.peer_missing", "and nobody is told", "mail is taken in on one node only, and nobody learns of it")
        .why("while the other node does not follow, what is delivered lies on one machine; if that goes on unseen for days, the disk that fails then takes all of it")
        .help("let the monitoring read the agents' figures ([monitoring], or store.metrics_from) and alert on cluster_store_peer_follows, or have mail wait: peer_missing = \"defer\"")
        .fix(findings.instead("store.peer_missing", "\"defer\""));
    findings.push(finding);
}

fn kept(findings: &mut Findings<'_>, store: &Store) {
    if store.keep < 2 {
        let finding = findings
            .at("store-keep", "store.keep", "two at least", match store.keep {
                1 => "1 confirmed snapshot stays".to_owned(),
                keep => format!("{keep} confirmed snapshots stay"),
            })
            .why("while a new one is on its way, the one before it is the only base that both nodes have: without it all mail is copied anew, and what only a dead node has cannot be told from the rest")
            .help("3 is the custom")
            .fix(findings.with("store", "keep", "3"));
        findings.push(finding);
    }
    if store.releases < 2 {
        let finding = findings
            .at(
                "store-keep",
                "store.releases",
                "two at least",
                match store.releases {
                    1 => "1 configuration release stays".to_owned(),
                    releases => format!("{releases} configuration releases stay"),
                },
            )
            .why("the agent refuses it: once a release is in place, the one before it is what there is to go back to")
            .help("10 is the default; a release is as large as the files of both mail nodes, some 15 MB")
            .fix(findings.with("store", "releases", "10"));
        findings.push(finding);
    }
    let queue = DAY.saturating_mul(findings.cluster().mail.queue_days);
    if store.retention.length() < queue {
        let days = findings.cluster().mail.queue_days;
        let finding = findings
            .at("retention-short", "store.retention", format!("less than {days} days"), "what was set aside goes before the queue is done")
            .why("a dataset that a returned node gave up is the last copy of what a merge might have missed; mail that senders and gateways still try shows such a loss only after the queue's whole lifetime")
            .help("as long as mail waits, and some days more")
            .fix(findings.with("store", "retention", &format!("\"{}d\"", days.saturating_add(9))));
        findings.push(finding);
    }
}

/// Times that do not go together: the agent refuses them, or waits for what cannot come.
fn limits(findings: &mut Findings<'_>, store: &Store) {
    let times: [(&str, &Span); 17] = [
        ("interval", &store.interval),
        ("retention", &store.retention),
        ("confirm", &store.confirm),
        ("deliver", &store.deliver),
        ("doors", &store.doors),
        ("role", &store.role),
        ("drain", &store.drain),
        ("hold", &store.hold),
        ("command", &store.command),
        ("stream", &store.stream),
        ("connect", &store.connect),
        ("heartbeat", &store.heartbeat),
        ("answer", &store.answer),
        ("silence", &store.silence),
        ("active", &store.active),
        ("doveadm", &store.doveadm),
        ("install", &store.install),
    ];
    for (key, time) in times {
        if time.length().is_zero() || time.length() > LONGEST {
            wrong(
                findings,
                key,
                "from a moment to ten years".to_owned(),
                "a limit that passes at once, or never, is none",
            );
        }
    }
    let whole = [("hold", Some(&store.hold)), ("notice", store.notice.as_ref())];
    for (key, time) in whole {
        if time.is_some_and(|time| time.length().subsec_nanos() > 0 || time.length() > LONGEST_HOLD) {
            let why = "the load balancer and the shell count whole seconds, and nobody waits longer";
            wrong(
                findings,
                key,
                "no whole seconds, or more than five minutes".to_owned(),
                why,
            );
        }
    }
    let pairs = [
        (
            "heartbeat",
            &store.heartbeat,
            "silence",
            &store.silence,
            "the other agent would count as lost between two questions",
        ),
        (
            "interval",
            &store.interval,
            "confirm",
            &store.confirm,
            "a message would be given up before the snapshot that holds it is made",
        ),
        (
            "drain",
            &store.drain,
            "role",
            &store.role,
            "`demote` would give up before its own wait for the other node has ended",
        ),
    ];
    for (key, time, than, longer, why) in pairs {
        if time.length() >= longer.length() {
            wrong(findings, key, format!("shorter than {than} ({longer})"), why);
        }
    }
}

fn wrong(findings: &mut Findings<'_>, key: &str, label: String, why: &'static str) {
    let finding = findings
        .at(
            "store-limits",
            &format!("store.{key}"),
            label,
            format!("the time limit store.{key} cannot be"),
        )
        .why(why)
        .help("leave it out: its default fits to the others' defaults")
        .fix(findings.without(&format!("store.{key}")));
    findings.push(finding);
}

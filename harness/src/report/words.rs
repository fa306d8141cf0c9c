//! The verdict in words, one or two sentences that can be read aloud.

use super::model::Report;
use crate::oracle::{Clients, Lag, Outage, Replicated, TakeOver, Tally, Uids, Verdict};
use crate::record::Service;
use crate::units::{readable, readable_limit};

/// `failover: passed: webmail was away 11.2 s (limit 15 s); 37 of 37 accepted messages found once`.
pub fn in_words(report: &Report) -> String {
    let head = format!("{}: {}", report.scenario, report.verdict);
    let measured = measured(report);
    match (&report.must_fail, report.verdict) {
        (Some(must_fail), Verdict::Pass) => {
            let found = must_fail.found.iter().find(|reason| reason.code == must_fail.reason);
            let detail = found.map_or("", |reason| reason.detail.as_str());
            format!("{head}: it had to end with {}, and did: {detail}", must_fail.reason)
        }
        (None, Verdict::Pass) => format!("{head}: {}", measured.join("; ")),
        _ => {
            let reasons: Vec<String> = report
                .reasons
                .iter()
                .map(|reason| format!("{} [{}]", reason.detail, reason.code))
                .collect();
            let mut words = format!("{head}: {}", reasons.join("; "));
            if !measured.is_empty() {
                words.push_str(&format!(". Measured: {}", measured.join("; ")));
            }
            words
        }
    }
}

/// What was measured, one phrase a subject.
pub fn measured(report: &Report) -> Vec<String> {
    // Of a service without limit and without failure nothing is claimed: nobody asked whether it was tried often enough.
    let told = report
        .outages
        .iter()
        .filter(|outage| outage.limit.is_some() || outage.longest.is_some());
    let mut phrases: Vec<String> = told.map(outage).collect();
    phrases.extend(report.ledger.as_ref().map(ledger));
    phrases.extend(report.replication.as_ref().map(replication));
    phrases.extend(report.store.lag.as_ref().map(lag));
    phrases.extend(report.store.uids.as_ref().map(uids));
    phrases.extend(report.store.clients.as_ref().map(clients));
    phrases.extend(report.store.take_overs.iter().map(take_over));
    phrases.extend(report.outages.iter().filter_map(take_overs));
    if phrases.is_empty() {
        let held = report
            .steps
            .iter()
            .filter(|step| matches!(step.result, Some(crate::record::StepResult::Held { .. })));
        phrases.push(format!("{} of {} steps held", held.count(), report.steps.len()));
    }
    phrases
}

fn outage(outage: &Outage) -> String {
    let name = outage.name();
    let limit = outage
        .limit
        .map(|limit| format!(" (limit {})", readable_limit(limit)))
        .unwrap_or_default();
    match outage.longest {
        _ if outage.operations == 0 => format!("{name} was never used{limit}"),
        None => format!("{name} was never away{limit}"),
        Some(gap) if gap.to.is_none() => format!("{name} was away {} and never came back{limit}", readable(gap.length)),
        Some(gap) if outage.flaps == 1 => format!("{name} was away {}{limit}", readable(gap.length)),
        Some(gap) => format!(
            "{name} was away {} times, at most {}{limit}",
            outage.flaps,
            readable(gap.length)
        ),
    }
}

fn ledger(tally: &Tally) -> String {
    let mut words = format!(
        "{} of {} accepted messages found once",
        tally.found_once, tally.accepted
    );
    let others = [
        (tally.lost, "lost"),
        (tally.doubled, "doubled"),
        (tally.misdelivered, "misdelivered"),
        (tally.waiting, "waiting"),
        (tally.unseen, "not seen"),
        (tally.phantom, "never sent"),
        (tally.contradicted, "found though refused"),
        (tally.unknown, "of unknown outcome"),
        (tally.removed, "removed by mail programs"),
    ];
    for (count, what) in others.iter().filter(|(count, _)| *count > 0) {
        words.push_str(&format!(", {count} {what}"));
    }
    if let Some(copied) = tally.copied {
        words.push_str(&format!(", {copied} of them in the copy too"));
    }
    words
}

fn lag(lag: &Lag) -> String {
    let limits: Vec<String> = lag
        .limits
        .iter()
        .map(|(name, limit)| format!("{name} {}", readable_limit(*limit)))
        .collect();
    let limits = match limits.is_empty() {
        true => String::new(),
        false => format!(" (limits: {})", limits.join(", ")),
    };
    if lag.samples == 0 {
        return format!(
            "no message was followed to the copy in peace, {} while something was broken{limits}",
            lag.disturbed
        );
    }
    format!(
        "from a 250 to the copy p50 {}, p99 {}, max {} of {} messages, read to {}, {} more while something was broken{limits}",
        readable(lag.p50),
        readable(lag.p99),
        readable(lag.max),
        lag.samples,
        readable(lag.error),
        lag.disturbed
    )
}

fn uids(uids: &Uids) -> String {
    format!(
        "{} UIDs in {} folders seen by mail programs, {} of them more than once",
        uids.seen, uids.folders, uids.again
    )
}

fn clients(clients: &Clients) -> String {
    let counted = clients.acknowledged - clients.superseded;
    let mut words = format!("{} of {counted} changes of mail programs hold", clients.held);
    if clients.crossed > 0 {
        words.push_str(&format!(
            ", {} crossed a take-over: {} removed or moved messages came back, {} flags or moves are undone",
            clients.crossed, clients.came_back, clients.undone
        ));
    }
    words
}

/// How the time until the new writer can be reached splits.
fn take_over(take_over: &TakeOver) -> String {
    format!(
        "{} was the writer {} after the {}, its doors open after {}",
        take_over.node,
        readable(take_over.writer_after),
        crate::oracle::describe_fault(&take_over.fault),
        readable(take_over.open_after)
    )
}

/// How long a service needed to move to another node after each fault.
fn take_overs(outage: &Outage) -> Option<String> {
    let moves: Vec<String> = outage
        .recoveries
        .iter()
        .filter_map(|recovery| {
            let moved = recovery.moved.as_ref()?;
            let fault = crate::oracle::describe_fault(&recovery.fault);
            Some(format!("on {} {} after the {fault}", moved.to, readable(moved.after)))
        })
        .collect();
    match (outage.service, moves.is_empty()) {
        (Service::Webmail | Service::ImapClient, false) => Some(format!("{} {}", outage.name(), moves.join(", "))),
        _ => None,
    }
}

fn replication(measured: &Replicated) -> String {
    let mut words = format!(
        "{} of {} acknowledged rows on every node, {} of {} tables equal",
        measured.on_all_nodes, measured.acknowledged, measured.equal_tables, measured.tables
    );
    let limit = measured
        .converge_limit
        .map(|limit| format!(" (limit {})", readable_limit(limit)))
        .unwrap_or_default();
    if let Some(after) = measured.converged_after {
        words.push_str(&format!(" after {}{limit}", readable(after)));
    }
    words
}

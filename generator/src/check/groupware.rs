//! `[sogo]` and `[amavisd]`: what these programs need of the rest, and where they cannot run.

use super::{Finding, Findings, toml};
use crate::spec::{Role, Target};

/// The longest time for which it is worth keeping what was seen, days.
const LONGEST: u32 = 3650;

pub(super) fn check(findings: &mut Findings<'_>) {
    let cluster = findings.cluster();
    let described = [("sogo", cluster.sogo.is_some()), ("amavisd", cluster.amavisd.is_some())];
    let described = described.into_iter().filter_map(|(name, there)| there.then_some(name));
    let mut found = Vec::new();
    for name in described {
        found.extend(not_replicated(findings, name));
        found.extend(on_iredmail(findings, name));
    }
    found.extend(with_store(findings));
    found.extend(time_zone(findings));
    found.extend(days(findings));
    for finding in found {
        findings.push(finding);
    }
}

fn not_replicated(findings: &Findings<'_>, name: &'static str) -> Option<Finding> {
    let replicate = &findings.cluster().database.replicate;
    if replicate.iter().any(|database| database == name) {
        return None;
    }
    let all = replicate.iter().map(String::as_str).chain([name]);
    let all: Vec<String> = all.map(toml).collect();
    Some(
        findings
            .at(
                "program-without-database",
                name,
                "keeps what it has in a database of this name",
                format!("[{name}] is described, and the database `{name}` is not replicated"),
            )
            .related(findings.span("database.replicate"), "not in this list")
            .why("what one node wrote would not be on the other one: after a failover users miss it")
            .help(format!(
                "add {name:?} to `replicate`, or leave the list out for all of them"
            ))
            .fix(findings.instead("database.replicate", format!("[{}]", all.join(", ")))),
    )
}

fn on_iredmail(findings: &Findings<'_>, name: &'static str) -> Option<Finding> {
    let nodes = findings.cluster().nodes.iter();
    let index = nodes
        .enumerate()
        .find_map(|(index, node)| (node.role == Role::Mail && node.target == Target::Iredmail).then_some(index))?;
    Some(
        findings
            .at(
                "iredmail-with-programs",
                name,
                "iRedMail brings its own",
                format!("[{name}] is for Debian's mail nodes"),
            )
            .related(findings.span(&format!("node[{index}].target")), "has iRedMail's")
            .why("iRedMail installs and sets up SOGo and Amavis by itself; two settings of one program contradict each other")
            .help(format!("leave [{name}] out; iRedMail's own goes on, and its database is replicated"))
            .fix(findings.without(name)),
    )
}

fn with_store(findings: &Findings<'_>) -> Option<Finding> {
    let cluster = findings.cluster();
    (cluster.amavisd.is_some() && cluster.store.is_some()).then(|| {
        findings
            .at(
                "amavisd-with-store",
                "amavisd",
                "sees no mail",
                "the mail store takes mail in past Postfix, and so past amavisd",
            )
            .related(findings.span("store"), "takes mail from the gateways by LMTP")
            .why("a message that the gateway was told is safe would still have to pass a filter that keeps some back")
            .help("leave [amavisd] out, and let the gateways look at mail: [filter]")
    })
}

/// Names as in the time zone database: parts of letters, digits, `_`, `+` and `-`, with `/` between (RFC 9557, section 4.1).
fn is_time_zone(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
    let part = |part: &str| (1..=14).contains(&part.len()) && part.bytes().all(plain);
    (1..=3).contains(&name.split('/').count())
        && name.split('/').all(part)
        && name.starts_with(|c: char| c.is_ascii_uppercase())
}

fn time_zone(findings: &Findings<'_>) -> Option<Finding> {
    let sogo = findings.cluster().sogo.as_ref()?;
    (!is_time_zone(&sogo.time_zone)).then(|| {
        findings
            .at(
                "time-zone-invalid",
                "sogo.time_zone",
                "no name of a time zone",
                format!("{:?} is no time zone", sogo.time_zone),
            )
            .why("SOGo would take another one without a word, and show every appointment at a wrong time")
            .help("a name as in /usr/share/zoneinfo, e.g. \"Europe/Istanbul\", or \"UTC\"")
    })
}

fn days(findings: &Findings<'_>) -> Option<Finding> {
    let days = findings.cluster().amavisd.as_ref()?.quarantine_days;
    (!(1..=LONGEST).contains(&days)).then(|| {
        findings
            .at(
                "quarantine-days",
                "amavisd.quarantine_days",
                "1 to 3650",
                format!("what is kept back would be kept for {days} days"),
            )
            .why("whoever is told of an attachment that was kept back needs some days to ask for it; what is kept for ever fills the database")
            .help("30 days are usual: leave it out")
            .fix(findings.without("amavisd.quarantine_days"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_path_of_plain_names() {
        for good in ["UTC", "Europe/Istanbul", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert!(is_time_zone(good), "{good}");
        }
        for bad in [
            "",
            "utc",
            "Europe/",
            "../etc/passwd",
            "Europe/Istanbul\"; }",
            "+03:00",
            "A/B/C/D",
        ] {
            assert!(!is_time_zone(bad), "{bad}");
        }
    }
}

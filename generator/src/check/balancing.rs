//! Raw settings of HAProxy, and how soon it notices a dead node.

use std::time::Duration;

use super::{Finding, Findings};
use crate::diag::Spans;
use crate::spec::{CheckProfile, Role};

/// First words of settings that the generator writes itself (and `server` lines, which nothing may add to).
const MANAGED: [&str; 9] = [
    "bind",
    "cookie",
    "default_backend",
    "mode",
    "server",
    "server-template",
    "stick",
    "stick-table",
    "use-server",
];

/// HAProxy waits a second, or the connection's time limit if that is shorter, before it tries again.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

pub(super) fn check(findings: &mut Findings<'_>) {
    for (key, value) in &findings.cluster().webmail.options {
        let key = key.trim();
        let rules = [managed, timeouts, health, unverified, balance];
        if let Some(finding) = rules.iter().find_map(|rule| rule(findings, key, value)) {
            findings.push(finding);
        }
    }
    if findings.cluster().of_role(Role::LoadBalancer).next().is_some()
        && let Some(finding) = slow(findings)
    {
        findings.push(finding);
    }
}

fn path(key: &str) -> String {
    Spans::join("webmail.options", key)
}

fn managed(findings: &Findings<'_>, key: &str, _: &str) -> Option<Finding> {
    let first = key.split_whitespace().next()?;
    MANAGED.contains(&first).then(|| {
        findings
            .at(
                "managed-option",
                &path(key),
                "set by the generator",
                format!("`{key}` is set already"),
            )
            .why("servers, their order and the cookie that keeps a session on its node belong together")
            .help("remove the setting; servers come from the nodes")
            .fix(findings.without(&path(key)))
    })
}

fn timeouts(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let what = key.strip_prefix("timeout ")?;
    if duration(value) != Some(Duration::ZERO) {
        return None;
    }
    Some(
        findings
            .at(
                "no-timeouts",
                &path(key),
                "0 is none at all",
                format!("HAProxy waits for ever (`{key}`)"),
            )
            .why(format!("a node that takes a connection and stays silent keeps every request of a user; without a limit on `{what}` nobody is sent to the other node"))
            .help("remove the setting: a limit is set already")
            .fix(findings.without(&path(key))),
    )
}

fn health(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let checks = ["option httpchk", "option tcp-check", "http-check", "tcp-check"];
    let own = checks.iter().any(|c| key == *c || key.starts_with(&format!("{c} ")));
    own.then(|| {
        findings
            .at(
                "shallow-health-check",
                &path(key),
                "says too little",
                format!("`{key} {value}` takes a node for healthy that cannot serve"),
            )
            .why("a log-in page is answered by a node whose IMAP server and database are dead; users are then sent to it. The request is HTTP/1.0 without Host, too")
            .help("remove the setting: /healthz is asked, which PHP answers only when IMAP and the database do")
            .fix(findings.without(&path(key)))
    })
}

fn unverified(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let words: Vec<&str> = value.split_whitespace().collect();
    words.windows(2).any(|w| w == ["verify", "none"]).then(|| {
        let rest = words
            .join(" ")
            .replace("ssl verify none", "")
            .replace("verify none", "");
        let finding = findings
            .at(
                "unverified-backend",
                &path(key),
                "`verify none`",
                "the load balancer talks to whoever answers",
            )
            .why("a machine that takes a node's address gets every user's password")
            .help("remove `verify none`: the nodes' certificates are verified against the cluster's authority");
        if rest.trim().is_empty() {
            finding.fix(findings.without(&path(key)))
        } else {
            let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
            finding.fix(findings.instead(&path(key), super::toml(&rest)))
        }
    })
}

fn balance(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    (key == "balance").then(|| {
        findings
            .at(
                "load-not-shared",
                &path(key),
                "nothing to choose from",
                format!("`balance {value}` shares nothing: one of the two nodes is a backup"),
            )
            .why("active and stand-by: the second node serves only while the first is down. Sharing the load would have both nodes write the same rows, which stops replication")
            .help("remove the setting, and plan each node for the whole load")
            .fix(findings.without(&path(key)))
    })
}

/// How HAProxy watches a server.
struct Watch {
    interval: Duration,
    fast_interval: Duration,
    fall: u32,
    check: Duration,
    retries: u32,
}

impl Watch {
    /// The values of the template, changed by raw settings.
    fn of(findings: &Findings<'_>) -> Watch {
        let webmail = &findings.cluster().webmail;
        let ms = Duration::from_millis;
        let (interval, fast_interval, fall, check) = match webmail.check {
            CheckProfile::Classic => (ms(3000), ms(1000), 3, ms(3000)),
            CheckProfile::Fast => (ms(1000), ms(200), 2, ms(500)),
        };
        let mut watch = Watch {
            interval,
            fast_interval,
            fall,
            check,
            retries: 3,
        };
        let option = |key: &str| webmail.options.get(key).map_or("", String::as_str);
        let words: Vec<&str> = option("default-server").split_whitespace().collect();
        for pair in words.windows(2) {
            match (pair[0], duration(pair[1]), pair[1].parse()) {
                ("inter", Some(time), _) => watch.interval = time,
                ("fastinter", Some(time), _) => watch.fast_interval = time,
                ("fall", _, Ok(count)) => watch.fall = count,
                _ => {}
            }
        }
        watch.check = duration(option("timeout check")).unwrap_or(watch.check);
        watch.retries = option("retries").trim().parse().unwrap_or(watch.retries);
        watch
    }

    /// The longest time until a machine without power counts as down: it dies just after a check, and each check then
    /// lasts its whole time limit.
    fn detection(&self) -> Duration {
        let checks = self.check.saturating_mul(self.fall);
        let between = self.fast_interval.saturating_mul(self.fall.saturating_sub(1));
        self.interval.saturating_add(checks).saturating_add(between)
    }

    /// How long a request is tried before the user sees an error.
    fn patience(&self) -> Duration {
        BETWEEN_TRIES.saturating_mul(self.retries)
    }
}

fn slow(findings: &Findings<'_>) -> Option<Finding> {
    let watch = Watch::of(findings);
    if watch.detection() <= watch.patience() {
        return None;
    }
    let options = &findings.cluster().webmail.options;
    let own = ["default-server", "timeout check", "retries"];
    let own: Vec<String> = own
        .iter()
        .filter(|k| options.contains_key(**k))
        .map(|k| path(k))
        .collect();
    let place = own.first().map_or("webmail.check", String::as_str);
    let removed = own.iter().filter_map(|path| findings.without(path));
    let (detection, patience) = (seconds(watch.detection()), seconds(watch.patience()));
    Some(
        findings
            .at(
                "slow-detection",
                place,
                format!("up to {detection} until a dead machine is noticed"),
                "a dead node is noticed later than requests are given up",
            )
            .why(format!("a request is tried for {patience} and goes to the other node only once the first counts as down: until then users see an error"))
            .help("use the profile `fast`")
            .fix(removed)
            .fix(findings.with("webmail", "check", "\"fast\"")),
    )
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis() as f64 / 1000.0)
}

/// A time of HAProxy: a number and `us`, `ms`, `s`, `m`, `h` or `d`; without a unit milliseconds (configuration manual,
/// section 2.5).
fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    match &value[digits..] {
        "us" => Some(Duration::from_micros(number)),
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.saturating_mul(60))),
        "h" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "d" => Some(Duration::from_secs(number.saturating_mul(86_400))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Cluster;

    fn watch(webmail: &str) -> (Duration, Duration) {
        let text = include_str!("../../examples/pair.toml").replace("check = \"classic\"\n", webmail);
        let loaded = Cluster::parse("c.toml", &text).unwrap();
        let findings = Findings {
            loaded: &loaded,
            found: Vec::new(),
        };
        let watch = Watch::of(&findings);
        (watch.detection(), watch.patience())
    }

    #[test]
    fn the_classic_profile_is_slower_than_requests_are_patient_and_the_fast_one_is_not() {
        let ms = Duration::from_millis;
        assert_eq!(watch("check = \"classic\"\n"), (ms(14_000), ms(3000)));
        assert_eq!(watch("check = \"fast\"\n"), (ms(2200), ms(3000)));
    }

    #[test]
    fn raw_settings_count() {
        let own = "check = \"fast\"\noptions = { \"default-server\" = \"inter 10s fall 4\", retries = \"1\" }\n";
        assert_eq!(watch(own), (Duration::from_millis(12_600), Duration::from_secs(1)));
    }

    #[test]
    fn times_have_units_and_the_millisecond_is_the_default() {
        assert_eq!(duration("500"), Some(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("soon"), None);
    }
}

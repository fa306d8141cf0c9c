//! The queue: how long mail waits in it, how soon it is tried again, how large a message may be.

use super::{Finding, Findings, mail};

const DAY: u64 = 86_400;

/// RFC 5321 section 4.5.4.1: the time after which a sender gives up is generally at least four to five days.
const CUSTOM_DAYS: u32 = 4;
/// The longest lifetime that Postfix's queue manager starts with (8,640,000 s); `postfix check` says nothing of it.
const MOST_DAYS: u32 = 100;
/// Mebibytes. PHP and Roundcube count a message in 32 bits on the way.
const LARGEST_MIB: u32 = 1024;
/// Seconds between two tries, above which a returned node stands idle while mail waits for it.
const SLOWEST_RETRY: u64 = 60;

/// What becomes of a lifetime that is longer.
const TOO_LONG: &str =
    "Postfix's queue manager does not start with it, and no mail moves; `postfix check` says nothing";

pub(super) fn check(findings: &mut Findings<'_>) {
    days(findings);
    size(findings);
}

fn days(findings: &mut Findings<'_>) {
    let days = findings.cluster().mail.queue_days;
    let place = "mail.queue_days";
    let finding = match days {
        0 => findings
            .at(
                "queue-days-zero",
                place,
                "less than a day",
                "mail would not wait in the queue at all",
            )
            .why("mail for a node that is down comes back to its sender at once"),
        1..CUSTOM_DAYS => findings
            .at(
                "queue-days-few",
                place,
                "fewer than four days",
                format!("mail waits {days} days only"),
            )
            .why("a long week-end without a node, and mail comes back to its senders as undeliverable"),
        CUSTOM_DAYS..=MOST_DAYS => return,
        _ => findings
            .at(
                "queue-days-many",
                place,
                "more than 100 days",
                format!("mail waits {days} days"),
            )
            .why(TOO_LONG),
    };
    let finding = finding
        .help("5 days is the custom (RFC 5321 section 4.5.4.1)")
        .fix(findings.with("mail", "queue_days", "5"));
    findings.push(finding);
}

fn size(findings: &mut Findings<'_>) {
    let size = findings.cluster().mail.message_size_mib;
    if (1..=LARGEST_MIB).contains(&size) {
        return;
    }
    let why = if size == 0 {
        "Postfix takes 0 for no limit at all: one message can fill the queue's disk, and all mail stops"
    } else {
        "webmail's upload and the queue's disk do not hold such messages, and hardly anybody accepts them"
    };
    let finding = findings
        .at(
            "message-size",
            "mail.message_size_mib",
            format!("from 1 to {LARGEST_MIB}"),
            format!("the largest message cannot be {size} MiB"),
        )
        .why(why)
        .help("25 to 50 MiB is the custom")
        .fix(findings.with("mail", "message_size_mib", "25"));
    findings.push(finding);
}

/// A raw lifetime of the queue.
pub(super) fn lifetime(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let what = match key {
        "maximal_queue_lifetime" => "mail waits",
        // Only mail with the null sender: postconf(5).
        "bounce_queue_lifetime" => "a report of non-delivery waits",
        _ => return None,
    };
    let longest = u64::from(MOST_DAYS) * DAY;
    let (label, message) = match seconds(value, DAY) {
        Some(seconds) if seconds > longest => {
            let message = format!("{what} {} in the queue", value.trim());
            return Some(
                findings
                    .at("queue-days-many", &mail::path(key), "more than 100 days", message)
                    .why(TOO_LONG)
                    .help("remove the option and set mail.queue_days, which counts for both")
                    .fix(findings.without(&mail::path(key))),
            );
        }
        Some(seconds) if seconds >= DAY => return None,
        Some(_) => ("less than a day", format!("{what} only {} in the queue", value.trim())),
        None => ("not a time", format!("`{key}` is not a time")),
    };
    Some(
        findings
            .at("queue-lifetime-short", &mail::path(key), label, message)
            .why(if key == "bounce_queue_lifetime" {
                "it limits reports of non-delivery only, not how long mail waits (`maximal_queue_lifetime`): a sender whose server is away for that long never hears that mail was lost"
            } else {
                "what is still in the queue then is lost to its recipient; a node may be down for a night"
            })
            .help("remove the option and set mail.queue_days, which counts for both")
            .fix(findings.without(&mail::path(key))),
    )
}

/// A raw time between two tries.
pub(super) fn retry(findings: &Findings<'_>, key: &str, value: &str) -> Option<Finding> {
    let times = ["minimal_backoff_time", "queue_run_delay", "transport_retry_time"];
    if !times.contains(&key) || seconds(value, 1).is_some_and(|s| (1..=SLOWEST_RETRY).contains(&s)) {
        return None;
    }
    Some(
        findings
            .at(
                "slow-retries",
                &mail::path(key),
                "a minute or less",
                format!("`{key} = {value}` keeps mail from a node that has returned"),
            )
            .why("mail that met a dead node is looked at again only then: minutes after the cluster is whole, it still waits")
            .help("remove the option: 5 s is set already")
            .fix(findings.without(&mail::path(key))),
    )
}

/// A Postfix time: a number and `s`, `m`, `h`, `d` or `w`; without a unit it counts `unit` seconds.
fn seconds(value: &str, unit: u64) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let unit = match &value[digits..] {
        "" => unit,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    value[..digits].parse::<u64>().ok().map(|n| n.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_the_day_is_the_default_of_lifetimes() {
        assert_eq!(seconds("1h", DAY), Some(3600));
        assert_eq!(seconds("5", DAY), Some(5 * DAY));
        assert_eq!(seconds("300", 1), Some(300));
        assert_eq!(seconds("99999999999999999w", DAY), Some(u64::MAX));
        assert_eq!(seconds("soon", DAY), None);
    }
}

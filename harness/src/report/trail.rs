//! What the nodes' journals say about messages that a verdict names: the way of each through the queues of the cluster, so
//! that whoever reads a failure need not look for it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Report;

/// So many messages of a report are followed.
const MESSAGES: usize = 3;
/// So many lines of a message's way are told: first ones and last ones.
const LINES: usize = 24;
/// Characters of a line that are kept.
const WIDTH: usize = 240;

/// The way of the first messages that the reasons of a run name, by their id: lines of the journals, oldest first,
/// each after its node's name. `journals` are the nodes' names and what their journals say, each line with its time first.
pub fn trails(report: &Report, journals: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    named(report)
        .into_iter()
        .take(MESSAGES)
        .map(|id| (id, trail(id, journals)))
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(id, lines)| (id.to_owned(), lines))
        .collect()
}

/// Ids of this run's messages that its reasons name.
fn named(report: &Report) -> BTreeSet<&str> {
    let ours = format!("{}-", report.run);
    let words = report
        .reasons
        .iter()
        .flat_map(|reason| reason.detail.split_whitespace());
    words
        .filter(|word| word.starts_with(&ours))
        .map(|word| word.trim_end_matches([',', ':', ';']))
        .collect()
}

/// Lines that name the message, or the number that one of the queues gave it.
fn trail(id: &str, journals: &[(String, String)]) -> Vec<String> {
    let message = format!("<{id}@");
    let numbers: BTreeSet<&str> = journals
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter(|line| line.contains(&message))
        .filter_map(number)
        .collect();
    let mut lines: Vec<(&str, &str)> = journals
        .iter()
        .flat_map(|(node, text)| text.lines().map(move |line| (line, node.as_str())))
        .filter(|(line, _)| line.contains(&message) || numbers.iter().any(|number| line.contains(number)))
        .collect();
    lines.sort_unstable();
    let told = lines.len();
    let mut lines: Vec<String> = lines
        .iter()
        .map(|(line, node)| format!("{node} {line}").chars().take(WIDTH).collect())
        .collect();
    if told > LINES {
        let left_out = format!("({} lines are left out)", told - LINES);
        lines.splice(LINES / 2..told - LINES / 2, [left_out]);
    }
    lines
}

/// The number in a line of Postfix's (`postfix/cleanup[7]: NUMBER: message-id=<...>`).
fn number(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(": message-id=<")?;
    before.rsplit(' ').next().filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journals() -> Vec<(String, String)> {
        let gateway = "\
2026-01-01T00:00:01 postfix/cleanup[7]: 4jdA: message-id=<r1-m3@sender.example>
2026-01-01T00:00:02 postfix/smtp[8]: 4jdA: to=<alice@example.org>, relay=mail1, status=sent (250 queued as 4jdB)
2026-01-01T00:00:02 postfix/cleanup[7]: 4jdX: message-id=<r1-m33@sender.example>
";
        let mail1 = "\
2026-01-01T00:00:01.5 postfix/cleanup[3]: 4jdB: message-id=<r1-m3@sender.example>
2026-01-01T00:00:03 dovecot[4]: sieve: msgid=<r1-m3@sender.example>: stored mail into mailbox 'INBOX'
2026-01-01T00:00:04 postfix/qmgr[5]: 4jdB: removed
";
        vec![("gateway".into(), gateway.into()), ("mail1".into(), mail1.into())]
    }

    #[test]
    fn a_message_is_followed_through_all_queues_in_the_order_of_time() {
        insta::assert_snapshot!(trail("r1-m3", &journals()).join("\n"), @r"
        gateway 2026-01-01T00:00:01 postfix/cleanup[7]: 4jdA: message-id=<r1-m3@sender.example>
        mail1 2026-01-01T00:00:01.5 postfix/cleanup[3]: 4jdB: message-id=<r1-m3@sender.example>
        gateway 2026-01-01T00:00:02 postfix/smtp[8]: 4jdA: to=<alice@example.org>, relay=mail1, status=sent (250 queued as 4jdB)
        mail1 2026-01-01T00:00:03 dovecot[4]: sieve: msgid=<r1-m3@sender.example>: stored mail into mailbox 'INBOX'
        mail1 2026-01-01T00:00:04 postfix/qmgr[5]: 4jdB: removed
        ");
    }

    #[test]
    fn a_long_way_is_told_by_its_ends() {
        let line = "2026-01-01T00:00:01 postfix/cleanup[7]: 4jdA: message-id=<r1-m3@sender.example>\n";
        let lines = trail("r1-m3", &[("gateway".into(), line.repeat(100))]);
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines[LINES / 2], "(76 lines are left out)");
    }
}

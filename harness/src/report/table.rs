//! The short table that ends a run on the terminal. Readable without colours; coloured only where the caller says that a
//! terminal reads it.

use super::model::Report;
use crate::oracle::{Outage, Verdict};
use crate::units::{readable, readable_limit};

const HEADINGS: [&str; 6] = ["scenario", "verdict", "longest outages", "mail", "rows equal", "took"];

/// One row a run, and below it the reasons of those that did not pass. `colour` is for terminals.
pub fn table(reports: &[Report], colour: bool) -> String {
    let rows: Vec<[Vec<String>; 6]> = reports.iter().map(cells).collect();
    let widths: Vec<usize> = HEADINGS
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let lines = rows.iter().flat_map(|row| row[column].iter());
            lines
                .map(|line| line.chars().count())
                .chain([heading.chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    push_line(&mut text, &HEADINGS.map(str::to_owned), &widths, None);
    for (row, report) in rows.iter().zip(reports) {
        let height = row.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let cells = [0, 1, 2, 3, 4, 5].map(|column| row[column].get(line).cloned().unwrap_or_default());
            let paint = (colour && line == 0).then_some(report.verdict);
            push_line(&mut text, &cells, &widths, paint);
        }
    }
    for report in reports.iter().filter(|report| report.verdict != Verdict::Pass) {
        text.push_str(&format!("\n{} {}:\n", report.scenario, report.verdict));
        for reason in &report.reasons {
            text.push_str(&format!("  {reason}\n"));
        }
        for (id, lines) in &report.trails {
            text.push_str(&format!("  the way of {id}, from the journals:\n"));
            for line in lines {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text
}

/// Cells of a run, each of one line or more.
fn cells(report: &Report) -> [Vec<String>; 6] {
    let outages: Vec<String> = report
        .outages
        .iter()
        .filter(|outage| outage.limit.is_some() || outage.longest.is_some())
        .map(gap)
        .collect();
    let mail = report.ledger.as_ref().map(|tally| {
        let counts = [
            (tally.lost, "lost"),
            (tally.doubled, "doubled"),
            (tally.misdelivered, "misdelivered"),
            (tally.waiting, "waiting"),
            (tally.unknown, "unknown"),
        ];
        let others = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"));
        std::iter::once(format!("{}/{} found once", tally.found_once, tally.accepted))
            .chain(others)
            .collect()
    });
    let equal = report
        .replication
        .as_ref()
        .and_then(|measured| measured.converged_after);
    [
        vec![report.scenario.clone()],
        vec![report.verdict.to_string()],
        or_dash(outages),
        or_dash(mail.unwrap_or_default()),
        vec![equal.map_or("-".into(), |after| format!("after {}", readable(after)))],
        vec![readable(report.wall)],
    ]
}

/// `webmail 11.2 s of 15 s`.
fn gap(outage: &Outage) -> String {
    let length = match outage.longest {
        _ if outage.operations == 0 => "never used".into(),
        Some(gap) => readable(gap.length),
        None => "none".into(),
    };
    let open = if outage.longest.is_some_and(|gap| gap.to.is_none()) {
        ", not back"
    } else {
        ""
    };
    let limit = outage
        .limit
        .map(|limit| format!(" of {}", readable_limit(limit)))
        .unwrap_or_default();
    format!("{} {length}{limit}{open}", outage.name())
}

fn or_dash(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["-".into()] } else { lines }
}

/// One line; the verdict is padded before it is painted, so that colours do not shift the columns.
fn push_line(text: &mut String, cells: &[String; 6], widths: &[usize], paint: Option<Verdict>) {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padded = format!("{cell:<width$}");
        let painted = match paint {
            Some(verdict) if column == 1 => in_colour(&padded, verdict),
            _ => padded,
        };
        line.push_str(&painted);
        line.push_str("  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn in_colour(text: &str, verdict: Verdict) -> String {
    let style = console::Style::new().force_styling(true).bold();
    let style = match verdict {
        Verdict::Pass => style.green(),
        Verdict::Inconclusive => style.yellow(),
        Verdict::Fail => style.red(),
    };
    style.apply_to(text).to_string()
}

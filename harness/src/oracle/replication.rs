//! Replication: what one node acknowledged is on both, nothing is there that nobody wrote, tables are equal, and the
//! replica threads run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::history::History;
use super::terms::Terms;
use super::verdict::{Code, Reason, some_of};
use crate::record::{Micros, Operation, Outcome, Service, What};
use crate::units::{readable, readable_limit};

/// What was measured of replication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicated {
    /// Rows acknowledged.
    pub acknowledged: usize,
    /// Of those, found on every node.
    pub on_all_nodes: usize,
    /// Rows neither acknowledged nor refused.
    pub unknown: usize,
    /// Tables with a known checksum on every node.
    pub tables: usize,
    /// Of those, equal.
    pub equal_tables: usize,
    /// The longest time from the last healing or the end of traffic until both nodes were equal, microseconds.
    pub converged_after: Option<Micros>,
    /// The limit for it, microseconds.
    pub converge_limit: Option<Micros>,
}

/// What the writer of a row was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Acknowledged,
    Refused,
    Unknown,
}

/// State of a node's replica threads.
struct Threads<'a> {
    io: bool,
    sql: bool,
    error: &'a str,
}

/// The end of a run, as the last looks show it.
struct View<'a> {
    run: &'a History<'a>,
    nodes: &'a [String],
    /// Database and row to what its writer was told.
    written: BTreeMap<(&'a str, &'a str), Told>,
    /// Node and database to rows.
    rows: BTreeMap<(&'a str, &'a str), &'a [String]>,
    /// Database and table to node to checksum.
    checksums: BTreeMap<(&'a str, &'a str), BTreeMap<&'a str, &'a str>>,
    threads: BTreeMap<&'a str, Threads<'a>>,
}

/// Judges replication; `None` if it does not apply.
pub(super) fn judge(history: &History, terms: &Terms) -> (Option<Replicated>, Vec<Reason>) {
    let wrote = history.of_service(Service::Sql).next().is_some();
    if !terms.oracle.replication.unwrap_or(wrote) {
        return (None, Vec::new());
    }
    let view = View::of(history, &terms.mail_nodes);
    let mut measured = Replicated::default();
    let mut reasons = view.vacuity(terms);
    reasons.extend(view.rows(&mut measured));
    reasons.extend(view.tables(terms, &mut measured));
    reasons.extend(view.threads());
    reasons.extend(convergence(history, terms, &mut measured));
    (Some(measured), reasons)
}

impl<'a> View<'a> {
    fn of(history: &'a History<'a>, nodes: &'a [String]) -> View<'a> {
        let mut view = View {
            run: history,
            nodes,
            written: BTreeMap::new(),
            rows: BTreeMap::new(),
            checksums: BTreeMap::new(),
            threads: BTreeMap::new(),
        };
        view.read_writes();
        view.read_looks();
        view
    }

    fn read_writes(&mut self) {
        for op in self.run.of_service(Service::Sql) {
            let Operation::SqlInsert { database, row, .. } = op.operation else {
                continue;
            };
            let told = match op.end.map(|(_, outcome)| outcome) {
                Some(Outcome::Ok { .. }) => Told::Acknowledged,
                Some(Outcome::Fail { .. }) => Told::Refused,
                Some(Outcome::Unknown { .. }) | None => Told::Unknown,
            };
            let known = self.written.entry((database, row)).or_insert(told);
            // Of several attempts the strongest counts.
            *known = match (*known, told) {
                (Told::Acknowledged, _) | (_, Told::Acknowledged) => Told::Acknowledged,
                (Told::Unknown, _) | (_, Told::Unknown) => Told::Unknown,
                (Told::Refused, Told::Refused) => Told::Refused,
            };
        }
    }

    /// The last look at everything. Webmail log-ins write too, so checksums from before the last one show nothing.
    fn read_looks(&mut self) {
        let history = self.run;
        for what in history.after_last(&[Service::Sql]) {
            if let What::Rows { node, database, rows } = what {
                self.rows.insert((node, database), rows);
            }
            if let What::Replication {
                node,
                io_running,
                sql_running,
                error,
            } = what
            {
                self.threads.insert(
                    node,
                    Threads {
                        io: *io_running,
                        sql: *sql_running,
                        error,
                    },
                );
            }
        }
        for what in history.after_last(&[Service::Sql, Service::Webmail]) {
            if let What::Checksum {
                node,
                database,
                table,
                checksum,
            } = what
            {
                self.checksums
                    .entry((database, table))
                    .or_default()
                    .insert(node, checksum);
            }
        }
    }

    /// Whether anything can be shown at all.
    fn vacuity(&self, terms: &Terms) -> Vec<Reason> {
        let nothing = |detail: String| Reason::new(Code::NothingAcknowledged, detail);
        let acknowledged: BTreeSet<&str> = self
            .written
            .iter()
            .filter(|(_, told)| **told == Told::Acknowledged)
            .map(|((database, _), _)| *database)
            .collect();
        let mut reasons = Vec::new();
        if acknowledged.is_empty() {
            reasons.push(nothing(format!("none of {} rows was acknowledged", self.written.len())));
        } else {
            let missing = terms
                .oracle
                .rows_in
                .iter()
                .filter(|database| !acknowledged.contains(database.as_str()));
            let missing: Vec<&String> = missing.collect();
            if !missing.is_empty() {
                reasons.push(nothing(format!("no row was acknowledged in {}", some_of(&missing))));
            }
        }
        if self.nodes.len() < 2 {
            reasons.push(Reason::new(Code::RowsNotSeen, "there are no two mail nodes to compare"));
        }
        reasons
    }

    fn rows(&self, measured: &mut Replicated) -> Vec<Reason> {
        let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
        let databases: BTreeSet<&str> = self.written.keys().map(|(database, _)| *database).collect();
        for database in &databases {
            for node in self
                .nodes
                .iter()
                .filter(|node| !self.rows.contains_key(&(node.as_str(), *database)))
            {
                cases
                    .entry(Code::RowsNotSeen)
                    .or_default()
                    .push(format!("{database} on {node}"));
            }
        }
        for ((database, row), told) in &self.written {
            let copies = self.copies(database, row);
            let seen_on: Vec<&str> = copies
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(node, _)| *node)
                .collect();
            let missing_on: Vec<&str> = copies
                .iter()
                .filter(|(_, count)| *count == 0)
                .map(|(node, _)| *node)
                .collect();
            measured.acknowledged += usize::from(*told == Told::Acknowledged);
            measured.unknown += usize::from(*told == Told::Unknown);
            let everywhere = seen_on.len() == self.nodes.len() && *told == Told::Acknowledged;
            measured.on_all_nodes += usize::from(everywhere);
            let code = match told {
                Told::Acknowledged if !missing_on.is_empty() => Code::RowMissing,
                Told::Refused if !seen_on.is_empty() => Code::RowContradicted,
                Told::Unknown if !seen_on.is_empty() && !missing_on.is_empty() => Code::RowDisagrees,
                _ => continue,
            };
            let (word, places) = if code == Code::RowContradicted {
                ("on", seen_on)
            } else {
                ("not on", missing_on)
            };
            cases
                .entry(code)
                .or_default()
                .push(format!("{database}: {row} {word} {}", some_of(&places)));
        }
        self.strays(&mut cases);
        cases.into_iter().map(|(code, cases)| told(code, &cases)).collect()
    }

    /// How often each node that was looked at holds a row.
    fn copies(&self, database: &str, row: &str) -> Vec<(&str, usize)> {
        let looks = self.nodes.iter().filter_map(|node| {
            let rows = self.rows.get(&(node.as_str(), database))?;
            Some((node.as_str(), rows.iter().filter(|found| *found == row).count()))
        });
        looks.collect()
    }

    /// Rows that nobody wrote, and rows found more than once.
    fn strays(&self, cases: &mut BTreeMap<Code, Vec<String>>) {
        for ((node, database), rows) in &self.rows {
            let mut seen = BTreeSet::new();
            for row in rows.iter() {
                if !seen.insert(row) {
                    cases
                        .entry(Code::RowDoubled)
                        .or_default()
                        .push(format!("{database}: {row} on {node}"));
                } else if self.run.is_ours(row) && !self.written.contains_key(&(*database, row.as_str())) {
                    cases
                        .entry(Code::RowPhantom)
                        .or_default()
                        .push(format!("{database}: {row} on {node}"));
                }
            }
        }
    }

    fn tables(&self, terms: &Terms, measured: &mut Replicated) -> Vec<Reason> {
        let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
        let mut silent: BTreeSet<(&str, &str)> = BTreeSet::new();
        let databases: BTreeSet<&str> = terms
            .databases
            .iter()
            .map(String::as_str)
            .chain(self.written.keys().map(|(name, _)| *name))
            .collect();
        for database in &databases {
            for node in self.nodes {
                let known = |((name, _), sums): (&(&str, &str), &BTreeMap<&str, &str>)| {
                    name == database && sums.contains_key(node.as_str())
                };
                if !self.checksums.iter().any(known) {
                    silent.insert((database, node));
                    cases
                        .entry(Code::ChecksumNotSeen)
                        .or_default()
                        .push(format!("{database} on {node}"));
                }
            }
        }
        for ((database, table), sums) in &self.checksums {
            let on = |node: &&String| sums.get(node.as_str()).copied();
            // A node of which no table of the database is known was not looked at; that is a doubt of its own.
            let asked: Vec<&String> = self
                .nodes
                .iter()
                .filter(|node| !silent.contains(&(*database, node.as_str())))
                .collect();
            let missing: Vec<&&String> = asked.iter().filter(|node| on(node).is_none()).collect();
            let values: BTreeSet<&str> = asked.iter().filter_map(on).collect();
            if !missing.is_empty() {
                cases
                    .entry(Code::TableMissing)
                    .or_default()
                    .push(format!("{database}.{table} on {}", some_of(&missing)));
            } else if values.iter().any(|value| is_no_checksum(value)) {
                cases
                    .entry(Code::ChecksumNotSeen)
                    .or_default()
                    .push(format!("{database}.{table} has none"));
            } else if values.len() > 1 {
                let sums: Vec<String> = sums.iter().map(|(node, sum)| format!("{sum} on {node}")).collect();
                cases
                    .entry(Code::ChecksumDiffers)
                    .or_default()
                    .push(format!("{database}.{table}: {}", some_of(&sums)));
                measured.tables += 1;
            } else if asked.len() == self.nodes.len() {
                measured.tables += 1;
                measured.equal_tables += 1;
            }
        }
        cases.into_iter().map(|(code, cases)| told(code, &cases)).collect()
    }

    fn threads(&self) -> Vec<Reason> {
        let mut cases: BTreeMap<Code, Vec<String>> = BTreeMap::new();
        for node in self.nodes {
            let Some(threads) = self.threads.get(node.as_str()) else {
                cases.entry(Code::ThreadsNotSeen).or_default().push(node.clone());
                continue;
            };
            let case = if threads.error.is_empty() {
                node.clone()
            } else {
                format!("{node} ({})", threads.error)
            };
            if !threads.io {
                cases.entry(Code::IoStopped).or_default().push(case.clone());
            }
            if !threads.sql {
                cases.entry(Code::SqlStopped).or_default().push(case);
            }
        }
        cases.into_iter().map(|(code, cases)| told(code, &cases)).collect()
    }
}

/// `CHECKSUM TABLE` answers NULL for a table that it cannot read (MariaDB manual, CHECKSUM TABLE); two of those are not
/// equal tables.
fn is_no_checksum(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("null")
}

fn convergence(history: &History, terms: &Terms, measured: &mut Replicated) -> Vec<Reason> {
    let limit = terms.budget.converge.map(|span| span.micros());
    measured.converge_limit = limit;
    let mut reasons = Vec::new();
    for event in history.events {
        match &event.what {
            What::Converged { after } => measured.converged_after = measured.converged_after.max(Some(*after)),
            What::NotConverged { after, differs } => {
                let detail = format!("not equal after {}: {differs}", readable(*after));
                reasons.push(Reason::new(Code::NotConverged, detail));
            }
            _ => {}
        }
    }
    if let Some(limit) = limit {
        match measured.converged_after {
            Some(after) if after > limit => {
                let detail = format!(
                    "the nodes were equal after {}, the limit is {}",
                    readable(after),
                    readable(limit)
                );
                reasons.push(Reason::new(Code::ConvergedLate, detail));
            }
            None if reasons.is_empty() => {
                let detail = format!("the limit is {}, but it was not measured", readable_limit(limit));
                reasons.push(Reason::new(Code::ConvergenceNotSeen, detail));
            }
            _ => {}
        }
    }
    reasons
}

/// A reason with its cases.
fn told(code: Code, cases: &[String]) -> Reason {
    let words = match &code {
        Code::RowMissing => "acknowledged rows are missing",
        Code::RowDisagrees => "rows of unknown outcome are on one node only",
        Code::RowPhantom => "rows that nobody wrote",
        Code::RowDoubled => "rows found more than once",
        Code::RowContradicted => "rows found although they were refused",
        Code::RowsNotSeen => "rows not looked at after the last write",
        Code::ChecksumDiffers => "tables differ",
        Code::TableMissing => "tables are missing",
        Code::ChecksumNotSeen => "checksums are unknown",
        Code::IoStopped => "the IO thread does not run",
        Code::SqlStopped => "the SQL thread does not run",
        _ => "the replica threads were not looked at",
    };
    let count = cases.len();
    Reason::new(code, format!("{words} ({count}): {}", some_of(cases)))
}

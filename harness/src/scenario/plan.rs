//! What a scenario will do, in words and with its deadlines, without doing it.

use std::fmt;
use std::time::Duration;

use super::model::{Action, Scenario};
use super::words;
use crate::oracle::Budgets;
use crate::record::Service;

/// What always happens after the last step, however the steps went: kind, title, and seconds as a guard.
pub const CLOSING: [(&str, &str, u64); 5] = [
    ("final-heal", "stop traffic and heal what is still broken", 180),
    ("final-health", "nothing ails the cluster any more", 300),
    (
        "final-convergence",
        "every replicated table is equal on both nodes",
        180,
    ),
    ("final-queues", "every queue is empty", 180),
    ("final-look", "look into every mailbox and every database", 120),
];

/// A scenario in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the scenario.
    pub name: String,
    /// What it shows.
    pub summary: String,
    /// The cluster that it plays on.
    pub cluster: String,
    /// Why it must fail, if it must.
    pub must_fail: Option<String>,
    /// Traffic, one line a service.
    pub traffic: Vec<String>,
    /// Steps, then the closing steps.
    pub steps: Vec<PlannedStep>,
    /// Budgets, one line a service.
    pub budgets: Vec<String>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// The step in words.
    pub title: String,
    /// What is done, where the title does not say it already.
    pub detail: Option<String>,
    /// Guard against hanging, before it is stretched.
    pub within: Duration,
    /// The promise.
    pub budget: Option<Duration>,
    /// A pause before it, at most this long.
    pub after: Option<Duration>,
    /// It always happens, even after a broken step.
    pub closing: bool,
}

impl Plan {
    /// The plan of a scenario.
    pub fn of(scenario: &Scenario) -> Plan {
        let step = |step: &super::model::Step| {
            let words = words::action(&step.action);
            let named = match &step.action {
                Action::Fault { name: Some(name), .. } => format!("{words} (as `{name}`)"),
                _ => words.clone(),
            };
            PlannedStep {
                title: step.title.clone(),
                detail: (step.title != words).then_some(named),
                within: step.within,
                budget: step.budget,
                after: step.after.map(|after| after.random.0),
                closing: false,
            }
        };
        let closing = CLOSING.iter().map(|(_, title, seconds)| PlannedStep {
            title: (*title).to_owned(),
            detail: None,
            within: Duration::from_secs(*seconds),
            budget: None,
            after: None,
            closing: true,
        });
        let head = &scenario.head;
        Plan {
            name: head.name.clone(),
            summary: head.summary.clone(),
            cluster: head.cluster.clone(),
            must_fail: head.must_fail.as_ref().map(|must_fail| match must_fail.defect {
                Some(defect) => format!("{} (planted on the simulation: {})", must_fail.reason, kebab(&defect)),
                None => must_fail.reason.clone(),
            }),
            traffic: traffic_lines(scenario),
            steps: scenario.steps.iter().map(step).chain(closing).collect(),
            budgets: budget_lines(&scenario.head.budget),
        }
    }
}

fn traffic_lines(scenario: &Scenario) -> Vec<String> {
    let services = [
        (Service::MailIn, "a message"),
        (Service::Webmail, "a webmail log-in"),
        (Service::Sql, "a row on each node"),
        (Service::Imap, "an IMAP log-in on each node"),
        (Service::ImapClient, "a session of each account's mail program"),
    ];
    services
        .iter()
        .filter_map(|(service, what)| {
            let pace = scenario.head.traffic.pace(*service)?;
            Some(format!(
                "{what} every {}, at most {} under way, each given up after {}",
                span(pace.every),
                pace.at_once,
                span(pace.patience())
            ))
        })
        .collect()
}

/// Budgets, one a line: `webmail 15s`, `sql on mail2 15s`.
pub fn budget_lines(budget: &Budgets) -> Vec<String> {
    let services = [
        Service::Webmail,
        Service::MailIn,
        Service::Sql,
        Service::Imap,
        Service::ImapClient,
    ];
    let of_service = |service| Some(format!("{} {}", words::service(service), span(budget.of(service)?)));
    let mut lines: Vec<String> = services.into_iter().filter_map(of_service).collect();
    for (node, own) in &budget.on {
        for (name, limit) in [("sql", own.sql), ("imap", own.imap)] {
            lines.extend(limit.map(|limit| format!("{name} on {node} {limit}")));
        }
    }
    let of_failures = |service| {
        Some(format!(
            "failures.{} {}",
            words::service(service),
            budget.failures.of(service)?
        ))
    };
    lines.extend(services.into_iter().filter_map(of_failures));
    lines.extend(budget.lag.limits().map(|(name, limit)| format!("lag.{name} {limit}")));
    lines.extend(budget.converge.map(|limit| format!("converge {limit}")));
    lines
}

/// A defect as it is written in files.
pub fn kebab<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A duration as it is written in files.
pub fn span(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}: {}", self.name, self.summary)?;
        writeln!(out, "cluster: {}", self.cluster)?;
        if let Some(reason) = &self.must_fail {
            writeln!(out, "must fail for: {reason}")?;
        }
        for line in &self.traffic {
            writeln!(out, "traffic: {line}")?;
        }
        if !self.budgets.is_empty() {
            writeln!(out, "budgets: {}", self.budgets.join(", "))?;
        }
        writeln!(out)?;
        for (index, step) in self.steps.iter().enumerate() {
            if step.closing && index > 0 && !self.steps[index - 1].closing {
                writeln!(out, "always, however the steps went:")?;
            }
            let budget = step
                .budget
                .map(|budget| format!(", promised in {}", span(budget)))
                .unwrap_or_default();
            let after = step
                .after
                .map(|after| format!(", after a random pause of at most {}", span(after)))
                .unwrap_or_default();
            writeln!(
                out,
                "{:>3}. {} [within {}{budget}{after}]",
                index + 1,
                step.title,
                span(step.within)
            )?;
            if let Some(detail) = &step.detail {
                writeln!(out, "     {detail}")?;
            }
        }
        Ok(())
    }
}

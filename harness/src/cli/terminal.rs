//! What people see while scenarios play (standard error) and the table at the end (standard output).

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Exit;
use super::session::{Group, Options, exit_of};
use crate::oracle::{Judgement, Outage, Verdict};
use crate::play::Observer;
use crate::record::{Micros, StepResult, micros};
use crate::scenario::Scenario;
use crate::scenario::plan::kebab;
use crate::scenario::words;
use crate::units::readable;

/// Says what will be played, with which seed, and where the reports go.
pub fn opening(groups: &[Group], options: &Options) {
    let count: usize = groups.iter().map(|group| group.entries.len()).sum();
    let fake: usize = groups
        .iter()
        .filter(|group| group.fake)
        .map(|group| group.entries.len())
        .sum();
    let noun = if count == 1 { "scenario" } else { "scenarios" };
    let simulated = match fake {
        0 => String::new(),
        fake if fake == count => " on the simulation: that shows the checks, not the cluster".to_owned(),
        fake => format!(", {fake} of them on the simulation: those show the checks, not the cluster"),
    };
    eprintln!(
        "{count} {noun}{simulated}; seed {}; reports in {}",
        options.seed,
        options.report.display()
    );
}

/// Tells each step as it ends; on a terminal the step under way is shown too.
pub struct Teller {
    bar: Mutex<Option<ProgressBar>>,
    live: bool,
    titles: Mutex<(usize, String)>,
}

impl Teller {
    /// A teller for one scenario, whose name and summary it says first.
    pub fn new(scenario: &Scenario, fake: bool) -> Teller {
        let planted = match (&scenario.head.must_fail, scenario.defect()) {
            (Some(must_fail), Some(defect)) => {
                format!(
                    " [must fail for {}; planted on the simulation: {}]",
                    must_fail.reason,
                    kebab(&defect)
                )
            }
            (Some(must_fail), None) => format!(" [must fail for {}]", must_fail.reason),
            (None, _) if fake => " [simulated]".into(),
            (None, _) => String::new(),
        };
        eprintln!(
            "\n{}{planted}: {}",
            style(scenario.name()).for_stderr().bold(),
            scenario.head.summary
        );
        Teller {
            bar: Mutex::default(),
            live: std::io::stderr().is_terminal() && !fake,
            titles: Mutex::default(),
        }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Teller {
    fn step_began(&self, _: usize, total: usize, title: &str) {
        *self.titles.lock().unwrap_or_else(PoisonError::into_inner) = (total, title.to_owned());
        if self.live {
            let template = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner();
            bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_message(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            *self.bar() = Some(bar);
        }
    }

    fn step_ended(&self, step: usize, result: &StepResult, took: Duration) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
        let (total, title) = self.titles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (sign, detail) = match result {
            StepResult::Held { detail } => (style("✓").green(), detail),
            StepResult::Broken { detail } => (style("✗").red(), detail),
            StepResult::Inconclusive { detail } => (style("?").yellow(), detail),
        };
        let took = readable(micros(took));
        eprintln!(
            "{} {:>2}/{total} {title}: {detail} ({took})",
            sign.for_stderr(),
            step + 1
        );
    }

    fn note(&self, text: &str) {
        match self.bar().as_ref() {
            Some(bar) => bar.println(format!("• {text}")),
            None => eprintln!("• {text}"),
        }
    }
}

/// One scenario in the table at the end.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    /// `None` if it was not played.
    verdict: Option<Verdict>,
    took: Option<Duration>,
    fake: bool,
    measured: Vec<String>,
    against: Vec<String>,
}

impl Line {
    /// A scenario that was played and judged.
    pub fn of(scenario: &Scenario, judgement: &Judgement, took: Duration, fake: bool) -> Line {
        Line {
            name: scenario.name().to_owned(),
            verdict: Some(judgement.verdict),
            took: Some(took),
            fake,
            measured: measured(judgement),
            against: judgement.reasons.iter().map(ToString::to_string).collect(),
        }
    }

    /// A scenario that was not played.
    pub fn not_played(scenario: &Scenario, why: &str) -> Line {
        Line {
            name: scenario.name().to_owned(),
            verdict: None,
            took: None,
            fake: false,
            measured: Vec::new(),
            against: vec![why.to_owned()],
        }
    }

    /// How this scenario counts for the exit status.
    pub fn exit(&self) -> Exit {
        self.verdict.map_or(Exit::Environment, exit_of)
    }
}

/// What was measured, in few words.
fn measured(judgement: &Judgement) -> Vec<String> {
    let mut measured: Vec<String> = judgement.outages.iter().filter_map(outage).collect();
    measured.extend(
        judgement
            .ledger
            .as_ref()
            .map(|tally| format!("mail {} of {} accepted found once", tally.found_once, tally.accepted)),
    );
    measured.extend(judgement.replication.as_ref().map(|replicated| {
        let rows = format!(
            "rows {} of {} on both nodes",
            replicated.on_all_nodes, replicated.acknowledged
        );
        match replicated.converged_after {
            Some(after) => format!("{rows}, converged after {}", readable(after)),
            None => rows,
        }
    }));
    measured
}

/// An outage that has a limit, with the limit.
fn outage(outage: &Outage) -> Option<String> {
    let limit: Micros = outage.limit?;
    let longest = outage.longest.map_or(0, |gap| gap.length);
    let on = outage
        .node
        .as_ref()
        .map(|node| format!(" on {node}"))
        .unwrap_or_default();
    let service = words::service(outage.service);
    Some(format!(
        "{service}{on} out {} of {}",
        readable(longest),
        readable(limit)
    ))
}

fn word(verdict: Option<Verdict>) -> String {
    let (word, color) = match verdict {
        Some(Verdict::Pass) => ("passed", console::Color::Green),
        Some(Verdict::Fail) => ("FAILED", console::Color::Red),
        Some(Verdict::Inconclusive) => ("inconclusive", console::Color::Yellow),
        None => ("not played", console::Color::Yellow),
    };
    style(format!("{word:<12}")).fg(color).to_string()
}

/// Says the verdict of one scenario and what speaks against a pass.
pub fn verdict(line: &Line) {
    for reason in &line.against {
        eprintln!("  {reason}");
    }
    for measured in &line.measured {
        eprintln!("  {measured}");
    }
}

/// The table of all scenarios.
pub fn closing(lines: &[Line], options: &Options) {
    if lines.is_empty() {
        return;
    }
    println!();
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    for line in lines {
        let took = line.took.map(|took| readable(micros(took))).unwrap_or_default();
        let simulated = if line.fake { "simulated" } else { "" };
        println!("{:<width$}  {} {took:>12}  {simulated}", line.name, word(line.verdict));
        if line.verdict != Some(Verdict::Pass) {
            for reason in &line.against {
                println!("{:<width$}    {reason}", "");
            }
        }
    }
    let passed = lines.iter().filter(|line| line.verdict == Some(Verdict::Pass)).count();
    println!(
        "\n{passed} of {} passed; reports in {}",
        lines.len(),
        options.report.display()
    );
}

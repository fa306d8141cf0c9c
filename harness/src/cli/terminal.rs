//! What people see while scenarios play (standard error) and the table at the end (standard output).

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Exit;
use super::session::{Group, Options, exit_of};
use crate::fleet::fake::FAKE;
use crate::oracle::Verdict;
use crate::play::Observer;
use crate::record::{StepResult, micros};
use crate::report::{Report, table};
use crate::scenario::Scenario;
use crate::scenario::plan::kebab;
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
    fake: bool,
    /// Before each line, when several scenarios play side by side.
    prefix: String,
    titles: Mutex<(usize, String)>,
}

impl Teller {
    /// A teller for one scenario, whose name and summary it says first. With others beside it (`beside`) each line bears
    /// the scenario's name, and none is ever drawn anew.
    pub fn new(scenario: &Scenario, fake: bool, beside: bool) -> Teller {
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
            fake,
            prefix: if beside {
                format!("{}: ", scenario.name())
            } else {
                String::new()
            },
            live: std::io::stderr().is_terminal() && !fake && !beside,
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
            "{}{} {:>2}/{total} {title}: {detail} ({took})",
            self.prefix,
            sign.for_stderr(),
            step + 1
        );
    }

    fn waiting(&self, reason: &str, so_far: Duration) {
        if !self.fake {
            self.note(&format!("waiting since {}: {reason}", readable(micros(so_far))));
        }
    }

    fn note(&self, text: &str) {
        match self.bar().as_ref() {
            Some(bar) => bar.println(format!("• {text}")),
            None => eprintln!("{}• {text}", self.prefix),
        }
    }
}

/// What became of one scenario.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It was played and judged.
    Judged(Box<Report>),
    /// It was not.
    NotPlayed {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// There was no time left to begin it, as was asked for.
    LeftOut {
        /// Its name.
        name: String,
    },
    /// It was under way when the time was up, as was asked for.
    BrokenOff {
        /// Its name.
        name: String,
    },
}

impl Ended {
    /// A scenario that was not played, or whose record or report could not be written.
    pub fn not_played(scenario: &Scenario, why: impl Into<String>) -> Ended {
        Ended::NotPlayed {
            name: scenario.name().to_owned(),
            why: why.into(),
        }
    }

    /// A scenario for which there was no time.
    pub fn left_out(scenario: &Scenario) -> Ended {
        Ended::LeftOut {
            name: scenario.name().to_owned(),
        }
    }

    /// A scenario whose time ended before it did.
    pub fn broken_off(scenario: &Scenario) -> Ended {
        Ended::BrokenOff {
            name: scenario.name().to_owned(),
        }
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        match self {
            Ended::Judged(report) => &report.scenario,
            Ended::NotPlayed { name, .. } | Ended::LeftOut { name } | Ended::BrokenOff { name } => name,
        }
    }

    /// How it counts for the exit status.
    pub fn exit(&self) -> Exit {
        match self {
            Ended::Judged(report) => exit_of(report.verdict),
            Ended::NotPlayed { .. } => Exit::Environment,
            Ended::LeftOut { .. } | Ended::BrokenOff { .. } => Exit::Holds,
        }
    }
}

/// Says the verdict of one scenario in words.
pub fn verdict(report: &Report) {
    eprintln!("{}", report.words);
}

/// The tables of all scenarios: what real machines showed, then what the simulation did.
pub fn closing(ended: &[Ended], options: &Options) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let judged = ended.iter().filter_map(|ended| match ended {
        Ended::Judged(report) => Some(report.as_ref().clone()),
        Ended::NotPlayed { .. } | Ended::LeftOut { .. } | Ended::BrokenOff { .. } => None,
    });
    let (simulated, real): (Vec<Report>, Vec<Report>) = judged.partition(|report| report.fleet == FAKE);
    if !real.is_empty() {
        println!("\n{}", table(&real, colour).trim_end());
    }
    if !simulated.is_empty() {
        println!("\nOn the simulation (shows the scenarios and the checks, not the cluster):");
        println!("{}", table(&simulated, colour).trim_end());
    }
    for missing in ended {
        if let Ended::NotPlayed { name, why } = missing {
            println!("\n{name} was not played: {why}");
        }
    }
    let left_out = names(ended, |ended| matches!(ended, Ended::LeftOut { .. }));
    if !left_out.is_empty() {
        println!(
            "\nnot begun within the time, so nothing is known of them: {}",
            left_out.join(", ")
        );
    }
    let broken_off = names(ended, |ended| matches!(ended, Ended::BrokenOff { .. }));
    if !broken_off.is_empty() {
        println!(
            "\nbroken off when the time was up, so nothing is known of them: {}",
            broken_off.join(", ")
        );
    }
    let passed = real
        .iter()
        .chain(&simulated)
        .filter(|report| report.verdict == Verdict::Pass)
        .count();
    println!(
        "\n{passed} of {} passed; reports in {}",
        ended.len() - left_out.len() - broken_off.len(),
        options.report.display()
    );
}

/// The names of those of which this is true.
fn names(ended: &[Ended], what: impl Fn(&Ended) -> bool) -> Vec<&str> {
    ended.iter().filter(|ended| what(ended)).map(Ended::name).collect()
}

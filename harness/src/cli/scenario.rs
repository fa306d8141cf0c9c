//! `harness scenario`: which scenarios play where, one booted cluster for as many of them as possible.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::exit::Exit;
use super::library::{self, Entry, Shelf, Unusable};
use super::session::{self, Group, Options};
use super::terminal;
use crate::fleet::ClusterFile;
use crate::scenario::Stage;

/// What to play and how.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ScenarioArgs {
    /// Scenarios by name, or paths of their files
    #[arg(value_name = "NAME|FILE", required_unless_present_any = ["all", "must_fail"])]
    scenarios: Vec<String>,
    /// Every scenario, and every one that must fail
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Every scenario that must fail: each has a planted defect, and passes only if it fails for that reason
    #[arg(long, conflicts_with_all = ["scenarios", "all"])]
    must_fail: bool,
    /// Play on this cluster instead of the one that the scenario names
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Seed of everything random; printed when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Boot from the images even when a faster way is at hand
    #[arg(long)]
    cold: bool,
    /// Folder for events, reports, consoles and journals [default: report/TIME-NAME]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Leave the last cluster running when all is done, until Ctrl-C
    #[arg(long, conflicts_with = "fake")]
    keep: bool,
    /// Play on the simulation: for writing scenarios. It says nothing about real machines
    #[arg(long)]
    fake: bool,
}

const EXAMPLES: &str = "\
Examples:
  harness scenario failover
  harness scenario failover mail-fallback        one booted cluster serves both
  harness scenario --all --report report/ci      for CI: everything lies in that folder
  harness scenario failover --cluster mine.toml  your own cluster description
  harness scenario --fake my-scenario.toml       on the simulation, in a second
  harness scenario --must-fail                   shows that every check can fail";

/// Plays what was asked for.
///
/// # Errors
/// A scenario or a cluster cannot be read.
pub fn run(args: &ScenarioArgs) -> Result<Exit, Unusable> {
    let color = super::color_on_stderr();
    let mut entries = Vec::new();
    for word in &args.scenarios {
        entries.push(library::find(word, color)?);
    }
    if args.all {
        entries.extend(library::all(Shelf::Plain, color)?);
    }
    if args.all || args.must_fail {
        entries.extend(library::all(Shelf::MustFail, color)?);
    }
    let title = title(args, &entries);
    let groups = group(entries, args, color)?;
    let (time, seconds) = now();
    let options = Options {
        seed: args.seed.unwrap_or_else(rand::random),
        report: args
            .report
            .clone()
            .unwrap_or_else(|| Path::new("report").join(format!("{time}-{title}"))),
        cold: args.cold,
        keep: args.keep,
        mark: format!("r{seconds:x}"),
    };
    terminal::opening(&groups, &options);
    session::run(groups, &options)
}

/// Names the report folder.
fn title(args: &ScenarioArgs, entries: &[Entry]) -> String {
    match entries {
        [one] => one.scenario().name().to_owned(),
        _ if args.all => "all".into(),
        _ if args.must_fail => "must-fail".into(),
        [first, ..] => format!("{}-and-{}-more", first.scenario().name(), entries.len() - 1),
        [] => "nothing".into(),
    }
}

/// Scenarios that can share a cluster play on it one after the other. One with a defect has a simulation of its own.
fn group(entries: Vec<Entry>, args: &ScenarioArgs, color: bool) -> Result<Vec<Group>, Unusable> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        let cluster: ClusterFile = entry.cluster(args.cluster.as_deref(), color)?;
        let fake = args.fake || entry.scenario().stage() == Stage::Fake;
        let defect = entry.scenario().defect();
        // Machines are expensive, simulations are not: each scenario on the simulation has a fresh one.
        let shared = groups
            .iter_mut()
            .find(|group| !fake && !group.fake && group.cluster == cluster);
        match shared {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group {
                cluster,
                fake,
                defect,
                entries: vec![entry],
            }),
        }
    }
    // Real machines first: what takes long and can fail for many reasons is seen early.
    groups.sort_by_key(|group| group.fake);
    Ok(groups)
}

/// The time in UTC as `20260131-235959`, and in seconds since 1970.
fn now() -> (String, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    let digits: String = text
        .chars()
        .filter(|letter| letter.is_ascii_digit() || *letter == 'T')
        .collect();
    (digits.replace('T', "-"), since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Entry {
        library::find(name, false).expect("a built-in scenario")
    }

    fn args(fake: bool) -> ScenarioArgs {
        ScenarioArgs {
            scenarios: Vec::new(),
            all: false,
            must_fail: false,
            cluster: None,
            seed: None,
            cold: false,
            report: None,
            keep: false,
            fake,
        }
    }

    fn names(groups: &[Group]) -> Vec<Vec<&str>> {
        groups
            .iter()
            .map(|group| group.entries.iter().map(|entry| entry.scenario().name()).collect())
            .collect()
    }

    #[test]
    fn one_booted_cluster_serves_all_scenarios_that_name_it() {
        let entries = vec![entry("failover"), entry("mx-backup"), entry("partition")];
        let groups = group(entries, &args(false), false).expect("valid clusters");
        assert_eq!(names(&groups), [vec!["failover", "partition"], vec!["mx-backup"]]);
    }

    #[test]
    fn each_simulated_scenario_has_a_cluster_of_its_own() {
        let entries = vec![entry("failover"), entry("partition")];
        let groups = group(entries, &args(true), false).expect("valid clusters");
        assert_eq!(names(&groups), [vec!["failover"], vec!["partition"]]);
    }
}

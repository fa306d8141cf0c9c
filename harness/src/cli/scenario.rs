//! `harness scenario`: which scenarios play where. Those that name the same cluster play on copies of one restore point.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::exit::Exit;
use super::jobs;
use super::library::{self, Entry, Shelf, Unusable};
use super::machines::MachineArgs;
use super::session::{self, Group, Options};
use super::shard::Shard;
use super::terminal;
use crate::scenario::Stage;
use crate::units::Span;

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
    /// With --all: those that take many minutes on machines, too
    #[arg(long, requires = "all")]
    long: bool,
    /// Every scenario that must fail: each has a planted defect, and passes only if it fails for that reason
    #[arg(long, conflicts_with_all = ["scenarios", "all"])]
    must_fail: bool,
    /// Play on this cluster instead of the one that the scenario names
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Seed of everything random; printed when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Play each scenario N times, with seeds from --seed upwards; the seed is told in each one's name
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Boot from the images instead of going on from a restore point; one booted cluster serves all scenarios
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    machines: MachineArgs,
    /// How many scenarios play side by side, each on its own copy of the cluster [default: by processors and memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "cold")]
    jobs: Option<u16>,
    /// Play the I-th of N parts of the scenarios, chosen by their names: for several CI machines, e.g. 2/3
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Begin no scenario on machines after this long, e.g. 60m; those left out are named, and count neither way
    #[arg(long, value_name = "TIME")]
    begin_within: Option<Span>,
    /// Break off what still plays on machines after this long, e.g. 80m; it is named, and counts neither way
    #[arg(long, value_name = "TIME")]
    end_within: Option<Span>,
    /// Folder for events, reports, consoles and journals [default: report/TIME-NAME]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Leave the last cluster running when all is done, until Ctrl-C
    #[arg(long, conflicts_with = "fake")]
    keep: bool,
    /// Play on the simulation: for writing scenarios. It says nothing about real machines
    #[arg(long, conflicts_with = "processors")]
    fake: bool,
}

const EXAMPLES: &str = "\
Examples:
  harness scenario failover
  harness scenario failover mail-fallback        each on a fresh copy of the same cluster
  harness scenario --all --report report/ci      for CI: everything lies in that folder
  harness scenario failover --cluster mine.toml  your own cluster description
  harness scenario store-takeover --rounds 20    the power goes at twenty different moments
  harness scenario --all --long                  those that take many minutes each, too
  harness scenario --all --jobs 4 --shard 2/3    four at a time, the second third of all
  harness scenario --all --begin-within 40m --end-within 70m
                                                 for CI with a limit: as much as there is time for
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
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut entries = rounds(without_long(playable(entries, args)?, args), args.rounds, seed);
    if let Some(shard) = &args.shard {
        entries.retain(|entry| shard.holds(entry.scenario().name()));
    }
    let groups = group(entries, args, color)?;
    let (time, seconds) = now();
    let options = Options {
        seed,
        report: args
            .report
            .clone()
            .unwrap_or_else(|| Path::new("report").join(format!("{time}-{title}"))),
        cold: args.cold,
        processors: args.machines.processors,
        keep: args.keep,
        begin_until: args.begin_within.map(|Span(within)| Instant::now() + within),
        end_until: args.end_within.map(|Span(within)| Instant::now() + within),
        jobs: args
            .jobs
            .map_or_else(|| jobs::by_host(args.machines.processors), usize::from),
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

/// What plays on machines only cannot be simulated: left out of a whole suite, refused when it was asked for by name.
fn playable(entries: Vec<Entry>, args: &ScenarioArgs) -> Result<Vec<Entry>, Unusable> {
    let on_machines = |entry: &Entry| entry.scenario().stage() == Stage::Machines;
    if !args.fake || !entries.iter().any(on_machines) {
        return Ok(entries);
    }
    let (left_out, playable): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(on_machines);
    let names: Vec<&str> = left_out.iter().map(|entry| entry.scenario().name()).collect();
    let names = names.join(", ");
    if !args.scenarios.is_empty() {
        return Err(Unusable(format!(
            "error: these play on real machines only: {names}\nhelp: leave out --fake\n"
        )));
    }
    eprintln!("left out, they play on real machines only: {names}");
    Ok(playable)
}

/// A suite on machines has an end within reach: what takes many minutes is named, and left out.
fn without_long(entries: Vec<Entry>, args: &ScenarioArgs) -> Vec<Entry> {
    if !args.all || args.long || args.fake {
        return entries;
    }
    let (left_out, rest): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.scenario().takes_long());
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|entry| entry.scenario().name()).collect();
        eprintln!(
            "left out, they take many minutes each (--long plays them, too): {}",
            names.join(", ")
        );
    }
    rest
}

/// Each scenario as often as wanted, one seed after the other; once, it keeps its name and the seed of all.
fn rounds(entries: Vec<Entry>, rounds: Option<u16>, first: u64) -> Vec<Entry> {
    let Some(rounds) = rounds else { return entries };
    let each = |entry: &Entry| -> Vec<Entry> {
        let seeds = (0..u64::from(rounds)).map(|round| first.wrapping_add(round));
        seeds.map(|seed| entry.with_seed(seed)).collect()
    };
    entries.iter().flat_map(each).collect()
}

/// Scenarios that can share a cluster play on it one after the other. One with a defect has a simulation of its own.
fn group(entries: Vec<Entry>, args: &ScenarioArgs, color: bool) -> Result<Vec<Group>, Unusable> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        let (cluster, entry) = entry.placed(args.cluster.as_deref(), color)?;
        let fake = args.fake || entry.scenario().stage() == Stage::Fake;
        let defect = entry.scenario().defect();
        let planted = entry.scenario().head.must_fail.is_some();
        // Machines are expensive, simulations are not: each scenario on the simulation has a fresh one.
        let shared = groups
            .iter_mut()
            .find(|group| !fake && !group.fake && group.cluster == cluster && group.is_planted() == planted);
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
    // Real machines first: what takes long and can fail for many reasons is seen early; of it the clusters on which most is
    // played, and planted defects last.
    groups.sort_by_key(|group| (group.fake, group.is_planted(), Reverse(group.entries.len())));
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
            long: false,
            must_fail: false,
            cluster: None,
            seed: None,
            rounds: None,
            cold: false,
            machines: MachineArgs { processors: 1 },
            report: None,
            keep: false,
            jobs: None,
            shard: None,
            begin_within: None,
            end_within: None,
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
    fn what_plays_on_machines_only_is_left_out_of_a_simulated_suite() {
        let entries = vec![entry("failover"), entry("real-ledger-lost")];
        let suite = ScenarioArgs {
            all: true,
            ..args(true)
        };
        let left = playable(entries, &suite).expect("a suite leaves it out");
        let left: Vec<&str> = left.iter().map(|entry| entry.scenario().name()).collect();
        assert_eq!(left, ["failover"]);
    }

    #[test]
    fn what_plays_on_machines_only_is_refused_on_the_simulation_when_it_was_asked_for_by_name() {
        let named = ScenarioArgs {
            scenarios: vec!["real-ledger-lost".into()],
            ..args(true)
        };
        let refused = playable(vec![entry("real-ledger-lost")], &named).expect_err("it cannot be simulated");
        assert_eq!(
            refused.0,
            "error: these play on real machines only: real-ledger-lost\nhelp: leave out --fake\n"
        );
    }

    #[test]
    fn a_scenario_is_played_with_one_seed_after_the_other_and_named_by_them() {
        let played = rounds(vec![entry("failover")], Some(3), 7);
        let played: Vec<_> = played
            .iter()
            .map(|entry| (entry.scenario().name(), entry.seed()))
            .collect();
        let expected = [
            ("failover-seed-7", Some(7)),
            ("failover-seed-8", Some(8)),
            ("failover-seed-9", Some(9)),
        ];
        assert_eq!(played, expected);
    }

    #[test]
    fn without_rounds_a_scenario_keeps_its_name_and_the_seed_of_all() {
        let played = rounds(vec![entry("failover")], None, 7);
        assert_eq!((played[0].scenario().name(), played[0].seed()), ("failover", None));
    }

    fn left(suite: ScenarioArgs) -> Vec<String> {
        let left = without_long(vec![entry("failover"), entry("store-zil-tail")], &suite);
        left.iter().map(|entry| entry.scenario().name().to_owned()).collect()
    }

    #[test]
    fn what_takes_long_is_left_out_of_a_suite_on_machines_unless_it_is_wanted() {
        let suite = |fake, long| ScenarioArgs {
            all: true,
            long,
            ..args(fake)
        };
        assert_eq!(left(suite(false, false)), ["failover"]);
        assert_eq!(left(suite(false, true)), ["failover", "store-zil-tail"]);
        assert_eq!(
            left(suite(true, false)),
            ["failover", "store-zil-tail"],
            "a simulation takes seconds"
        );
    }

    #[test]
    fn what_takes_long_plays_when_it_was_asked_for_by_name() {
        assert_eq!(left(args(false)), ["failover", "store-zil-tail"]);
    }

    #[test]
    fn each_simulated_scenario_has_a_cluster_of_its_own() {
        let entries = vec![entry("failover"), entry("partition")];
        let groups = group(entries, &args(true), false).expect("valid clusters");
        assert_eq!(names(&groups), [vec!["failover"], vec!["partition"]]);
    }
}

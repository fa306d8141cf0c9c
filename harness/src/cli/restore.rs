//! `harness restore list|prune`: the restore points in the cache.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use super::exit::Exit;
use crate::restore::{Listed, Points, RestoreError};
use crate::tools::cache::Cache;
use crate::units::Span;

/// Arguments of `harness restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RestoreArgs {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
A restore point is a healthy cluster, frozen into files: scenarios go on from it instead of booting. It is made by the
first scenario of a cluster, and made anew when QEMU, an image, a machine's size or a generated file changes. Those that
were not used for the longest time are removed by themselves once all take more than HARNESS_RESTORE_LIMIT (20 GiB).

Examples:
  harness restore list
  harness restore prune --unused 7d     what no scenario has used for a week
  harness restore prune --all           the next scenario boots again";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the restore points with their sizes and ages
    List,
    /// Remove restore points; one that a running cluster uses stays
    Prune {
        /// All of them
        #[arg(long)]
        all: bool,
        /// Those that were not used for this long, e.g. 7d
        #[arg(long, value_name = "TIME", conflicts_with = "all")]
        unused: Option<Span>,
        /// The ones unused for the longest time, until the rest takes at most this, e.g. 5GiB
        #[arg(long, value_name = "SIZE", conflicts_with_all = ["all", "unused"])]
        down_to: Option<ByteSize>,
    },
}

/// Runs the verb.
pub fn run(args: &RestoreArgs) -> Exit {
    match work(args) {
        Ok(text) => {
            super::say(text);
            Exit::Holds
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Environment
        }
    }
}

fn work(args: &RestoreArgs) -> Result<String, RestoreError> {
    let cache = Cache::open()?;
    let root = cache.root().display().to_string();
    let points = Points::new(cache);
    match &args.verb {
        Verb::List => Ok(table(&points.list()?, &root)),
        Verb::Prune { all, unused, down_to } => {
            for name in points.clear_leftovers()? {
                eprintln!("removed {name}, which was never finished");
            }
            let listed = points.list()?;
            let removed = match (all, unused, down_to) {
                (true, ..) => remove(&points, &listed, |_| true)?,
                (_, Some(unused), _) => remove(&points, &listed, |point| point.unused >= unused.0)?,
                (_, _, Some(size)) => points.shrink(size.as_u64())?,
                (false, None, None) => points.shrink(crate::restore::limit()?)?,
            };
            Ok(freed(&listed, &removed))
        }
    }
}

fn remove(points: &Points, listed: &[Listed], wanted: impl Fn(&Listed) -> bool) -> Result<Vec<String>, RestoreError> {
    let mut removed = Vec::new();
    for point in listed.iter().filter(|point| wanted(point)) {
        if points.remove_named(&point.name)? {
            removed.push(point.name.clone());
        }
    }
    Ok(removed)
}

fn table(listed: &[Listed], root: &str) -> String {
    if listed.is_empty() {
        return format!("no restore points in {root}; the first scenario of a cluster makes one\n");
    }
    let lines = listed.iter().map(|point| {
        format!(
            "{:<28} {:>10}  made {:>8} ago, used {:>8} ago  {}\n",
            point.name,
            ByteSize(point.bytes).to_string(),
            coarse(point.age),
            coarse(point.unused),
            point.title
        )
    });
    lines.collect()
}

fn freed(listed: &[Listed], removed: &[String]) -> String {
    let bytes: u64 = listed
        .iter()
        .filter(|point| removed.contains(&point.name))
        .map(|point| point.bytes)
        .sum();
    let mut text: String = removed.iter().map(|name| format!("removed {name}\n")).collect();
    text += &format!("{} freed, {} kept\n", ByteSize(bytes), listed.len() - removed.len());
    text
}

/// An age in its one or two largest units.
fn coarse(age: Duration) -> String {
    let unit = match age.as_secs() {
        0..3600 => 1,
        3600..86_400 => 60,
        _ => 3600,
    };
    let rounded = Duration::from_secs(age.as_secs() / unit * unit);
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, bytes: u64, seconds: u64) -> Listed {
        Listed {
            name: name.into(),
            title: "cluster pair".into(),
            bytes,
            age: Duration::from_secs(seconds * 2),
            unused: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn the_list_shows_size_ages_and_cluster() {
        let text = table(
            &[
                point("configured-0123", 1_300_000_000, 4000),
                point("base-4567", 250_000_000, 90),
            ],
            "",
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_empty_list_says_how_points_are_made() {
        assert_eq!(
            table(&[], "/cache"),
            "no restore points in /cache; the first scenario of a cluster makes one\n"
        );
    }

    #[test]
    fn pruning_says_what_it_freed_and_kept() {
        let listed = [
            point("configured-0123", 1_300_000_000, 4000),
            point("base-4567", 250_000_000, 90),
        ];
        insta::assert_snapshot!(freed(&listed, &["configured-0123".to_owned()]));
    }
}

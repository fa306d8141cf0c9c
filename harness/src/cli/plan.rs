//! `harness plan NAME`: the steps of a scenario in words, without booting anything.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::library::{self, Unusable};
use crate::scenario::Plan;

/// What to show.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Scenario by name, or the path of its file
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Check it against this cluster instead of the one it names
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
}

/// Prints the plan, after checking that the cluster has everything that the scenario names.
pub fn run(args: &PlanArgs) -> Result<Exit, Unusable> {
    let color = super::color_on_stderr();
    let entry = library::find(&args.scenario, color)?;
    let (_, entry) = entry.placed(args.cluster.as_deref(), color)?;
    super::say(Plan::of(entry.scenario()));
    Ok(Exit::Holds)
}

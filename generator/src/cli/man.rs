//! `generator man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Outcome, Status, count};

const EXAMPLES: &str = "\
Example:
  generator man --out ~/.local/share/man/man1 && man generator-render";

/// Write manual pages, one for the program and one for each verb
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The folder; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Outcome> {
    let failed = |e: std::io::Error| Outcome::fault(Status::Environment, format!("{}: {e}", args.out.display()));
    std::fs::create_dir_all(&args.out).map_err(failed)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = 0;
    let mut todo = vec![program];
    while let Some(command) = todo.pop() {
        todo.extend(command.get_subcommands().cloned());
        clap_mangen::Man::new(command).generate_to(&args.out).map_err(failed)?;
        pages += 1;
    }
    Ok(Outcome::holds(format!(
        "{}: {}\n",
        args.out.display(),
        count(pages, "page")
    )))
}

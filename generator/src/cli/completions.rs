//! `generator completions`: completions for a shell.

use clap::CommandFactory;

use super::{Cli, Outcome};

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  generator completions bash > ~/.local/share/bash-completion/completions/generator")]
pub(super) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "generator", &mut script);
    Ok(Outcome::holds(String::from_utf8_lossy(&script)))
}

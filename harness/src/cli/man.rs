//! `harness man`: manual pages.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::say;

/// Arguments of `harness man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  harness man --out ~/.local/share/man/man1 && man harness-scenario")]
pub struct ManArgs {
    /// The folder; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the verb for a program.
pub fn run(args: &ManArgs, program: clap::Command) -> Exit {
    let written = std::fs::create_dir_all(&args.out).and_then(|()| clap_mangen::generate_to(program, &args.out));
    match written {
        Ok(()) => {
            say(format_args!(
                "{}: harness.1 and one page for each verb\n",
                args.out.display()
            ));
            Exit::Holds
        }
        Err(error) => {
            eprintln!("error: {}: {error}", args.out.display());
            Exit::Environment
        }
    }
}

//! The command line: one file a verb.
//!
//! A verb gives an [`Outcome`] and prints nothing itself; only [`main`] writes to the terminal.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod agent;
mod check;
mod completions;
mod diff;
mod keys;
mod man;
mod render;
mod rules;
mod schema;
mod secrets;

const STATUSES: &str = "\
Exit status:
  0  it holds: no error was found, the files were written, nothing differs
  1  it does not hold: the check found an error, the live files differ
  3  the input is bad: the message shows file, line and caret
  4  the environment is at fault: the message says what mends it";

const START: &str = "\
Start here:
  generator check cluster.toml                   what would an expert object to?
  generator secrets init cluster.toml --secrets files/secrets.toml
                                                 passwords, keys and certificates, once
  generator render cluster.toml --out files      every file of every node
  generator diff cluster.toml --node mail1 --root / --secrets files/secrets.toml
                                                 what would change on this machine?";

/// Checks the description of a highly available mail cluster and renders every file of its nodes.
#[derive(Debug, Parser)]
#[command(name = "generator", version)]
#[command(after_help = START, after_long_help = format!("{START}\n\n{STATUSES}"))]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Secrets(secrets::Args),
    Render(render::Args),
    Diff(diff::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The exit status of the contract. 2 (inconclusive) cannot happen here: a check always comes to a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Holds = 0,
    Fails = 1,
    BadInput = 3,
    Environment = 4,
}

/// What a verb leaves: a status, the result, and messages beside it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: Status,
    /// For standard output.
    out: String,
    /// For standard error.
    err: String,
}

impl Outcome {
    fn holds(out: impl Into<String>) -> Outcome {
        Outcome {
            status: Status::Holds,
            out: out.into(),
            err: String::new(),
        }
    }

    /// A message that ends the verb; gets `error: ` before it unless it is a rendered diagnostic.
    fn fault(status: Status, message: impl std::fmt::Display) -> Outcome {
        Outcome {
            status,
            out: String::new(),
            err: format!("error: {message}\n"),
        }
    }
}

/// Whether each stream takes colour.
#[derive(Debug, Clone, Copy)]
struct Colors {
    out: bool,
    err: bool,
}

impl Colors {
    /// A terminal takes it unless `NO_COLOR` is set (no-color.org).
    fn of_terminal() -> Colors {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Colors {
            out: wanted && std::io::stdout().is_terminal(),
            err: wanted && std::io::stderr().is_terminal(),
        }
    }
}

/// Parses the arguments, runs the verb and gives the exit status of the contract.
pub fn main() -> ExitCode {
    let outcome = run(std::env::args_os(), Colors::of_terminal());
    // A reader that has seen enough closes the pipe; that is not a failure of the verb.
    let _ = std::io::stderr().write_all(outcome.err.as_bytes());
    let _ = std::io::stdout().write_all(outcome.out.as_bytes());
    ExitCode::from(outcome.status as u8)
}

fn run(arguments: impl IntoIterator<Item = OsString>, colors: Colors) -> Outcome {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.render();
            let err = if colors.err {
                text.ansi().to_string()
            } else {
                text.to_string()
            };
            return Outcome {
                status: Status::BadInput,
                out: String::new(),
                err,
            };
        }
        Err(help) => {
            let text = help.render();
            return Outcome::holds(if colors.out {
                text.ansi().to_string()
            } else {
                text.to_string()
            });
        }
    };
    let result = match cli.verb {
        Verb::Check(args) => check::run(&args, colors),
        Verb::Render(args) => render::run(&args, colors),
        Verb::Secrets(args) => secrets::run(&args, colors),
        Verb::Diff(args) => diff::run(&args, colors),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    };
    result.unwrap_or_else(|fault| fault)
}

/// Reads a description, or says why it cannot be used.
fn load(path: &std::path::Path, colors: Colors) -> Result<crate::spec::Loaded, Outcome> {
    crate::spec::Cluster::load(path).map_err(|e| Outcome {
        status: Status::BadInput,
        out: String::new(),
        err: e.render(colors.err),
    })
}

/// "1 error", "2 warnings".
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

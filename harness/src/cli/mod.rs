//! The command line: one file a verb; here only the arguments and the dispatch.

mod bench;
mod doctor;
mod exit;
mod image;
mod interrupt;
mod jobs;
mod library;
mod list;
mod live;
mod machines;
mod man;
mod plan;
mod restore;
mod scenario;
mod session;
mod shard;
mod shell;
mod terminal;
mod up;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::exit::Exit;
use self::library::Unusable;

/// Boots the generated files of a mail cluster on virtual machines, breaks the cluster by script, and says with recorded
/// evidence whether it kept its promises.
#[derive(Debug, Parser)]
#[command(name = "harness", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  harness scenario failover            the main job: kill the primary, see everything go on
  harness plan failover                what that will do, in words, without doing it
  harness scenario --all               every scenario, and every planted defect
  harness scenario --fake my.toml      try a new scenario on the simulation, in a second
  harness up                           a live cluster to look at and to break by hand

Exit status: 0 it holds; 1 it does not; 2 inconclusive; 3 the input is bad; 4 the environment is at fault; 130 Ctrl-C.";

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Play scenarios and judge them
    Scenario(scenario::ScenarioArgs),
    /// Show all scenarios, what they show, and what they promise
    List,
    /// Show the steps of a scenario in words, without booting anything
    Plan(plan::PlanArgs),
    /// Start a cluster that keeps running, with ports forwarded to 127.0.0.1
    Up(up::UpArgs),
    /// Show what ails a live cluster, what is broken, and how it is reached
    Status(live::Which),
    /// Open a shell on a node of a live cluster, in this terminal
    Shell(shell::ShellArgs),
    /// Run a command on a node of a live cluster, with its own output and status
    Exec(live::ExecArgs),
    /// Break something in a live cluster, as scenarios do
    Fault(live::FaultArgs),
    /// Mend what is broken in a live cluster
    Heal(live::HealArgs),
    /// Show the journal of a node of a live cluster
    Logs(live::LogsArgs),
    /// End a live cluster
    Down(live::Which),
    /// Build, show and remove the machines' disk images
    Image(image::ImageArgs),
    /// Show and remove restore points: clusters frozen into files, from which scenarios go on
    Restore(restore::RestoreArgs),
    /// Show what is found on this host, and how to mend what is missing
    Doctor(doctor::DoctorArgs),
    /// Measure how fast a cluster starts, what its copies cost in memory, and what the switch carries
    Bench(bench::BenchArgs),
    /// Print the JSON Schema of scenario files, for editors
    Schema,
    /// Write manual pages, one for the program and one for each verb
    Man(man::ManArgs),
    /// Print the completion script for a shell
    ///
    /// bash: harness completions bash > ~/.local/share/bash-completion/completions/harness
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Parses the arguments, runs the verb and gives the exit status of the contract.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // A closed terminal is no reason for another status.
            let _ = told.print();
            return if told.use_stderr() { Exit::Input } else { Exit::Holds }.into();
        }
    };
    let exit = match dispatch(cli.verb) {
        Ok(exit) => exit,
        Err(unusable) => {
            eprint!("{unusable}");
            Exit::Input
        }
    };
    exit.into()
}

/// Prints what a verb is asked for. A reader that has seen enough and closes the pipe, as head(1) does, is no error.
fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = write!(std::io::stdout().lock(), "{text}");
}

fn dispatch(verb: Verb) -> Result<Exit, Unusable> {
    match verb {
        Verb::Scenario(args) => scenario::run(&args),
        Verb::List => list::run(),
        Verb::Plan(args) => plan::run(&args),
        Verb::Up(args) => up::run(&args),
        Verb::Status(which) => live::status(&which),
        Verb::Shell(args) => shell::run(&args),
        Verb::Exec(args) => live::exec(&args),
        Verb::Fault(args) => live::fault(&args),
        Verb::Heal(args) => live::heal(&args),
        Verb::Logs(args) => live::logs(&args),
        Verb::Down(which) => live::down(&which),
        Verb::Image(args) => Ok(image::run(args)),
        Verb::Restore(args) => Ok(restore::run(&args)),
        Verb::Doctor(args) => Ok(doctor::run(args)),
        Verb::Bench(args) => bench::run(&args),
        Verb::Schema => {
            say(format_args!("{:#}\n", crate::scenario::schema::schema()));
            Ok(Exit::Holds)
        }
        Verb::Man(args) => Ok(man::run(&args, Cli::command())),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "harness", &mut std::io::stdout());
            Ok(Exit::Holds)
        }
    }
}

/// True if messages may be coloured.
fn color_on_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

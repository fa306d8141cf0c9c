//! The command line: here only the arguments and the dispatch.
//!
//! Exit status: 0 it is done; 1 it is refused or has failed, and the text says why; 3 the configuration is bad; 4 the daemon
//! does not run, or the environment is at fault.

mod release;
mod run;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::control::{self, Verb};

const STATUSES: &str = "Exit status: 0 it is done; 1 it is refused or has failed, and the text says why; \
3 the configuration is bad; 4 the daemon does not run, or the environment is at fault";

/// Keeps one ZFS mail dataset in step on two nodes. Which of them is the writer is decided by an engine, which calls
/// `promote` and `demote`.
#[derive(Debug, Parser)]
#[command(name = "cluster-store", version, max_term_width = 100, after_help = STATUSES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, default_value = "/etc/cluster-store/store.toml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: CliVerb,
}

#[derive(Debug, Subcommand)]
enum CliVerb {
    /// Run the daemon (systemd: Type=notify)
    Run,
    /// Read the configuration and say whether it can be used
    Check,
    /// Say how this node stands
    Status(StatusArgs),
    /// Make this node the writer; the other one must have been demoted, or be dead for certain.
    ///
    /// Refused while the other node is the writer or has newer mail that is on its way, and on a node that knows that mail is
    /// missing here: it has no whole copy, or it has heard that the other one has acknowledged mail that it lacks. This
    /// knowledge lies in the pool and outlives a crash. What happened while this node was off or cut off it cannot know.
    Promote(PromoteArgs),
    /// Make this node standby; returns once the peer has everything, or cannot have it
    Demote,
    /// Put the mail dataset of this standby aside and take a new copy of the writer's
    Reseed,
    /// Make a release of the configuration, and give it to the other node.
    ///
    /// On the writer. The release has a dataset of its own on both nodes; the other one holds each file against its checksum.
    /// Nothing is installed. The same files again are the same release.
    Release(release::ReleaseArgs),
    /// Say which releases there are on both nodes, and which is in place
    Releases(release::ReleasesArgs),
    /// Install a release: on the standby, and if that went well on this node, the writer.
    ///
    /// Each node runs its own bundle's `install`, which changes nothing before every daemon's checker has accepted the new
    /// files. If the standby fails the writer stays as it is. May be repeated after an interruption.
    InstallRelease(release::InstallArgs),
    /// Take back the release that was installed last: on the standby, then on this node, the writer
    BackOut,
    /// What the transient unit of an installation runs
    #[command(hide = true)]
    CarryOut(release::CarryOutArgs),
}

#[derive(Debug, Args)]
struct PromoteArgs {
    /// THE OTHER NODE IS LOST FOR GOOD: go on with what is here, even if acknowledged mail is missing, or with an empty
    /// store if there is none. No help against a peer that answers
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// For programs
    #[arg(long)]
    json: bool,
}

const FAILED: u8 = 1;
const BAD_INPUT: u8 = 3;
const ENVIRONMENT: u8 = 4;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::read(&cli.config) {
        Ok(config) => config,
        Err(error) => return say(BAD_INPUT, &error.to_string()),
    };
    let verb = match cli.verb {
        CliVerb::Run => return run::run(config, &cli.config),
        CliVerb::Check => return check(&config),
        CliVerb::Status(args) if args.json => return ask(&config, Verb::Status, true),
        CliVerb::Status(_) => Verb::Status,
        CliVerb::Promote(PromoteArgs { force: false }) => Verb::Promote,
        CliVerb::Promote(PromoteArgs { force: true }) => Verb::ForcePromote,
        CliVerb::Demote => Verb::Demote,
        CliVerb::Reseed => Verb::Reseed,
        CliVerb::Release(args) => return release::make(&config, &cli.config, &args),
        CliVerb::Releases(args) => return release::list(&config, &cli.config, &args),
        CliVerb::InstallRelease(args) => return release::install(&config, &cli.config, &args),
        CliVerb::BackOut => return release::back_out(&config, &cli.config),
        CliVerb::CarryOut(args) => return release::carry_out(&config, &cli.config, &args),
    };
    ask(&config, verb, false)
}

fn say(code: u8, text: &str) -> ExitCode {
    eprintln!("cluster-store: {text}");
    ExitCode::from(code)
}

/// Prints for people; who reads may stop when they have seen enough (`cluster-store status | head -1`).
fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn check(config: &Config) -> ExitCode {
    match crate::link::Tls::new(config) {
        Ok(_) => {
            tell("The configuration can be used.");
            ExitCode::SUCCESS
        }
        Err(error) => say(BAD_INPUT, &error.to_string()),
    }
}

fn ask(config: &Config, verb: Verb, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(ENVIRONMENT, &error.to_string()),
    };
    let reply = match runtime.block_on(control::ask(&config.control, verb)) {
        Ok(reply) => reply,
        Err(error) => {
            let text = format!("the daemon does not answer on {}: {error}", config.control.display());
            return say(
                ENVIRONMENT,
                &format!("{text}\nIt is started by: systemctl start cluster-store"),
            );
        }
    };
    if !reply.ok {
        return say(FAILED, &reply.text);
    }
    match (verb, json) {
        (Verb::Status, true) => match serde_json::to_string_pretty(&reply.status) {
            Ok(text) => tell(text),
            Err(error) => return say(FAILED, &error.to_string()),
        },
        (Verb::Status, false) => tell(reply.status.to_string().trim_end()),
        _ => tell(reply.text),
    }
    ExitCode::SUCCESS
}

//! `harness up`: a cluster that keeps running, to be looked at and broken by hand.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::net::UnixListener;

use super::exit::Exit;
use super::interrupt::until_interrupted;
use super::library::{self, Unusable};
use super::machines::MachineArgs;
use super::session;
use crate::fleet::qemu::{QemuFleet, RunDir};
use crate::fleet::{Begin, Fleet, LaunchRequest, launch_machines};
use crate::live::{Entry, Registry, Seat, serve};
use crate::progress::Progress;
use crate::tools::cache::Cache;

/// What to start.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// The cluster: an example (`pair`, `no-gateway`), or the path of its description
    #[arg(default_value = "pair", value_name = "NAME|FILE")]
    cluster: String,
    /// What to call it, when several run side by side
    #[arg(long, default_value = "live")]
    name: String,
    /// Boot from the images instead of going on from a restore point
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    machines: MachineArgs,
    /// Folder for consoles and journals, should it not come up [default: report/NAME]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Runs until Ctrl-C, or `harness down` in another terminal. From there, too:
  harness status                                    what ails it, what is broken
  harness exec mail1 -- mariadb -e 'SHOW REPLICA STATUS\\G'
  harness fault power-cut mail1                     break it ...
  harness heal                                      ... and mend it";

/// Starts the cluster and serves it until it is to end.
///
/// # Errors
/// The description cannot be found or read.
pub fn run(args: &UpArgs) -> Result<Exit, Unusable> {
    let cluster = library::find_cluster(&args.cluster)?;
    if args.name.is_empty() || !args.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(Unusable(format!(
            "error: `{}` is no name\nhelp: letters, digits and hyphens\n",
            args.name
        )));
    }
    let request = LaunchRequest {
        cluster,
        seed: 0,
        report: args
            .report
            .clone()
            .unwrap_or_else(|| PathBuf::from("report").join(&args.name)),
        begin: Begin::cold(args.cold),
        processors: args.machines.processors,
        warm_up: true,
        fake: false,
        defect: None,
    };
    let ended = until_interrupted(live(&args.name, &request)).and_then(|ended| match ended {
        Some(ended) => ended,
        None => {
            eprintln!("every machine has ended");
            Ok(Exit::Holds)
        }
    });
    Ok(ended.unwrap_or_else(|reason| {
        eprintln!("error: {reason}");
        Exit::Environment
    }))
}

async fn live(name: &str, request: &LaunchRequest) -> Result<Exit, String> {
    let cache = Cache::open().map_err(|error| error.to_string())?;
    let registry = Registry::open(&cache).map_err(|error| error.to_string())?;
    let Some(seat) = registry.sit(name).map_err(|error| error.to_string())? else {
        eprintln!(
            "error: a live cluster called {name} runs already\nhelp: harness down --name {name}, or another --name"
        );
        return Ok(Exit::Input);
    };
    let fleet = match launch_machines(request, &Progress::terminal()).await {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(session::exit_of_launch(&error));
        }
    };
    show(name, fleet, seat).await.map_err(|error| error.to_string())
}

/// Makes the cluster known, says how it is reached, and serves it.
async fn show(name: &str, fleet: QemuFleet, mut seat: Seat) -> std::io::Result<Exit> {
    let folder = RunDir::create()?;
    let socket = folder.path().join("control");
    let listener = UnixListener::bind(&socket)?;
    let entry = Entry {
        name: name.to_owned(),
        cluster: fleet.topology().name.clone(),
        pid: std::process::id(),
        socket,
        forwards: fleet.open_forwards().await?,
        accounts: fleet.accounts(),
    };
    seat.announce(&entry)?;
    super::say(super::live::described(&entry));
    eprintln!("running; Ctrl-C ends it, `harness down` in another terminal too");
    serve(listener, Arc::new(fleet)).await?;
    eprintln!("every machine has ended");
    Ok(Exit::Holds)
}

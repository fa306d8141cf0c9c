//! The verbs for releases of the configuration. They run here, not in the daemon, with a connection of their own to the other
//! node: mail does not wait for them, and they outlive an agent that an installation restarts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use serde::Serialize;

use super::{BAD_INPUT, ENVIRONMENT, FAILED, say, tell};
use crate::agent::Status;
use crate::config::Config;
use crate::control::{self, Verb};
use crate::core::Standing;
use crate::link::Tls;
use crate::link::client::{Client, Limits};
use crate::release::{self, Both, Follows, Local, OrderError, Party, Release, Task, deliver, show};
use crate::zfs::command::Commands;

/// Between two looks at an installation.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// What `generator render CLUSTER.toml --out FOLDER` wrote; copied with the folders of both mail nodes
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ReleasesArgs {
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// As `release` and `releases` name it
    id: String,
    /// Show what it would change on both nodes, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct CarryOutArgs {
    id: String,
    task: Task,
    number: u64,
}

/// An exit status and the text that goes with it.
struct Ended(u8, String);

impl From<OrderError> for Ended {
    fn from(error: OrderError) -> Ended {
        Ended(FAILED, error.to_string())
    }
}

fn failed(error: impl std::fmt::Display) -> Ended {
    Ended(FAILED, error.to_string())
}

/// Both nodes, as they are seen from here.
struct Nodes<'a> {
    config: &'a Config,
    local: Local,
    client: Client,
}

impl<'a> Nodes<'a> {
    fn new(config: &'a Config, file: &Path) -> Result<Nodes<'a>, Ended> {
        let local = local(config, file)?;
        let tls = Tls::new(config).map_err(|error| Ended(BAD_INPUT, error.to_string()))?;
        let limits = Limits {
            connect: config.link.connect_limit.0,
            silence: config.replication.command_limit.0,
            state: config.link.answer_limit.0,
            // In which it is written to the disks and held against its seal.
            answer: config.releases.limit.0,
        };
        let client = Client::new(tls, config.name.clone(), config.peer.address, limits);
        Ok(Nodes { config, local, client })
    }

    /// How this node stands, as its agent says.
    async fn status(&self) -> Result<Status, Ended> {
        let path = &self.config.control;
        match control::ask(path, Verb::Status).await {
            Ok(reply) => Ok(reply.status),
            Err(error) => Err(Ended(
                ENVIRONMENT,
                format!(
                    "the daemon does not answer on {}: {error}\nIt is started by: systemctl start cluster-store",
                    path.display()
                ),
            )),
        }
    }

    /// Only the writer releases, so that there is one order of things.
    async fn as_writer(&self) -> Result<(), Ended> {
        let status = self.status().await?;
        match status.standing {
            Standing::Writer => Ok(()),
            other => Err(failed(format!(
                "{} is {other}; releases are made and installed on the writer{}",
                self.config.name,
                match status.peer {
                    Some(Standing::Writer) => format!(", which is {}", self.config.peer.name),
                    _ => String::new(),
                }
            ))),
        }
    }

    fn both(&self) -> Both<'_> {
        Both {
            standby: Party {
                name: &self.config.peer.name,
                host: &self.client,
            },
            writer: Party {
                name: &self.config.name,
                host: &self.local,
            },
            limit: self.config.releases.limit.0,
            interval: INTERVAL,
        }
    }

    async fn deliver(&self, name: &release::Name) -> Result<(), Ended> {
        let peer = &self.config.peer.name;
        let sent = deliver(&self.client, name, self.local.stream(&name.id)).await;
        match sent.map_err(|error| failed(format!("{peer}: {error}")))? {
            true => tell(format_args!("{peer} has it, and found it whole")),
            false => tell(format_args!("{peer} has it")),
        }
        Ok(())
    }
}

#[async_trait]
impl Follows for Nodes<'_> {
    async fn obstacle(&self) -> Option<String> {
        match self.status().await {
            Ok(status) if status.follows => None,
            Ok(status) => Some(format!(
                "it does not follow; {} says: {}",
                self.config.name,
                status.trouble.unwrap_or(status.doing)
            )),
            Err(Ended(_, text)) => Some(text),
        }
    }
}

fn local(config: &Config, file: &Path) -> Result<Local, Ended> {
    let commands = Commands::of(config);
    Local::new(config, file, commands).map_err(|error| Ended(ENVIRONMENT, error.to_string()))
}

fn out(text: &str) {
    let text = text.trim_end_matches('\n');
    if !text.is_empty() {
        tell(text);
    }
}

fn run(work: impl Future<Output = Result<(), Ended>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(ENVIRONMENT, &error.to_string()),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended(code, text)) => say(code, &text),
    }
}

/// `release FOLDER`.
pub(super) fn make(config: &Config, file: &Path, args: &ReleaseArgs) -> ExitCode {
    run(async {
        let nodes = Nodes::new(config, file)?;
        nodes.as_writer().await?;
        let (name, new) = nodes.local.release(&args.folder).await.map_err(failed)?;
        match new {
            true => tell(format_args!("release {} is made", name.id)),
            false => tell(format_args!("release {} has the same files", name.id)),
        }
        nodes.deliver(&name).await.map_err(|Ended(code, text)| {
            Ended(
                code,
                format!("{text}\nOnce the node is back, the same command sends it."),
            )
        })?;
        tell(format_args!(
            "It is installed by: cluster-store install-release {}",
            name.id
        ));
        Ok(())
    })
}

/// What a node has, for programs.
#[derive(Serialize)]
struct NodeReleases<'a> {
    node: &'a str,
    /// None if it does not answer.
    releases: Option<Vec<Release>>,
    /// The id of the one that is in place.
    in_place: Option<String>,
}

impl NodeReleases<'_> {
    fn new(node: &str, releases: Option<Vec<Release>>) -> NodeReleases<'_> {
        let in_place = releases.as_deref().and_then(release::current);
        let in_place = in_place.map(|release| release.name.id.clone());
        NodeReleases {
            node,
            releases,
            in_place,
        }
    }
}

/// `releases`.
pub(super) fn list(config: &Config, file: &Path, args: &ReleasesArgs) -> ExitCode {
    run(async {
        let nodes = Nodes::new(config, file)?;
        let here = nodes.local.list().await.map_err(failed)?;
        let there = release::releases(&nodes.client).await;
        let (own, peer) = (&config.name, &config.peer.name);
        if args.json {
            let both = [
                NodeReleases::new(own, Some(here)),
                NodeReleases::new(peer, there.as_ref().ok().cloned()),
            ];
            tell(serde_json::to_string_pretty(&both).map_err(failed)?);
        } else {
            print!("{own}:\n{}", show(&here));
            match &there {
                Ok(there) => print!("{peer}:\n{}", show(there)),
                Err(error) => tell(format_args!("{peer}:\n  {error}")),
            }
        }
        there.map(drop).map_err(|error| failed(format!("{peer}: {error}")))
    })
}

/// `install-release ID`.
pub(super) fn install(config: &Config, file: &Path, args: &InstallArgs) -> ExitCode {
    run(async {
        let nodes = Nodes::new(config, file)?;
        nodes.as_writer().await?;
        let release = nodes.local.find(&args.id).await.map_err(failed)?;
        nodes.deliver(&release.name).await?;
        nodes.both().install(&args.id, args.dry_run, &nodes, &out).await?;
        match args.dry_run {
            true => tell("Nothing was changed."),
            false => tell(format_args!("Release {} is in place on both nodes.", args.id)),
        }
        Ok(())
    })
}

/// `back-out`.
pub(super) fn back_out(config: &Config, file: &Path) -> ExitCode {
    run(async {
        let nodes = Nodes::new(config, file)?;
        nodes.as_writer().await?;
        let id = nodes.both().back_out(&nodes, &out).await?;
        tell(format_args!("Release {id} is taken back."));
        Ok(())
    })
}

/// What the transient unit runs.
pub(super) fn carry_out(config: &Config, file: &Path, args: &CarryOutArgs) -> ExitCode {
    run(async {
        let local = local(config, file)?;
        release::run_job(&local, args.number, &args.id, args.task)
            .await
            .map_err(failed)
    })
}

//! From a description to a healthy cluster of machines: tools, images, network, boot, install, health.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use generator::spec::{Cluster, Node as NodeSpec, Role};
use tokio::time::Instant;

use super::base::{self, Bases};
use super::cluster::{QemuFleet, error};
use super::freeze::ASK;
use super::offspring::{self, Parent};
use super::plan::{Net, Plan, Stages, base_name, cores};
use super::room::or_full_disk;
use super::{Machine, Memory, Node, Start, boot_all, restore};
use crate::fleet::{Begin, Fleet, FleetError, LaunchError, LaunchRequest};
use crate::guest::{install_bundle, provision};
use crate::probe::sql;
use crate::progress::Progress;
use crate::restore::Point;
use crate::restore::update::Changes;

/// Limits for one node with hardware virtualisation; stretched under emulation and when nodes share processors.
const PROVISION: Duration = Duration::from_secs(20);
const INSTALL: Duration = Duration::from_secs(120);
const HEALTH: Duration = Duration::from_secs(60);

/// Pause between two looks at the cluster's health.
const PAUSE: Duration = Duration::from_secs(2);

/// Brings the cluster up: from its restore point, which is made first if there is none, or by booting.
///
/// # Errors
/// [`LaunchError`]: the description, the environment, or a cluster that does not come up.
pub async fn bring_up(
    cluster: &Cluster,
    request: &LaunchRequest,
    progress: &Progress,
) -> Result<QemuFleet, LaunchError> {
    let mut stages = Stages::default();
    let plan = Plan::make(cluster, request, progress, &mut stages).await?;
    match request.begin {
        Begin::Restored => restore::ensure(&plan, progress, &mut stages).await,
        Begin::Bases => restore::anew(&plan, progress, &mut stages).await,
        Begin::Images => boot_and_install(&plan, None, progress, &mut stages).await,
    }
}

/// A cluster whose disks and memories are to be kept. Otherwise they lie with the run, and are gone with it.
pub(super) struct Kept {
    /// Where they lie.
    pub folder: PathBuf,
    /// What the machines begin as.
    pub parents: Parents,
}

/// What the machines begin as.
pub(super) enum Parents {
    /// Booted machines without a configuration, on which everything is installed.
    Bases(Bases),
    /// A cluster of which only these files differ; the new ones are installed over them, as in production.
    Cluster(Point, Changes),
}

/// Boots, installs and waits for health.
pub(super) async fn boot_and_install(
    plan: &Plan<'_>,
    kept: Option<&Kept>,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<QemuFleet, LaunchError> {
    let net = Net::open(plan)?;
    let machines = match kept {
        None => boot_here(plan, &net, progress).await?,
        Some(kept) => copies(plan, &net, kept, progress).await?,
    };
    let adopted = try_join_all(machines.into_iter().map(|machine| Node::adopt(machine, plan.timing())));
    let nodes = adopted.await.map_err(|e| LaunchError::Cluster(e.to_string()))?;
    let mut fleet = plan.fleet(net, nodes)?;
    if let Some(kept) = kept
        && let Err(error) = wake_copies(&fleet, plan, &kept.parents).await
    {
        return Err(given_up(&fleet, plan, &error).await);
    }
    stages.end("boot");

    let result = set_up(&fleet, plan, kept, progress, stages).await;
    fleet.facts.timings.clone_from(&stages.ended);
    if let Err(error) = result {
        return Err(given_up(&fleet, plan, &error).await);
    }
    Ok(fleet)
}

/// Boots every machine from its image.
async fn boot_here(plan: &Plan<'_>, net: &Net, progress: &Progress) -> Result<Vec<Machine>, LaunchError> {
    let folder = net.run_dir.path();
    let mut specs = Vec::new();
    for node in &plan.cluster.nodes {
        plan.make_disks(node.role, folder, &node.name).await?;
        specs.push(plan.machine(node, folder, folder, Memory::Private, Start::Boot));
    }
    let phase = progress.phase("boot", format!("{} machines", specs.len()));
    let booted = boot_all(&specs, plan.slowness(), cores(), &plan.limits(), &|name, stage| {
        phase.detail(&format!("{name}: {}", stage.words()));
    })
    .await
    .map_err(|e| LaunchError::Cluster(FleetError::from(e).to_string()))?;
    phase.done(format!("{} machines answer", specs.len()));
    Ok(booted.into_iter().map(|(machine, _)| machine).collect())
}

/// Starts every machine as a copy of another one.
async fn copies(plan: &Plan<'_>, net: &Net, kept: &Kept, progress: &Progress) -> Result<Vec<Machine>, LaunchError> {
    let Kept { folder, parents } = kept;
    let count = plan.cluster.nodes.len();
    let what = match parents {
        Parents::Bases(_) => format!("{count} machines from their roles' bases"),
        Parents::Cluster(_, changes) => format!(
            "{count} machines from a frozen cluster; other files: {}",
            changes.values().flatten().collect::<BTreeSet<_>>().len()
        ),
    };
    let phase = progress.phase("copy", what);
    let machines = offspring::start(plan, net, folder, |node| match parents {
        Parents::Bases(bases) => Parent {
            point: &bases[&node.role],
            name: base_name(node.role),
        },
        Parents::Cluster(point, _) => Parent {
            point,
            name: &node.name,
        },
    })
    .await?;
    phase.done("");
    Ok(machines)
}

/// Proves that the copies go on from what was saved, and makes those of a base machines of their own.
async fn wake_copies(fleet: &QemuFleet, plan: &Plan<'_>, parents: &Parents) -> Result<(), FleetError> {
    let limit = fleet.stretch(ASK);
    match parents {
        Parents::Cluster(point, _) => restore::wake_all(fleet, point.manifest()).await,
        Parents::Bases(bases) => try_join_all(plan.cluster.nodes.iter().map(|node| async move {
            base::become_node(fleet.node(&node.name)?, &bases[&node.role], &plan.mac(node), limit).await
        }))
        .await
        .map(|_| ()),
    }
}

/// Ends a cluster that did not come up, after its consoles and journals were kept.
pub(super) async fn given_up(fleet: &QemuFleet, plan: &Plan<'_>, error: &FleetError) -> LaunchError {
    let report = &plan.request.report;
    let kept = match fleet.collect(report).await {
        Ok(()) => format!("consoles and journals are in {}", report.display()),
        Err(error) => format!("consoles and journals could not be kept: {error}"),
    };
    let error = or_full_disk(LaunchError::Cluster(format!("{error}\n{kept}")), fleet.run_dir.path());
    fleet.shut_down().await;
    error
}

async fn set_up(
    fleet: &QemuFleet,
    plan: &Plan<'_>,
    kept: Option<&Kept>,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<(), FleetError> {
    let concerned = |node: &&NodeSpec| match kept.map(|kept| &kept.parents) {
        Some(Parents::Cluster(_, changes)) => changes.contains_key(&node.name),
        _ => true,
    };
    try_join_all(plan.cluster.nodes.iter().filter(concerned).map(|node| async move {
        let agent = fleet.node(&node.name)?.agent();
        let phase = progress.phase(&node.name, "install");
        provision(&agent, &plan.network_of(node), fleet.stretch(PROVISION)).await?;
        let archive = plan.bundle.nodes[&node.name]
            .tar_gz()
            .map_err(|e| error(&node.name, "pack the bundle", &e.to_string()))?;
        install_bundle(&agent, &archive, fleet.stretch(INSTALL), |_, line| phase.detail(line)).await?;
        phase.done("installed");
        Ok::<(), FleetError>(())
    }))
    .await?;
    stages.end("install");
    fleet.first_writer(plan.cluster).await?;
    wait_healthy(fleet, progress).await?;
    if fleet.primary_is_writer(plan.cluster).await? {
        wait_healthy(fleet, progress).await?;
    }
    prepare_probe_tables(fleet).await?;
    stages.end("ready");
    if plan.emulates() {
        fleet.warm_up(progress).await;
        stages.end("warm-up");
    }
    Ok(())
}

async fn wait_healthy(fleet: &QemuFleet, progress: &Progress) -> Result<(), FleetError> {
    let limit = fleet.stretch(HEALTH);
    let deadline = Instant::now() + limit;
    let phase = progress.phase("health", "services, replication, load balancer");
    loop {
        let ailments = fleet.ailments().await;
        let Some(first) = ailments.first() else {
            phase.done("healthy");
            return Ok(());
        };
        if Instant::now() >= deadline {
            let what = format!("get healthy within {}", humantime::format_duration(limit));
            return Err(error("cluster", &what, &ailments.join("; ")));
        }
        phase.detail(first);
        tokio::time::sleep(PAUSE).await; // poll; nothing announces health
    }
}

/// The tables that probes write to are made once, on the primary; they reach the peer by replication like all else.
async fn prepare_probe_tables(fleet: &QemuFleet) -> Result<(), FleetError> {
    let mail_nodes = fleet.topology.of_role(Role::Mail);
    let Some(primary) = mail_nodes.first() else {
        return Ok(());
    };
    let databases: Vec<&str> = fleet.topology.databases.iter().map(String::as_str).collect();
    let limit = fleet.stretch(PROVISION);
    let commands = fleet.commands(primary)?;
    let made = sql::Database {
        exec: &commands,
        node: primary,
    }
    .prepare(&databases, limit)
    .await;
    made.map_err(|e| error(primary, "make the probe tables", &e.to_string()))?;
    let deadline = Instant::now() + limit;
    for node in &mail_nodes {
        for database in &databases {
            while let Err(late) = fleet.sql_rows(node, database).await {
                if Instant::now() >= deadline {
                    return Err(late);
                }
                tokio::time::sleep(Duration::from_millis(500)).await; // poll: the table arrives by replication
            }
        }
    }
    Ok(())
}

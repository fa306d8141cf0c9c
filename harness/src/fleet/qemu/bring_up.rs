//! From a description to a healthy cluster of machines: tools, images, network, boot, install, health.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use generator::spec::{Cluster, Role};
use tokio::time::Instant;

use super::base::{self, Bases};
use super::cluster::{QemuFleet, error};
use super::freeze::ASK;
use super::plan::{Net, Plan, Stages, cores, environment};
use super::{Machine, Memory, Start, boot_all, restore};
use crate::fleet::{Fleet, FleetError, LaunchError, LaunchRequest};
use crate::guest::{install_bundle, provision};
use crate::image;
use crate::probe::sql;
use crate::progress::Progress;
use crate::restore::disk_file;

/// Limits for one node with hardware virtualisation; stretched under emulation and when nodes share processors.
const PROVISION: Duration = Duration::from_secs(20);
const INSTALL: Duration = Duration::from_secs(120);
const HEALTH: Duration = Duration::from_secs(60);

/// Pause between two looks at the cluster's health.
const PAUSE: Duration = Duration::from_secs(2);

/// Brings the cluster up: from its restore point, which is made first if there is none, or (`request.cold`) by booting.
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
    if request.cold {
        boot_and_install(&plan, &Place::Run, progress, &mut stages).await
    } else {
        restore::ensure(&plan, progress, &mut stages).await
    }
}

/// Where the machines' disks and memories lie.
pub(super) enum Place {
    /// With the run; gone with it.
    Run,
    /// In this folder, to be kept; they begin as copies of these machines.
    Folder(PathBuf, Bases),
}

/// Boots, installs and waits for health.
pub(super) async fn boot_and_install(
    plan: &Plan<'_>,
    place: &Place,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<QemuFleet, LaunchError> {
    let net = Net::open(plan)?;
    let machines = match place {
        Place::Run => boot_here(plan, &net, progress).await?,
        Place::Folder(folder, bases) => from_bases(plan, &net, folder, bases, progress).await?,
    };
    let mut fleet = plan.fleet(net, machines).await?;
    if let Place::Folder(_, bases) = place {
        let limit = fleet.stretch(ASK);
        let become_nodes = plan.cluster.nodes.iter().map(|node| {
            let fleet = &fleet;
            async move { base::become_node(fleet.node(&node.name)?, &bases[&node.role], &plan.mac(node), limit).await }
        });
        if let Err(error) = try_join_all(become_nodes).await {
            return Err(given_up(&fleet, plan, &error).await);
        }
    }
    stages.end("boot");

    let result = set_up(&fleet, plan, progress, stages).await;
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
        let disk = disk_file(folder, &node.name);
        image::overlay(&plan.qemu, &plan.images[&node.role], &disk)
            .await
            .map_err(environment)?;
        specs.push(plan.machine(node, folder, disk, Memory::Private, Start::Boot));
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

/// Starts every machine as a copy of its role's base, and lets all go on together.
async fn from_bases(
    plan: &Plan<'_>,
    net: &Net,
    folder: &Path,
    bases: &Bases,
    progress: &Progress,
) -> Result<Vec<Machine>, LaunchError> {
    let nodes = &plan.cluster.nodes;
    let phase = progress.phase("base", format!("{} machines from their roles' bases", nodes.len()));
    let starts = nodes
        .iter()
        .map(|node| base::start(plan, &bases[&node.role], node, net.run_dir.path(), folder));
    let machines = try_join_all(starts).await?;
    try_join_all(machines.iter().map(Machine::cont))
        .await
        .map_err(restore::not_restored)?;
    phase.done("");
    Ok(machines)
}

/// Ends a cluster that did not come up, after its consoles and journals were kept.
pub(super) async fn given_up(fleet: &QemuFleet, plan: &Plan<'_>, error: &FleetError) -> LaunchError {
    let report = &plan.request.report;
    let kept = match fleet.collect(report).await {
        Ok(()) => format!("consoles and journals are in {}", report.display()),
        Err(error) => format!("consoles and journals could not be kept: {error}"),
    };
    fleet.shut_down().await;
    LaunchError::Cluster(format!("{error}\n{kept}"))
}

async fn set_up(
    fleet: &QemuFleet,
    plan: &Plan<'_>,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<(), FleetError> {
    try_join_all(plan.cluster.nodes.iter().map(|node| async move {
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
    wait_healthy(fleet, progress).await?;
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

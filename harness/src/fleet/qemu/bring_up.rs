//! From a description to a healthy cluster of machines: tools, images, network, boot, install, health.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use generator::spec::{Cluster, Role};
use tokio::time::Instant;

use super::cluster::{QemuFleet, error};
use super::plan::{Net, Plan, Stages, cores, environment};
use super::{Memory, Start, boot_all, restore};
use crate::fleet::{Fleet, FleetError, LaunchError, LaunchRequest};
use crate::guest::{install_bundle, provision};
use crate::image;
use crate::probe::sql;
use crate::progress::Progress;
use crate::restore::{disk_file, memory_file};

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
    /// In this folder, to be kept.
    Folder(PathBuf),
}

/// Boots, installs and waits for health.
pub(super) async fn boot_and_install(
    plan: &Plan<'_>,
    place: &Place,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<QemuFleet, LaunchError> {
    let net = Net::open(plan)?;
    let mut specs = Vec::new();
    for node in &plan.cluster.nodes {
        let (folder, memory) = match place {
            Place::Run => (net.run_dir.path(), Memory::Private),
            Place::Folder(folder) => (folder.as_path(), Memory::Shared(memory_file(folder, &node.name))),
        };
        let disk = disk_file(folder, &node.name);
        image::overlay(&plan.qemu, &plan.images[&node.role], &disk)
            .await
            .map_err(environment)?;
        specs.push(plan.machine(node, net.run_dir.path(), disk, memory, Start::Boot));
    }
    let phase = progress.phase("boot", format!("{} machines", specs.len()));
    let booted = boot_all(&specs, plan.slowness(), cores(), &plan.limits(), &|name, stage| {
        phase.detail(&format!("{name}: {}", stage.words()));
    })
    .await
    .map_err(|e| LaunchError::Cluster(e.to_string()))?;
    phase.done(format!("{} machines answer", specs.len()));
    stages.end("boot");

    let machines = booted.into_iter().map(|(machine, _)| machine).collect();
    let mut fleet = plan.fleet(net, machines).await?;
    let result = set_up(&fleet, plan, progress, stages).await;
    fleet.facts.timings.clone_from(&stages.ended);
    if let Err(error) = result {
        return Err(given_up(&fleet, plan, &error).await);
    }
    Ok(fleet)
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

//! A cluster from its restore point: found, or made by booting and installing once; then every run is a copy that goes
//! on where the saved machines stopped, with open connections between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;

use super::base;
use super::bring_up::{Kept, Parents, boot_and_install, given_up};
use super::cluster::QemuFleet;
use super::disks;
use super::freeze::{ASK, MARGIN, MOVE, freeze, since_1970, wake};
use super::plan::{Net, Plan, Stages, environment};
use super::room::or_full_disk;
use super::{Machine, Memory, Node, Start};
use crate::fleet::{Begin, Fleet, FleetError, LaunchError};
use crate::progress::Progress;
use crate::restore::update::changes;
use crate::restore::{Damage, Ingredients, Manifest, Point, Points, RestoreError, limit, memory_file, state_file};
use crate::tools::ToolError;
use crate::tools::cache::Cache;

/// A fleet from the restore point of the plan, which is made if it is not there or damaged.
pub(super) async fn ensure(
    plan: &Plan<'_>,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<QemuFleet, LaunchError> {
    let points = Points::new(Cache::open().map_err(environment)?);
    let ingredients = plan.ingredients();
    if let Some(point) = find(&points, &ingredients, progress).await {
        return go_on(plan, point, progress, stages).await;
    }
    let lock = points.lock(&ingredients, progress).await.map_err(not_made)?;
    // Another harness may have made it while this one waited.
    if let Some(point) = find(&points, &ingredients, progress).await {
        drop(lock);
        return go_on(plan, point, progress, stages).await;
    }
    match make(plan, &points, &ingredients, progress, stages).await? {
        Made::Kept => {}
        // The cluster itself is as good as any; only the next start is slow again.
        Made::NotKept(fleet) => return Ok(*fleet),
    }
    drop(lock);
    match find(&points, &ingredients, progress).await {
        Some(point) => go_on(plan, point, progress, stages).await,
        None => boot_and_install(plan, None, progress, stages).await,
    }
}

/// A fleet from the restore point of the plan, which is made anew from booted machines.
pub(super) async fn anew(plan: &Plan<'_>, progress: &Progress, stages: &mut Stages) -> Result<QemuFleet, LaunchError> {
    let points = Points::new(Cache::open().map_err(environment)?);
    let ingredients = plan.ingredients();
    let lock = points.lock(&ingredients, progress).await.map_err(not_made)?;
    let in_use = !points.remove(&ingredients).map_err(not_made)?;
    if in_use && find(&points, &ingredients, progress).await.is_some() {
        return Err(LaunchError::Environment {
            what: "the restore point of this cluster is in use".into(),
            mend: "harness status   tells what runs".into(),
        });
    }
    if let Made::NotKept(fleet) = make(plan, &points, &ingredients, progress, stages).await? {
        return Ok(*fleet);
    }
    drop(lock);
    match find(&points, &ingredients, progress).await {
        Some(point) => go_on(plan, point, progress, stages).await,
        None => Err(not_restored("it was removed as soon as it was made")),
    }
}

/// What became of a restore point under construction.
enum Made {
    Kept,
    NotKept(Box<QemuFleet>),
}

/// Finds a point; one that is damaged is removed with a warning.
pub(super) async fn find(points: &Points, ingredients: &Ingredients, progress: &Progress) -> Option<Point> {
    let looked = {
        let (points, ingredients) = (points.clone(), ingredients.clone());
        tokio::task::spawn_blocking(move || points.find(&ingredients)).await
    };
    match looked {
        Ok(Ok(found)) => found,
        Ok(Err(damage)) => {
            warn_of(points, ingredients, &damage, progress);
            None
        }
        Err(_) => None,
    }
}

fn warn_of(points: &Points, ingredients: &Ingredients, damage: &Damage, progress: &Progress) {
    progress.note("restore point", &format!("damaged, made anew: {damage}"));
    if let Err(error) = points.remove(ingredients) {
        progress.note("restore point", &format!("the damaged one stays: {error}"));
    }
}

/// Installs on copies of the nearest frozen cluster or of booted machines, then freezes what came of it.
async fn make(
    plan: &Plan<'_>,
    points: &Points,
    ingredients: &Ingredients,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<Made, LaunchError> {
    let limit = limit().map_err(not_made)?;
    let nodes = plan.cluster.nodes.iter();
    let need: u64 = nodes
        .map(|node| plan.memory_bytes(node) + disks::room(&plan.data_disks(node.role)))
        .sum();
    let staging = match points.stage(ingredients, need + MARGIN) {
        Ok(staging) => staging,
        Err(error) => {
            progress.note(
                "restore point",
                &format!("none is made, the next start is slow again: {error}"),
            );
            let fleet = boot_and_install(plan, None, progress, stages).await?;
            return Ok(Made::NotKept(Box::new(fleet)));
        }
    };
    let parents = match plan.request.begin {
        Begin::Restored => nearest(points, ingredients, progress).await,
        Begin::Bases | Begin::Images => None,
    };
    let parents = match parents {
        Some(cluster) => cluster,
        None => Parents::Bases(base::ensure(plan, points, progress).await?),
    };
    stages.end("base");
    let kept = Kept {
        folder: staging.path().to_owned(),
        parents,
    };
    let fleet = boot_and_install(plan, Some(&kept), progress, stages).await;
    let fleet = fleet.map_err(|error| or_full_disk(error, staging.path()))?;
    let phase = progress.phase("restore point", "freezing the cluster");
    let title = format!(
        "cluster {} ({})",
        plan.cluster.cluster.name, plan.request.cluster.origin
    );
    let nodes: Vec<Arc<Node>> = fleet.nodes.values().cloned().collect();
    let frozen = freeze(&nodes, staging.path(), title, ingredients, fleet.stretch(ASK)).await;
    let manifest = match frozen {
        Ok(manifest) => manifest,
        Err(error) => return Err(or_full_disk(given_up(&fleet, plan, &error).await, staging.path())),
    };
    fleet.shut_down().await;
    drop(fleet);
    points.commit(staging, &manifest).map_err(not_made)?;
    for name in points.shrink(limit).map_err(not_made)? {
        progress.note(
            "restore point",
            &format!("{name} removed: all together were above the limit"),
        );
    }
    phase.done("kept for the next start");
    stages.end("freeze");
    Ok(Made::Kept)
}

/// The restore point of a cluster from which this one differs in the fewest files, if installing these is all it takes.
async fn nearest(points: &Points, ingredients: &Ingredients, progress: &Progress) -> Option<Parents> {
    let candidates = points.manifests().ok()?.into_iter().filter_map(|manifest| {
        let changes = changes(&manifest.ingredients, ingredients)?;
        Some((changes, manifest))
    });
    let (changes, manifest) =
        candidates.min_by_key(|(changes, _)| changes.values().map(BTreeSet::len).sum::<usize>())?;
    let point = find(points, &Ingredients::of_manifest(manifest.ingredients), progress).await?;
    let text = changes.iter().map(|(node, paths)| {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        format!("{node}: {}", paths.join(" "))
    });
    progress.note(
        "changed files",
        &format!(
            "installed over a frozen cluster (--cold installs everything): {}",
            text.collect::<Vec<_>>().join("; ")
        ),
    );
    Some(Parents::Cluster(point, changes))
}

/// Starts a copy of every machine of a point and lets all go on together.
async fn go_on(
    plan: &Plan<'_>,
    point: Point,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<QemuFleet, LaunchError> {
    let phase = progress.phase("restore", format!("{} machines", plan.cluster.nodes.len()));
    let net = Net::open(plan)?;
    let starts = plan.cluster.nodes.iter().map(|node| async {
        let (folder, name) = (point.folder(), node.name.as_str());
        let here = net.run_dir.path();
        disks::fork(&plan.qemu, &plan.data_disks(node.role), name, folder, here)
            .await
            .map_err(environment)?;
        let memory = Memory::Fork(memory_file(folder, name));
        let start = Start::Restore(state_file(folder, name));
        let spec = plan.machine(node, here, here, memory, start);
        let machine = Machine::start(&spec, plan.slowness()).await.map_err(not_restored)?;
        machine.load_state(MOVE).await.map_err(not_restored)?;
        Ok::<_, LaunchError>(machine)
    });
    let machines = try_join_all(starts).await?;
    try_join_all(machines.iter().map(Machine::cont))
        .await
        .map_err(not_restored)?;
    let manifest = point.manifest().clone();
    let saved = |machine: &Machine| manifest.machines.iter().find(|saved| saved.name == machine.name());
    let nodes = try_join_all(machines.into_iter().map(|machine| {
        let boot_id = saved(&machine).map(|saved| saved.boot_id.clone()).unwrap_or_default();
        Node::go_on(machine, plan.timing(), boot_id)
    }))
    .await
    .map_err(not_restored)?;
    stages.end("agents");
    let mut fleet = plan.fleet(net, nodes)?;
    fleet.point = Some(point);
    if let Err(error) = wake_all(&fleet, &manifest).await {
        return Err(given_up(&fleet, plan, &error).await);
    }
    phase.done(format!(
        "{} machines go on, saved {}",
        fleet.nodes.len(),
        ago(manifest.made_at)
    ));
    stages.end("restore");
    if plan.request.warm_up && plan.emulates() {
        fleet.warm_up(progress).await;
        stages.end("warm-up");
    }
    fleet.facts.timings.clone_from(&stages.ended);
    Ok(fleet)
}

/// Proves of every machine of a point that it goes on, and sets its clock.
pub(super) async fn wake_all(fleet: &QemuFleet, manifest: &Manifest) -> Result<(), FleetError> {
    let limit = fleet.stretch(ASK);
    try_join_all(
        manifest
            .machines
            .iter()
            .map(|saved| async move { wake(fleet.node(&saved.name)?, saved, &manifest.nonce, limit).await }),
    )
    .await
    .map(|_| ())
}

fn ago(made_at: u64) -> String {
    match since_1970().as_secs().saturating_sub(made_at) {
        0..60 => "just now".into(),
        seconds => format!(
            "{} ago",
            humantime::format_duration(Duration::from_secs(seconds / 60 * 60))
        ),
    }
}

pub(super) fn not_restored(error: impl std::fmt::Display) -> LaunchError {
    LaunchError::Cluster(format!("not restored: {error}\nhelp: --cold boots from the images"))
}

pub(super) fn not_made(error: RestoreError) -> LaunchError {
    match error {
        RestoreError::Cache(error) => environment(error),
        other => environment(ToolError::Failed {
            step: "keep the restore point".into(),
            reason: other.to_string(),
            output: String::new(),
        }),
    }
}

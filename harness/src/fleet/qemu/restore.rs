//! A cluster from its restore point: found, or made by booting and installing once; then every run is a copy that goes
//! on where the saved machines stopped, with open connections between them.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;

use super::bring_up::{Place, boot_and_install, given_up};
use super::cluster::{QemuFleet, error};
use super::plan::{Net, Plan, Stages, environment};
use super::{Machine, Memory, Start};
use crate::fleet::{Fleet, FleetError, LaunchError};
use crate::image;
use crate::progress::Progress;
use crate::restore::{
    Damage, Ingredients, Manifest, Point, Points, RestoreError, SavedMachine, Seal, disk_file, limit, memory_file,
    state_file,
};
use crate::tools::ToolError;
use crate::tools::cache::Cache;

/// Where the nonce lies in a machine: in memory only (tmpfs), so that a machine that booted anew does not have it.
const NONCE: &str = "/run/mail-cluster-nonce";

/// How long QEMU may take to write or read the state of the devices: megabytes.
const MOVE: Duration = Duration::from_secs(60);
/// How long one round with a guest's agent may take with hardware virtualisation.
const ASK: Duration = Duration::from_secs(20);
/// Room beside the memories for disks, states and a margin, bytes.
const MARGIN: u64 = 2 << 30;

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
        None => boot_and_install(plan, &Place::Run, progress, stages).await,
    }
}

/// What became of a restore point under construction.
enum Made {
    Kept,
    NotKept(Box<QemuFleet>),
}

/// Finds a point; one that is damaged is removed with a warning.
async fn find(points: &Points, ingredients: &Ingredients, progress: &Progress) -> Option<Point> {
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

/// Boots and installs, then freezes what came of it.
async fn make(
    plan: &Plan<'_>,
    points: &Points,
    ingredients: &Ingredients,
    progress: &Progress,
    stages: &mut Stages,
) -> Result<Made, LaunchError> {
    let limit = limit().map_err(not_made)?;
    let memories: u64 = plan.cluster.nodes.iter().map(|node| plan.memory_bytes(node)).sum();
    let staging = match points.stage(ingredients, memories + MARGIN) {
        Ok(staging) => staging,
        Err(error) => {
            progress.note(
                "restore point",
                &format!("none is made, the next start is slow again: {error}"),
            );
            let fleet = boot_and_install(plan, &Place::Run, progress, stages).await?;
            return Ok(Made::NotKept(Box::new(fleet)));
        }
    };
    let place = Place::Folder(staging.path().to_owned());
    let fleet = boot_and_install(plan, &place, progress, stages).await?;
    let phase = progress.phase("restore point", "freezing the cluster");
    let frozen = freeze(&fleet, staging.path()).await;
    let (nonce, machines) = match frozen {
        Ok(frozen) => frozen,
        Err(error) => return Err(given_up(&fleet, plan, &error).await),
    };
    fleet.shut_down().await;
    drop(fleet);
    let manifest = Manifest {
        layer: "configured".into(),
        title: format!(
            "cluster {} ({})",
            plan.cluster.cluster.name, plan.request.cluster.origin
        ),
        made_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        nonce,
        ingredients: ingredients.map().clone(),
        machines,
    };
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

/// Stops all machines, saves the state of each, and seals the files.
async fn freeze(fleet: &QemuFleet, folder: &Path) -> Result<(String, Vec<SavedMachine>), FleetError> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let limit = fleet.stretch(ASK);
    try_join_all(fleet.nodes.values().map(|node| {
        let nonce = nonce.clone();
        async move {
            node.agent()
                .script("writing the nonce", r#"printf %s "$1" >"$2""#, &[&nonce, NONCE], limit)
                .await
        }
    }))
    .await?;
    // All stop before the first is saved, so that no machine hears of a time that another has not lived through.
    try_join_all(
        fleet
            .nodes
            .values()
            .map(|node| async move { node.machine().stop().await }),
    )
    .await?;
    let saved = try_join_all(fleet.nodes.values().map(|node| async move {
        let machine = node.machine();
        machine.save_state(&state_file(folder, node.name()), MOVE).await?;
        // Ended the orderly way: the disk's last tables are written.
        machine.quit().await?;
        Ok::<_, FleetError>((node.name().to_owned(), node.boot_id()))
    }))
    .await?;
    let folder = folder.to_owned();
    let sealed = tokio::task::spawn_blocking(move || seal_all(&folder, saved)).await;
    let machines = sealed
        .map_err(|e| error("cluster", "seal the saved machines", &e.to_string()))?
        .map_err(|e| error("cluster", "seal the saved machines", &e.to_string()))?;
    Ok((nonce, machines))
}

/// Seals all machines' files at the same time: reading is all the work, and there is more than one processor.
fn seal_all(folder: &Path, saved: Vec<(String, String)>) -> io::Result<Vec<SavedMachine>> {
    let seal = |(name, boot_id): (String, String)| {
        Ok(SavedMachine {
            memory: Seal::of(&memory_file(folder, &name))?,
            state: Seal::of(&state_file(folder, &name))?,
            disk: Seal::of(&disk_file(folder, &name))?,
            name,
            boot_id,
        })
    };
    std::thread::scope(|scope| {
        let sealing: Vec<_> = saved.into_iter().map(|one| scope.spawn(|| seal(one))).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("sealing stopped half-way")))
        };
        sealing.into_iter().map(ended).collect()
    })
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
        let disk = disk_file(net.run_dir.path(), name);
        image::overlay_on(&plan.qemu, &disk_file(folder, name), "qcow2", &disk)
            .await
            .map_err(environment)?;
        let memory = Memory::Fork(memory_file(folder, name));
        let start = Start::Restore(state_file(folder, name));
        let spec = plan.machine(node, net.run_dir.path(), disk, memory, start);
        let machine = Machine::start(&spec, plan.slowness()).await.map_err(not_restored)?;
        machine.load_state(MOVE).await.map_err(not_restored)?;
        Ok::<_, LaunchError>(machine)
    });
    let machines = try_join_all(starts).await?;
    try_join_all(machines.iter().map(Machine::cont))
        .await
        .map_err(not_restored)?;
    let manifest = point.manifest().clone();
    let mut fleet = plan.fleet(net, machines).await?;
    fleet.point = Some(point);
    if let Err(error) = wake(&fleet, &manifest).await {
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

/// Proves that every machine goes on and did not boot, and sets its clock.
async fn wake(fleet: &QemuFleet, manifest: &Manifest) -> Result<(), FleetError> {
    let limit = fleet.stretch(ASK);
    try_join_all(manifest.machines.iter().map(|saved| async move {
        let node = fleet.node(&saved.name)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let script = r#"date --utc --set="@$1" >/dev/null && cat "$2""#;
        let seconds = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let nonce = node
            .agent()
            .script("setting the clock", script, &[&seconds, NONCE], limit)
            .await?;
        let told = |reason: String| error(&saved.name, "go on from the restore point", &reason);
        if nonce.trim() != manifest.nonce {
            return Err(told(format!(
                "its memory holds {:?} instead of the nonce",
                nonce.trim()
            )));
        }
        if node.boot_id() != saved.boot_id {
            return Err(told(format!(
                "it booted anew: {} after {}",
                node.boot_id(),
                saved.boot_id
            )));
        }
        Ok(())
    }))
    .await
    .map(|_| ())
}

fn ago(made_at: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    match now.saturating_sub(made_at) {
        0..60 => "just now".into(),
        seconds => format!(
            "{} ago",
            humantime::format_duration(Duration::from_secs(seconds / 60 * 60))
        ),
    }
}

fn not_restored(error: impl std::fmt::Display) -> LaunchError {
    LaunchError::Cluster(format!("not restored: {error}\nhelp: --cold boots from the images"))
}

fn not_made(error: RestoreError) -> LaunchError {
    match error {
        RestoreError::Cache(error) => environment(error),
        other => environment(ToolError::Failed {
            step: "keep the restore point".into(),
            reason: other.to_string(),
            output: String::new(),
        }),
    }
}

//! The first layer of restore points: the booted machine of each role. It knows nothing of a cluster, so it serves every
//! description and every change of a template; a node is a copy of it that gets a name, an address and its files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use generator::spec::Role;

use super::disks;
use super::freeze::{ASK, MARGIN, freeze, wake};
use super::plan::{Plan, base_name, cores, io};
use super::restore::{find, not_made};
use super::room::or_full_disk;
use super::{Machine, Memory, Node, RunDir, boot_all};
use crate::fleet::{FleetError, LaunchError};
use crate::guest;
use crate::progress::Progress;
use crate::restore::{Ingredients, Point, Points, SavedMachine, memory_file};
use crate::switch::Switch;
use crate::tools::cache::{Lock, Staging};

/// The restore point of each role.
pub(super) type Bases = BTreeMap<Role, Point>;

/// How long the services of a bare system may take to settle, with hardware virtualisation.
const SETTLE: Duration = Duration::from_secs(20);

/// A base that is made now. The lock keeps other processes from making the same.
struct Missing {
    role: Role,
    ingredients: Ingredients,
    staging: Staging,
    _lock: Lock,
}

/// Finds the base of each role of the plan; those that are missing boot side by side.
///
/// # Errors
/// A machine does not come up, or there is no room to keep it.
pub(super) async fn ensure(plan: &Plan<'_>, points: &Points, progress: &Progress) -> Result<Bases, LaunchError> {
    let mut bases = Bases::new();
    let mut missing = Vec::new();
    // One role after the other, in their order: two processes that take locks never wait for each other.
    for role in plan.images.keys().copied() {
        let ingredients = plan.base_ingredients(role);
        if let Some(point) = find(points, &ingredients, progress).await {
            bases.insert(role, point);
            continue;
        }
        let lock = points.lock(&ingredients, progress).await.map_err(not_made)?;
        if let Some(point) = find(points, &ingredients, progress).await {
            bases.insert(role, point);
            continue;
        }
        let need = plan.role_memory_bytes(role) + MARGIN / 4 + disks::room(&plan.data_disks(role));
        missing.push(Missing {
            role,
            staging: points.stage(&ingredients, need).map_err(not_made)?,
            ingredients,
            _lock: lock,
        });
    }
    if missing.is_empty() {
        return Ok(bases);
    }
    let mut made = make(plan, points, missing, progress).await?;
    bases.append(&mut made);
    Ok(bases)
}

async fn make(
    plan: &Plan<'_>,
    points: &Points,
    missing: Vec<Missing>,
    progress: &Progress,
) -> Result<Bases, LaunchError> {
    let phase = progress.phase("base", format!("booting one machine of each role: {}", missing.len()));
    let run_dir = RunDir::create().map_err(|e| io("make a folder for the machines", &e))?;
    let switch = Switch::new();
    let mut specs = Vec::new();
    for one in &missing {
        let (folder, name) = (one.staging.path(), base_name(one.role));
        plan.make_disks(one.role, folder, name).await?;
        let memory = Memory::Shared(memory_file(folder, name));
        let spec = plan.base_machine(one.role, run_dir.path(), folder, memory);
        switch
            .attach_socket(name, &spec.network)
            .map_err(|e| io("open a port of the switch", &e))?;
        specs.push(spec);
    }
    let booted = boot_all(&specs, plan.slowness(), cores(), &plan.limits(), &|name, stage| {
        phase.detail(&format!("{name}: {}", stage.words()));
    })
    .await
    .map_err(|e| or_full_disk(not_booted(e.into()), missing[0].staging.path()))?;
    let kept = booted
        .into_iter()
        .zip(missing)
        .map(|((machine, _), one)| keep(plan, points, machine, one, progress));
    let bases: Bases = try_join_all(kept).await?.into_iter().collect();
    phase.done("kept for every cluster");
    Ok(bases)
}

/// Waits until a booted machine has nothing to do, and freezes it.
async fn keep(
    plan: &Plan<'_>,
    points: &Points,
    machine: Machine,
    one: Missing,
    progress: &Progress,
) -> Result<(Role, Point), LaunchError> {
    let node = Arc::new(Node::adopt(machine, plan.timing()).await.map_err(not_booted)?);
    let settle = SETTLE.mul_f64(plan.slowness());
    node.agent()
        .script("waiting for the services", SETTLED, &[], settle)
        .await
        .map_err(|e| or_full_disk(not_booted(e.into()), one.staging.path()))?;
    let title = format!("booted {} machine, without a configuration", one.role.as_str());
    let limit = ASK.mul_f64(plan.slowness());
    let manifest = freeze(&[node], one.staging.path(), title, &one.ingredients, limit)
        .await
        .map_err(|e| or_full_disk(not_booted(e), one.staging.path()))?;
    points.commit(one.staging, &manifest).map_err(not_made)?;
    let point = find(points, &one.ingredients, progress).await;
    let gone = || LaunchError::Cluster("a base machine's restore point is gone as soon as it was made".into());
    Ok((one.role, point.ok_or_else(gone)?))
}

/// The state does not matter: a bare system may be degraded by a unit that only a configured one satisfies.
const SETTLED: &str = "systemctl is-system-running --wait || true";

/// Makes a copy of a base a machine of its own: its clock is set, and it gets the hardware address of its node and an
/// identity that no other copy has.
///
/// # Errors
/// It does not answer, or is not what was saved.
pub(super) async fn become_node(node: &Node, base: &Point, mac: &str, limit: Duration) -> Result<(), FleetError> {
    let manifest = base.manifest();
    let saved: &SavedMachine = manifest.machines.first().ok_or_else(|| FleetError {
        node: node.name().to_owned(),
        what: "go on from the restore point".into(),
        reason: "there is no machine in it".into(),
    })?;
    wake(node, saved, &manifest.nonce, limit).await?;
    guest::individualize(&node.agent(), mac, limit).await?;
    Ok(())
}

fn not_booted(error: FleetError) -> LaunchError {
    LaunchError::Cluster(error.to_string())
}

//! Machines that begin as whole copies of saved ones, to be changed and saved in their turn: unlike a fork, such a copy owes
//! nothing to the restore point that it came from.

use std::path::Path;

use futures::future::try_join_all;
use generator::spec::Node as NodeSpec;

use super::disks;
use super::freeze::MOVE;
use super::plan::{Net, Plan, environment};
use super::restore::not_restored;
use super::{Machine, Memory, Start};
use crate::fleet::LaunchError;
use crate::restore::{Point, memory_file, state_file};

/// A machine in a restore point.
pub(super) struct Parent<'a> {
    pub point: &'a Point,
    /// Its name there.
    pub name: &'a str,
}

/// Copies the parent of each node into `folder` and lets all copies go on together.
///
/// # Errors
/// A file cannot be copied, or QEMU does not take it.
pub(super) async fn start<'a>(
    plan: &'a Plan<'_>,
    net: &Net,
    folder: &Path,
    parent: impl Fn(&'a NodeSpec) -> Parent<'a>,
) -> Result<Vec<Machine>, LaunchError> {
    let starts = plan
        .cluster
        .nodes
        .iter()
        .map(|node| one(plan, net, folder, node, parent(node)));
    let machines = try_join_all(starts).await?;
    try_join_all(machines.iter().map(Machine::cont))
        .await
        .map_err(not_restored)?;
    Ok(machines)
}

async fn one(
    plan: &Plan<'_>,
    net: &Net,
    folder: &Path,
    node: &NodeSpec,
    parent: Parent<'_>,
) -> Result<Machine, LaunchError> {
    let Parent { point, name } = parent;
    let memory = memory_file(folder, &node.name);
    disks::copy_all(
        &plan.data_disks(node.role),
        (point.folder(), name),
        (folder, &node.name),
    )
    .await
    .map_err(environment)?;
    disks::copy(&memory_file(point.folder(), name), &memory)
        .await
        .map_err(environment)?;
    let start = Start::Restore(state_file(point.folder(), name));
    let spec = plan.machine(node, net.run_dir.path(), folder, Memory::Shared(memory), start);
    let machine = Machine::start(&spec, plan.slowness()).await.map_err(not_restored)?;
    machine.load_state(MOVE).await.map_err(not_restored)?;
    Ok(machine)
}

//! Machines that begin as whole copies of saved ones, to be changed and saved in their turn: unlike a fork, such a copy owes
//! nothing to the restore point that it came from.

use std::path::Path;
use std::time::Duration;

use futures::future::try_join_all;
use generator::spec::Node as NodeSpec;

use super::freeze::MOVE;
use super::plan::{Net, Plan, environment};
use super::restore::not_restored;
use super::{Machine, Memory, Start};
use crate::fleet::LaunchError;
use crate::restore::{Point, disk_file, memory_file, state_file};
use crate::tools::ToolError;
use crate::tools::command::{Program, run};

/// How long copying a gigabyte of memory may take.
const COPY: Duration = Duration::from_secs(300);

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
    let (disk, memory) = (disk_file(folder, &node.name), memory_file(folder, &node.name));
    copy(&disk_file(point.folder(), name), &disk)
        .await
        .map_err(environment)?;
    copy(&memory_file(point.folder(), name), &memory)
        .await
        .map_err(environment)?;
    let start = Start::Restore(state_file(point.folder(), name));
    let spec = plan.machine(node, net.run_dir.path(), disk, Memory::Shared(memory), start);
    let machine = Machine::start(&spec, plan.slowness()).await.map_err(not_restored)?;
    machine.load_state(MOVE).await.map_err(not_restored)?;
    Ok(machine)
}

/// Copies a file with its holes, without copying a byte where the file system can share them (cp(1), `--reflink`).
async fn copy(from: &Path, to: &Path) -> Result<(), ToolError> {
    let mut command = Program::host("cp").command();
    command
        .args(["--reflink=auto", "--sparse=auto", "--"])
        .arg(from)
        .arg(to);
    run(&format!("copy {}", from.display()), command, COPY)
        .await
        .map(|_| ())
}

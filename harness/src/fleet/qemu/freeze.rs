//! Freezing machines into the files of a restore point, and proving afterwards that what goes on is what was frozen.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;

use super::Node;
use super::cluster::error;
use crate::fleet::FleetError;
use crate::restore::{Ingredients, Manifest, SavedMachine, Seal, data_disk_file, disk_file, memory_file, state_file};

/// Where the nonce lies in a machine: in memory only (tmpfs), so that a machine that booted anew does not have it.
const NONCE: &str = "/run/mail-cluster-nonce";

/// How long QEMU may take to write or read the state of the devices: megabytes.
pub(super) const MOVE: Duration = Duration::from_secs(60);
/// How long one round with a guest's agent may take with hardware virtualisation.
pub(super) const ASK: Duration = Duration::from_secs(20);
/// Room beside the memories for disks, states and a margin, bytes.
pub(super) const MARGIN: u64 = 2 << 30;

/// Stops machines whose memories lie in files of `folder`, saves the state of each beside them, ends them, and seals
/// everything. `title` is for people; one round with a guest's agent may take `limit`.
///
/// # Errors
/// A machine does not answer, QEMU cannot save it (the disk is full, say), or a file cannot be read again.
pub(super) async fn freeze(
    nodes: &[Arc<Node>],
    folder: &Path,
    title: String,
    ingredients: &Ingredients,
    limit: Duration,
) -> Result<Manifest, FleetError> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    try_join_all(nodes.iter().map(|node| {
        let nonce = nonce.clone();
        async move {
            node.agent()
                .script("writing the nonce", r#"printf %s "$1" >"$2""#, &[&nonce, NONCE], limit)
                .await
        }
    }))
    .await?;
    // All stop before the first is saved, so that no machine hears of a time that another has not lived through.
    try_join_all(nodes.iter().map(|node| async move { node.machine().stop().await })).await?;
    let saved = try_join_all(nodes.iter().map(|node| async move {
        let machine = node.machine();
        machine.save_state(&state_file(folder, node.name()), MOVE).await?;
        // Ended the orderly way: the disk's last tables are written.
        machine.quit().await?;
        Ok::<_, FleetError>(Stopped {
            name: node.name().to_owned(),
            boot_id: node.boot_id(),
            data_disks: machine
                .spec()
                .data_disks
                .iter()
                .map(|disk| disk.serial.clone())
                .collect(),
        })
    }))
    .await?;
    let folder = folder.to_owned();
    let sealed = tokio::task::spawn_blocking(move || seal_all(&folder, saved)).await;
    let machines = sealed
        .map_err(|e| error("cluster", "seal the saved machines", &e.to_string()))?
        .map_err(|e| error("cluster", "seal the saved machines", &e.to_string()))?;
    let layer = ingredients.map().get("layer").cloned().unwrap_or_default();
    Ok(Manifest {
        layer,
        title,
        made_at: since_1970().as_secs(),
        nonce,
        ingredients: ingredients.map().clone(),
        machines,
    })
}

/// A machine that was saved and has ended.
struct Stopped {
    name: String,
    boot_id: String,
    data_disks: Vec<String>,
}

/// Seals all machines' files at the same time: reading is all the work, and there is more than one processor.
fn seal_all(folder: &Path, saved: Vec<Stopped>) -> io::Result<Vec<SavedMachine>> {
    let seal = |one: Stopped| {
        let name = one.name;
        let seal_data = |serial: String| {
            let seal = Seal::of(&data_disk_file(folder, &name, &serial))?;
            Ok::<_, io::Error>((serial, seal))
        };
        Ok(SavedMachine {
            memory: Seal::of(&memory_file(folder, &name))?,
            state: Seal::of(&state_file(folder, &name))?,
            disk: Seal::of(&disk_file(folder, &name))?,
            data_disks: one.data_disks.into_iter().map(seal_data).collect::<io::Result<_>>()?,
            boot_id: one.boot_id,
            name,
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

/// Proves that a machine goes on from what was saved and did not boot, and sets its clock.
///
/// # Errors
/// It does not answer within `limit`, or is not the one that was saved.
pub(super) async fn wake(node: &Node, saved: &SavedMachine, nonce: &str, limit: Duration) -> Result<(), FleetError> {
    let told = |reason: String| error(node.name(), "go on from the restore point", &reason);
    // Read by the agent itself: starting a program is what a machine that just went on is slowest at.
    let found = node.agent().read_file(NONCE, limit).await?;
    if found != nonce.as_bytes() {
        let found = String::from_utf8_lossy(&found);
        return Err(told(format!("its memory holds {found:?} instead of the nonce")));
    }
    let now = node.agent().boot_id(limit).await?;
    if now != saved.boot_id {
        let then = &saved.boot_id;
        return Err(told(format!("it booted anew: {now} after {then}")));
    }
    Ok(node.agent().set_time(limit).await?)
}

pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

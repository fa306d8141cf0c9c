//! A machine loses power and the disks of its pool, and gets empty ones. Healed by starting it, and by what an operator does
//! then by the runbook ("Fill a node's store anew"): the installation makes the pool, and the agent of the mail store is started
//! anew and fills it.

use std::fs;

use super::Receipt;
use super::on_node::{failed, receipt};
use super::power_cut;
use crate::fleet::FleetError;
use crate::fleet::qemu::{DataDisk, Node, empty_again};
use crate::tools::Qemu;

/// Makes the pool, and says its name and number (zpoolprops(7), `guid`).
const FILL: &str = r#"
    /root/bundle/install >/dev/null
    systemctl restart cluster-store
    pool=$(zfs list -H -o name /var/vmail 2>/dev/null || zpool list -H -o name | head -n 1)
    zpool list -Hp -o name,guid,health "${pool%%/*}""#;

/// Cuts the power and takes the disks away. The evidence is the end of the process, and the files of the disks before and after.
pub(super) async fn inject(node: &Node, qemu: &Qemu) -> Result<Receipt, FleetError> {
    let what = "taking the disks of the pool away";
    let power = power_cut::inject(node).await?;
    let machine = node.machine();
    let disks = &machine.spec().data_disks;
    if disks.is_empty() {
        return Err(failed(node, what, "it has none"));
    }
    let mut seen = Vec::new();
    for disk in disks {
        let size = |disk: &DataDisk| fs::metadata(&disk.file).map(|file| file.len());
        let io = |error: std::io::Error| failed(node, what, format!("{}: {error}", disk.file.display()));
        let before = size(disk).map_err(io)?;
        fs::remove_file(&disk.file).map_err(io)?;
        let made = empty_again(qemu, disk).await;
        made.map_err(|error| failed(node, what, error.to_string()))?;
        let after = size(disk).map_err(io)?;
        if after >= before {
            return Err(failed(
                node,
                what,
                format!(
                    "{} takes {after} bytes as before ({before}): it held nothing",
                    disk.serial
                ),
            ));
        }
        seen.push(format!(
            "{} of {before} bytes is gone, an empty one of {after} is there",
            disk.serial
        ));
    }
    Ok(receipt(
        "process and disks",
        format!("{}; {}", power.observed, seen.join("; ")),
    ))
}

/// Starts the machine and makes its pool. The evidence is the boot, and a pool that is well.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let what = "making the pool anew";
    let booted = power_cut::heal(node).await?;
    let text = node.agent().script(what, FILL, &[], node.timing().limit(120)).await?;
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [pool, guid, "ONLINE"] => Ok(receipt(
            "process and zpool",
            format!("{}; pool {pool} has the number {guid} and is well", booted.observed),
        )),
        _ => Err(failed(
            node,
            what,
            format!("there is no pool that is well: {}", text.trim()),
        )),
    }
}

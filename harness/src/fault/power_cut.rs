//! A machine loses power: its QEMU process is killed. Healed by starting it from the disk that it left behind.

use nix::sys::signal::Signal;

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::{Exit, Node};

/// Kills the process. The evidence is its end as its parent learnt it.
pub(super) async fn inject(node: &Node) -> Result<Receipt, FleetError> {
    let machine = node.machine();
    if let Some(exit) = machine.exit().ended() {
        return Err(failed(
            node,
            "cutting the power",
            format!("it had none any more: its QEMU process {exit}"),
        ));
    }
    match machine.kill().await? {
        Exit::Signal(Signal::SIGKILL) => Ok(receipt(
            "process",
            format!("QEMU process {} ended by SIGKILL", machine.pid()),
        )),
        exit => Err(failed(
            node,
            "cutting the power",
            format!("its QEMU process {exit} before it was killed"),
        )),
    }
}

/// Starts the machine again. The evidence is a boot with another number than the last.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let booted = node.power_on().await?;
    let pid = node.machine().pid();
    let seconds = booted.times.agent.as_secs_f64();
    let (before, now) = (booted.before, booted.now);
    Ok(receipt(
        "process",
        format!("QEMU process {pid} booted in {seconds:.1} s; boot id {now}, before {before}"),
    ))
}

//! A machine restarts by itself, orderly: its init is asked to. Healed when it is up again.

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::{Beginning, Console, Machine, MachineError, Node};
use crate::guest::GuestError;

const STEP: &str = "restarting";

/// Asks for the restart. The evidence is QEMU's event `RESET` that the guest caused.
pub(super) async fn inject(node: &Node) -> Result<Receipt, FleetError> {
    let machine = node.machine();
    if node.is_restarting() {
        return Err(failed(node, STEP, "it is restarting already"));
    }
    let mark = machine.event_mark();
    let by_guest = |event: &crate::fleet::qemu::Event| {
        event.name == "RESET" && event.data.get("guest").and_then(serde_json::Value::as_bool) == Some(true)
    };
    tokio::select! {
        biased;
        event = machine.wait_event(STEP, mark, node.timing().limit(60), by_guest) => event?,
        error = ask(&machine, node) => return Err(error.into()),
    };
    let console = Console::from_now(&machine.spec().console_log());
    node.note_restart(Beginning {
        mark: machine.event_mark(),
        console,
    });
    Ok(receipt("qmp", "event RESET, caused by the guest".to_owned()))
}

/// Asks, and ends only with a refusal: an agent that goes down with its machine may not answer any more.
async fn ask(machine: &Machine, node: &Node) -> MachineError {
    match machine
        .agent()
        .run(&["systemctl", "--no-block", "reboot"], node.timing().limit(20))
        .await
    {
        Err(error @ GuestError::Failed { .. }) => error.into(),
        _ => std::future::pending().await,
    }
}

/// Waits until the machine is up. The evidence is a boot with another number than the last.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let booted = node.wait_restarted().await?;
    let seconds = booted.times.agent.as_secs_f64();
    let (before, now) = (booted.before, booted.now);
    Ok(receipt(
        "qmp",
        format!("booted {seconds:.1} s after it was looked for; boot id {now}, before {before}"),
    ))
}

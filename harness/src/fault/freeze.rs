//! A machine hangs: its virtual CPUs are stopped, its connections stay open and silent. Healed by letting them go on
//! and setting the clock, which stood still with them while that of a hung machine would have gone on.

use std::time::{Duration, SystemTime};

use qapi::qmp::RunState;

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;
use crate::guest::lag_seconds;

/// How long QEMU may take to tell that the CPUs have stopped or go on.
const EVENT_LIMIT: Duration = Duration::from_secs(20);

/// How far a guest's clock may be off after it was set, on a machine with hardware virtualisation.
const CLOCK_TOLERANCE_SECONDS: f64 = 1.0;

/// Stops the CPUs. The evidence is QEMU's event `STOP` and its state.
pub(super) async fn inject(node: &Node) -> Result<Receipt, FleetError> {
    let machine = node.machine();
    let state = machine.run_state().await?;
    if state != RunState::running {
        return Err(failed(
            node,
            "freezing",
            format!("it was not running before: {state:?}"),
        ));
    }
    let mark = machine.event_mark();
    machine.stop().await?;
    machine
        .wait_event("freezing", mark, EVENT_LIMIT, |event| event.name == "STOP")
        .await?;
    match machine.run_state().await? {
        RunState::paused => Ok(receipt("qmp", "event STOP, state paused".to_owned())),
        state => Err(failed(node, "freezing", format!("event STOP, but state {state:?}"))),
    }
}

/// Lets the CPUs go on. The evidence is QEMU's event `RESUME`, its state, and the guest agent's answer.
pub(super) async fn heal(node: &Node) -> Result<Receipt, FleetError> {
    let machine = node.machine();
    let agent = machine.agent();
    let state = machine.run_state().await?;
    if state != RunState::paused {
        return Err(failed(node, "thawing", format!("it was not frozen: {state:?}")));
    }
    let mark = machine.event_mark();
    machine.cont().await?;
    machine
        .wait_event("thawing", mark, EVENT_LIMIT, |event| event.name == "RESUME")
        .await?;
    let limit = node.timing().limit(10);
    let behind = lag_seconds(SystemTime::now(), agent.time(limit).await?);
    agent.set_time(limit).await?;
    let left = lag_seconds(SystemTime::now(), agent.time(limit).await?);
    if left.abs() > CLOCK_TOLERANCE_SECONDS * node.timing().slowness.max(1.0) {
        return Err(failed(
            node,
            "thawing",
            format!("its clock is still {left:.1} s behind after it was set"),
        ));
    }
    match machine.run_state().await? {
        RunState::running => {
            let observed = format!("event RESUME, state running, guest agent answers; clock was {behind:.1} s behind");
            Ok(receipt("qmp", observed))
        }
        state => Err(failed(node, "thawing", format!("event RESUME, but state {state:?}"))),
    }
}

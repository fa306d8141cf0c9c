//! A service is stopped the orderly way. Healed by starting it.

use super::Receipt;
use super::on_node::{failed, receipt};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;
use crate::guest::{UnitState, unit_name};

/// Stops the service. The evidence is its state, and that no process is left in its control group.
pub(super) async fn inject(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    let what = format!("stopping {service}");
    let before = running(node, service, &what).await?;
    node.agent()
        .run(&["systemctl", "stop", &unit_name(service)], node.timing().limit(30))
        .await?;
    let after = down(node, service, &what, &before).await?;
    Ok(receipt(
        "systemd",
        format!("{service}: {after}, no process left; before: {before}"),
    ))
}

/// Starts the service. The evidence is its state, and its processes.
pub(super) async fn heal(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    node.agent()
        .run(&["systemctl", "start", &unit_name(service)], node.timing().limit(60))
        .await?;
    up(node, service, &format!("starting {service}")).await
}

/// The state of a service that has to be running now.
pub(super) async fn running(node: &Node, service: &str, what: &str) -> Result<UnitState, FleetError> {
    let state = node.agent().unit(service, node.timing().limit(10)).await?;
    if !state.is_active() || state.control_group.is_empty() {
        return Err(failed(node, what, format!("it was not running before: {state}")));
    }
    Ok(state)
}

/// The state of a service that has to be down now, without a process in the control group that it had before.
pub(super) async fn down(node: &Node, service: &str, what: &str, before: &UnitState) -> Result<UnitState, FleetError> {
    let limit = node.timing().limit(10);
    let state = node.agent().unit(service, limit).await?;
    let left = node.agent().processes_of(&before.control_group, limit).await?;
    if !state.is_down() {
        return Err(failed(node, what, format!("it is not down: {state}")));
    }
    if !left.is_empty() {
        return Err(failed(
            node,
            what,
            format!("it is {state}, but processes are left: {left:?}"),
        ));
    }
    Ok(state)
}

/// The receipt of a service that has to be up now.
pub(super) async fn up(node: &Node, service: &str, what: &str) -> Result<Receipt, FleetError> {
    let limit = node.timing().limit(10);
    let state = node.agent().unit(service, limit).await?;
    let processes = node.agent().processes_of(&state.control_group, limit).await?;
    if !state.is_active() || processes.is_empty() {
        return Err(failed(
            node,
            what,
            format!("it is not up: {state}, processes: {}", processes.len()),
        ));
    }
    Ok(receipt(
        "systemd",
        format!("{service}: {state}, processes: {}", processes.len()),
    ))
}

//! All processes of a service are killed at one instant, and nothing starts it again. Healed by lifting that and
//! starting it.

use std::time::Duration;

use tokio::time::Instant;

use super::Receipt;
use super::on_node::receipt;
use super::service_stop::{down, running, up};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;
use crate::guest::unit_name;

/// Pause between two looks at whether systemd has noticed.
const PAUSE: Duration = Duration::from_millis(200);

/// Keeps the unit down by a drop-in that is gone with the next boot (systemd.unit(5)), since masking cannot hide a unit
/// under /etc; then kills through the control group, which no process that forks meanwhile escapes (cgroup v2,
/// `cgroup.kill`).
const KILL: &str = r#"
    unit="$1" group="/sys/fs/cgroup$2" dropin="/run/systemd/system/$1.d"
    mkdir -p "$dropin"
    printf '%s\n' '[Unit]' 'ConditionPathExists=/nonexistent/kept-down-on-purpose' \
        '[Service]' 'Restart=no' >"$dropin/99-kept-down.conf"
    systemctl daemon-reload
    find "$group" -name cgroup.procs -exec cat {} + | wc -l
    echo 1 >"$group/cgroup.kill""#;

/// Lifts what [`KILL`] did, and starts the unit.
const START: &str = r#"
    unit="$1" dropin="/run/systemd/system/$1.d"
    rm -f "$dropin/99-kept-down.conf"
    rmdir --ignore-fail-on-non-empty "$dropin" 2>/dev/null || :
    systemctl daemon-reload
    systemctl reset-failed "$unit" 2>/dev/null || :
    systemctl start "$unit""#;

/// Kills the service. The evidence is its empty control group and its state.
pub(super) async fn inject(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    let what = format!("killing {service}");
    let before = running(node, service, &what).await?;
    let limit = node.timing().limit(30);
    let args = [&*unit_name(service), &before.control_group];
    let killed = node.agent().script(&what, KILL, &args, limit).await?;
    let deadline = Instant::now() + limit;
    loop {
        match down(node, service, &what, &before).await {
            Ok(after) => {
                let observed = format!(
                    "{service}: all processes killed ({}), none left; {after}",
                    killed.trim()
                );
                return Ok(receipt("cgroup", observed));
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Starts the service. The evidence is its state, and its processes.
pub(super) async fn heal(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    let what = format!("starting {service}");
    node.agent()
        .script(&what, START, &[&unit_name(service)], node.timing().limit(60))
        .await?;
    up(node, service, &what).await
}

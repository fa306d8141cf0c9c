//! All processes of a service stand still at one instant: its ports stay open and nothing answers. Healed by letting
//! them go on.

use super::Receipt;
use super::on_node::{failed, receipt};
use super::service_stop::running;
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;

/// Sets the control group's freezer to `$2` and waits until the kernel says that it is so (cgroup v2, `cgroup.freeze`
/// and `cgroup.events`). Unlike SIGSTOP it leaves no process out that forks meanwhile, and the service's parent is not
/// told. Says how many processes there are.
const SET_FREEZER: &str = r#"
    group="/sys/fs/cgroup$1" wanted="frozen $2"
    ! grep -qx "$wanted" "$group/cgroup.events" || { echo "it was '$wanted' before" >&2; exit 1; }
    echo "$2" >"$group/cgroup.freeze"
    tries=0
    until grep -qx "$wanted" "$group/cgroup.events"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "the kernel does not say '$wanted'" >&2; exit 1; }
        sleep 0.05
    done
    find "$group" -name cgroup.procs -exec cat {} + | wc -l"#;

/// Freezes the service. The evidence is the kernel's word for its control group.
pub(super) async fn inject(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    let what = format!("freezing {service}");
    let state = running(node, service, &what).await?;
    let count = set_freezer(node, &what, &state.control_group, "1").await?;
    if count == 0 {
        return Err(failed(node, &what, "it has no process"));
    }
    Ok(receipt(
        "cgroup",
        format!("{service}: the kernel says frozen 1, processes: {count}"),
    ))
}

/// Thaws the service. The evidence is the kernel's word for its control group, and its state.
pub(super) async fn heal(node: &Node, service: &str) -> Result<Receipt, FleetError> {
    let what = format!("thawing {service}");
    let state = running(node, service, &what).await?;
    let count = set_freezer(node, &what, &state.control_group, "0").await?;
    let state = running(node, service, &what).await?;
    Ok(receipt(
        "cgroup",
        format!("{service}: the kernel says frozen 0, processes: {count}; {state}"),
    ))
}

async fn set_freezer(node: &Node, what: &str, group: &str, frozen: &str) -> Result<u32, FleetError> {
    let count = node
        .agent()
        .script(what, SET_FREEZER, &[group, frozen], node.timing().limit(20))
        .await?;
    count
        .trim()
        .parse()
        .map_err(|_| failed(node, what, format!("not a number of processes: {count:?}")))
}

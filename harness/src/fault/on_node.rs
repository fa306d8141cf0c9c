//! Which file acts on a node for which fault.

use super::{
    Fault, Receipt, disk_flip, disk_full, disk_new, freeze, power_cut, reboot, service_freeze, service_kill,
    service_stop,
};
use crate::fleet::FleetError;
use crate::fleet::qemu::Node;
use crate::tools::Qemu;

/// Breaks something on a node, and tells what was seen of it. Faults of the network are the switch's.
///
/// # Errors
/// The fault did not take hold, or there is no evidence that it did.
pub async fn inject(node: &Node, qemu: &Qemu, fault: &Fault) -> Result<Receipt, FleetError> {
    match fault {
        Fault::PowerCut { .. } => power_cut::inject(node).await,
        Fault::Freeze { .. } => freeze::inject(node).await,
        Fault::Reboot { .. } => reboot::inject(node).await,
        Fault::ServiceStop { service, .. } => service_stop::inject(node, service).await,
        Fault::ServiceKill { service, .. } => service_kill::inject(node, service).await,
        Fault::ServiceFreeze { service, .. } => service_freeze::inject(node, service).await,
        Fault::DiskFull { .. } => disk_full::inject(node).await,
        Fault::DiskFlip { .. } => disk_flip::inject(node).await,
        Fault::DiskNew { .. } => disk_new::inject(node, qemu).await,
        Fault::LinkCut { .. } => Err(not_here(node)),
    }
}

/// Mends what [`inject`] broke, and tells what was seen of it.
///
/// # Errors
/// It is not mended, or there is no evidence that it is.
pub async fn heal(node: &Node, fault: &Fault) -> Result<Receipt, FleetError> {
    match fault {
        Fault::PowerCut { .. } => power_cut::heal(node).await,
        Fault::Freeze { .. } => freeze::heal(node).await,
        Fault::Reboot { .. } => reboot::heal(node).await,
        Fault::ServiceStop { service, .. } => service_stop::heal(node, service).await,
        Fault::ServiceKill { service, .. } => service_kill::heal(node, service).await,
        Fault::ServiceFreeze { service, .. } => service_freeze::heal(node, service).await,
        Fault::DiskFull { .. } => disk_full::heal(node).await,
        Fault::DiskFlip { .. } => disk_flip::heal(node).await,
        Fault::DiskNew { .. } => disk_new::heal(node).await,
        Fault::LinkCut { .. } => Err(not_here(node)),
    }
}

fn not_here(node: &Node) -> FleetError {
    failed(node, "a cut link", "the switch cuts links, not a machine")
}

/// An error of a node, in words.
pub(super) fn failed(node: &Node, what: &str, reason: impl Into<String>) -> FleetError {
    FleetError {
        node: node.name().to_owned(),
        what: what.to_owned(),
        reason: reason.into(),
    }
}

/// A receipt.
pub(super) fn receipt(source: &str, observed: String) -> Receipt {
    Receipt {
        source: source.to_owned(),
        observed,
    }
}

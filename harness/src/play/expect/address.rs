//! The virtual address: which load balancer has it.

use crate::fleet::Role;
use crate::play::run::Run;
use crate::play::step::Miss;

/// Every load balancer with power is asked; the named one has the address, and no other.
pub(super) async fn is_at(run: &Run, node: &str) -> Result<String, Miss> {
    let dead = run.fleet.without_power();
    let mut holders = Vec::new();
    for balancer in run.topology.of_role(Role::LoadBalancer) {
        if dead.iter().any(|(dead, _)| dead == balancer) {
            continue;
        }
        let asked = run.fleet.has_address(balancer).await;
        if asked.map_err(|error| Miss::NotYet(error.to_string()))? {
            holders.push(balancer);
        }
    }
    match holders[..] {
        [holder] if holder == node => Ok(format!("{node} has the virtual address")),
        [] => Err(Miss::NotYet("nobody has the virtual address".into())),
        _ => Err(Miss::NotYet(format!(
            "the virtual address is on {} where {node} is expected",
            holders.join(" and ")
        ))),
    }
}

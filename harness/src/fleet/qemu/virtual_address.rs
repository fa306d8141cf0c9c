//! Which load balancer has the virtual address, as its kernel says.

use super::cluster::{QemuFleet, error};
use crate::fleet::{FleetError, Role};

impl QemuFleet {
    /// Whether a card of the machine has the address (ip-address(8), `to`).
    pub(super) async fn holds_address(&self, node: &str) -> Result<bool, FleetError> {
        let what = "look for the virtual address";
        let Some(address) = self.topology.virtual_address else {
            return Err(error(node, what, "the cluster has none"));
        };
        let argv = ["ip", "-oneline", "-4", "address", "show", "to", &address.to_string()].map(str::to_owned);
        let listed = self.ask(node, what, &argv).await?;
        Ok(!listed.trim().is_empty())
    }

    /// What is wrong with the virtual address, if there is one: nobody has it, or both do.
    pub(super) async fn address_ailment(&self) -> Option<String> {
        self.topology.virtual_address?;
        let balancers = self.topology.of_role(Role::LoadBalancer);
        let answers = balancers.iter().map(|node| self.holds_address(node));
        // A machine that cannot be asked is an ailment of its own.
        let answers = futures::future::join_all(answers).await;
        let holders: Vec<&str> = balancers
            .into_iter()
            .zip(answers)
            .filter_map(|(node, holds)| holds.is_ok_and(|holds| holds).then_some(node))
            .collect();
        match holders[..] {
            [_] => None,
            [] => Some("no load balancer has the virtual address".to_owned()),
            _ => Some(format!(
                "several load balancers have the virtual address: {}",
                holders.join(", ")
            )),
        }
    }
}

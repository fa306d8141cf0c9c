//! The simulated virtual address: who has it, and how long it takes to move. What is not simulated: a machine that was
//! frozen and goes on does not take the address back.

use std::time::Duration;

use super::world::{Reach, Tick, World};
use crate::fleet::{Role, VIRTUAL_ADDRESS};
use crate::scenario::defect::Defect;

/// How often the load balancers look around.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// Three adverts that did not come, and a little (`advert_int` of keepalived.conf).
const UNHEARD: Duration = Duration::from_millis(3600);
/// Two answers of HAProxy that did not come (`vrrp_script`).
const UNANSWERED: Duration = Duration::from_millis(4000);
/// A holder that says good-bye.
const TOLD: Duration = Duration::from_millis(600);

/// The address that moves between two load balancers.
#[derive(Debug, Default)]
pub(super) struct Address {
    /// Who has it.
    holder: Option<String>,
    /// When it goes, if nothing changes until then.
    leaves: Option<Duration>,
}

impl Address {
    /// It begins at the first of the load balancers.
    pub fn at(balancer: Option<String>) -> Address {
        Address {
            holder: balancer,
            leaves: None,
        }
    }
}

impl World {
    /// Who has the virtual address.
    pub fn holder(&self) -> Option<&str> {
        self.address.as_ref()?.holder.as_deref()
    }

    /// The load balancer behind a name: itself, or whoever has the virtual address.
    pub fn balancer_at(&self, name: &str) -> Option<String> {
        match name {
            VIRTUAL_ADDRESS => self.holder().map(str::to_owned),
            _ => Some(name.to_owned()),
        }
    }

    /// Where clients of webmail get to: the holder of the virtual address, else the first load balancer.
    pub fn balancer(&self) -> Option<String> {
        match &self.address {
            Some(address) => address.holder.clone(),
            None => self.of_role(Role::LoadBalancer).into_iter().next(),
        }
    }

    fn may_hold(&self, node: &str) -> bool {
        self.reach(None, node, &["keepalived", "haproxy"]) == Reach::Answers
    }

    /// A look around: a holder that fell out leaves after its time, and whoever is well takes over.
    pub fn address_beat(&mut self) {
        self.after(BEAT, Tick::Address);
        let holder = self.holder().map(str::to_owned);
        let leaves = match &holder {
            Some(node) if self.may_hold(node) || self.has(Defect::KeepAddress) => None,
            Some(node) => {
                let known = self.address.as_ref().and_then(|address| address.leaves);
                known.or_else(|| Some(self.now + self.patience_with(node)))
            }
            None => Some(self.now),
        };
        let over = leaves.is_some_and(|leaves| leaves <= self.now);
        let next = || {
            self.of_role(Role::LoadBalancer)
                .into_iter()
                .find(|node| self.may_hold(node))
        };
        let holder = if over { next() } else { holder };
        let leaves = leaves.filter(|_| !over);
        self.address = Some(Address { holder, leaves });
    }

    fn patience_with(&self, node: &str) -> Duration {
        match (
            self.reach(None, node, &["keepalived"]),
            self.reach(None, node, &["haproxy"]),
        ) {
            (Reach::Silent, _) => UNHEARD,
            (Reach::Refuses, _) => TOLD,
            (Reach::Answers, _) => UNANSWERED,
        }
    }
}

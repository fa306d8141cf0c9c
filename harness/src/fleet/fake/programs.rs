//! Simulated mail programs. The doors of the load balancer follow the same checks as webmail's in this simulation.

use std::time::Duration;

use super::world::{Reach, World};
use super::{Attempt, Effect};
use crate::fleet::{Departure, Mail, Role};
use crate::scenario::defect::Defect;

impl World {
    /// The node to which the load balancer leads a mail program, which needs these services there.
    fn behind(&self, balancer: &str, services: &[&str]) -> Result<String, Attempt> {
        if self.topology.access_host.is_none() {
            return Err(Attempt::fail(
                Duration::from_millis(5),
                "the load balancer has no such door",
            ));
        }
        let Some(balancer) = self.balancer_at(balancer) else {
            return Err(Attempt::hang("nobody has the virtual address"));
        };
        match self.reach(None, &balancer, &["haproxy"]) {
            Reach::Answers => {}
            Reach::Refuses => return Err(Attempt::fail(Duration::from_millis(5), "connection refused")),
            Reach::Silent => return Err(Attempt::hang("the load balancer does not answer")),
        }
        let servers = self.of_role(Role::Mail);
        let Some(node) = servers.into_iter().find(|node| self.web.is_up(node)) else {
            return Err(Attempt::fail(
                Duration::from_millis(5),
                "connection closed: no server is up",
            ));
        };
        match self.reach(Some(&balancer), &node, services) {
            Reach::Answers => Ok(node),
            Reach::Refuses => Err(Attempt::fail(
                Duration::from_secs(3),
                "connection closed by the load balancer",
            )),
            Reach::Silent => Err(Attempt::hang("no answer through the load balancer")),
        }
    }

    /// A listing through the load balancer begins; with the node behind it, if there is one.
    pub fn list_through(&mut self, balancer: &str) -> (Attempt, Option<String>) {
        if self.paused(Defect::PauseImap) {
            return (Attempt::hang("IMAP does not answer"), None);
        }
        match self.behind(balancer, &["dovecot", "mariadb"]) {
            Ok(node) => (self.list(&node), Some(node)),
            Err(attempt) => (attempt, None),
        }
    }

    /// A mail program begins to hand over a message.
    pub fn submit_through(&mut self, balancer: &str, mail: &Mail) -> Attempt {
        match self.behind(balancer, &["postfix", "dovecot", "mariadb"]) {
            Ok(node) => Attempt {
                wait: self.between(50, 300),
                effect: Effect::Accept {
                    node,
                    mail: mail.clone(),
                },
            },
            Err(attempt) => attempt,
        }
    }

    /// A mail program begins to hand over a message for somebody elsewhere; with what comes of it, if it gets there.
    pub fn leave_through(&mut self, balancer: &str) -> (Attempt, Option<Departure>) {
        let node = match self.behind(balancer, &["postfix", "dovecot", "mariadb"]) {
            Ok(node) => node,
            Err(attempt) => return (attempt, None),
        };
        let gateways = self.of_role(Role::Gateway);
        let takes = |gateway: &String| matches!(self.reach(Some(&node), gateway, &["postfix"]), Reach::Answers);
        let Some(by) = gateways.into_iter().find(takes) else {
            return (Attempt::hang("no gateway takes it"), None);
        };
        let signature = match self.has(Defect::LoseSignature) {
            true => Err("it has no DKIM signature".to_owned()),
            false => Ok("signed by the domain".to_owned()),
        };
        let wait = self.between(200, 900);
        let effect = Effect::Nothing;
        (Attempt { wait, effect }, Some(Departure { by, signature }))
    }

    /// A message that came through this gateway comes back through it.
    pub fn forwarded(&self, gateway: &str) -> Departure {
        Departure {
            by: gateway.to_owned(),
            signature: match self.has(Defect::LoseSeal) {
                true => Err("it has no seal (ARC)".to_owned()),
                false => Ok("sealed by the domain".to_owned()),
            },
        }
    }
}

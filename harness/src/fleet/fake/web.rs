//! The simulated load balancer: health checks with `inter`, `fall` and `rise`, primary before backup, and the webmail
//! log-in that goes through it.

use std::collections::BTreeMap;
use std::time::Duration;

use generator::spec::CheckProfile;

use super::world::{Reach, Tick, World};
use super::{Attempt, Effect};
use crate::fleet::Role;
use crate::record::Outcome;
use crate::scenario::defect::Defect;

/// The services behind one webmail log-in, which are also what the health address asks.
const WEBMAIL: [&str; 4] = ["nginx", "php8.4-fpm", "dovecot", "mariadb"];

/// As long as the load balancer keeps a client waiting while there is no writer: `hold` of `[store]`.
pub(super) const HOLD: Duration = Duration::from_secs(30);

/// What the load balancer thinks of its servers.
#[derive(Debug)]
pub(super) struct Balancer {
    servers: BTreeMap<String, Server>,
}

#[derive(Debug)]
struct Server {
    up: bool,
    /// Checks in a row that contradict `up`.
    streak: u32,
}

/// Check values of HAProxy: `inter`, `timeout check`, `fall`, `rise`.
struct Checks {
    inter: Duration,
    timeout: Duration,
    fall: u32,
    rise: u32,
}

impl Balancer {
    /// The first of the nodes serve.
    pub fn new(mail_nodes: &[String], serving: usize) -> Balancer {
        let servers = mail_nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                let up = index < serving;
                (node.clone(), Server { up, streak: 0 })
            })
            .collect();
        Balancer { servers }
    }

    pub fn is_up(&self, node: &str) -> bool {
        self.servers.get(node).is_some_and(|server| server.up)
    }

    /// True if the server is up and its last check agreed.
    fn is_steady(&self, node: &str) -> bool {
        self.servers.get(node).is_some_and(|server| server.streak == 0)
    }
}

impl World {
    fn checks(&self) -> Checks {
        let ms = Duration::from_millis;
        match self.profile {
            CheckProfile::Classic => Checks {
                inter: ms(3000),
                timeout: ms(2000),
                fall: if self.has(Defect::SlowFailover) { 30 } else { 3 },
                rise: 2,
            },
            CheckProfile::Fast => Checks {
                inter: ms(1000),
                timeout: ms(500),
                fall: 2,
                rise: 2,
            },
        }
    }

    /// A load balancer that asks for health. Two ask the same and come to the same: the simulation has one opinion.
    fn asking(&self) -> Option<String> {
        let balancers = self.of_role(Role::LoadBalancer);
        let asks = |node: &String| self.reach(None, node, &["haproxy"]) == Reach::Answers;
        balancers.into_iter().find(asks)
    }

    /// A health check begins; a server that is silent is known to have failed only when the check times out.
    pub fn begin_check(&mut self, node: &str) {
        let checks = self.checks();
        let Some(balancer) = self.asking() else {
            self.after(checks.inter, Tick::Check(node.to_owned()));
            return;
        };
        match self.reach_mail(Some(&balancer), node, &WEBMAIL) {
            // One answer 404 is enough to send nobody new (`http-check disable-on-404`).
            Reach::Answers if self.is_closing(node) => self.drain(node),
            Reach::Answers => self.after(Duration::from_millis(50), Tick::Checked(node.to_owned(), true)),
            Reach::Refuses => self.after(Duration::from_millis(5), Tick::Checked(node.to_owned(), false)),
            Reach::Silent => self.after(checks.timeout, Tick::Checked(node.to_owned(), false)),
        }
        let fast = matches!(self.profile, CheckProfile::Fast) && !self.web.is_steady(node);
        let inter = if fast {
            Duration::from_millis(200).max(checks.timeout)
        } else {
            checks.inter
        };
        self.after(inter, Tick::Check(node.to_owned()));
    }

    /// A health check has its result.
    pub fn end_check(&mut self, node: &str, healthy: bool) {
        let checks = self.checks();
        let Some(server) = self.web.servers.get_mut(node) else {
            return;
        };
        if healthy == server.up {
            server.streak = 0;
            return;
        }
        server.streak += 1;
        let enough = if server.up { checks.fall } else { checks.rise };
        if server.streak >= enough {
            server.up = healthy;
            server.streak = 0;
        }
    }

    fn drain(&mut self, node: &str) {
        if let Some(server) = self.web.servers.get_mut(node) {
            (server.up, server.streak) = (false, 0);
        }
    }

    /// True if the load balancer keeps who comes waiting, since no node is the writer of the mail store.
    pub fn holds_clients(&self) -> bool {
        let waits = |balancer: String| self.reach(None, &balancer, &["haproxy"]) == Reach::Answers;
        self.store.is_some()
            && self.balancer().is_some_and(waits)
            && !self.of_role(Role::Mail).iter().any(|node| self.web.is_up(node))
    }

    /// A webmail log-in begins.
    pub fn login(&mut self, user: &str) -> Attempt {
        let latency = self.between(300, 900);
        let Some(balancer) = self.balancer() else {
            return match self.address {
                Some(_) => Attempt::hang("nobody has the virtual address"),
                None => Attempt::fail(latency, "there is no load balancer"),
            };
        };
        if self.paused(Defect::PauseWebmail) {
            return Attempt::hang("the load balancer does not answer");
        }
        match self.reach(None, &balancer, &["haproxy"]) {
            Reach::Answers => {}
            Reach::Refuses => {
                return Attempt::fail(Duration::from_millis(5), "connection refused by the load balancer");
            }
            Reach::Silent => return Attempt::hang("the load balancer does not answer"),
        }
        let servers: Vec<String> = self
            .of_role(Role::Mail)
            .into_iter()
            .filter(|node| self.web.is_up(node))
            .collect();
        let Some(first) = servers.first() else {
            return Attempt::fail(latency, "503 Service Unavailable");
        };
        let reach = |node: &str| self.reach_mail(Some(&balancer), node, &WEBMAIL);
        let redispatch = matches!(self.profile, CheckProfile::Fast);
        let chosen = match (reach(first), servers.get(1)) {
            (Reach::Answers, _) => first,
            (Reach::Refuses, Some(second)) if redispatch && reach(second) == Reach::Answers => second,
            (Reach::Refuses, _) => return Attempt::fail(Duration::from_secs(3), "503 Service Unavailable"),
            (Reach::Silent, _) => return Attempt::hang("no answer from webmail"),
        };
        Attempt {
            wait: latency,
            effect: Effect::Login {
                through: balancer.clone(),
                node: chosen.clone(),
                user: user.to_owned(),
            },
        }
    }

    /// The log-in ends: it worked if its server still stands.
    pub fn finish_login(&mut self, through: &str, node: &str, user: &str) -> Outcome {
        if self.reach(None, through, &["haproxy"]) != Reach::Answers || self.balancer().as_deref() != Some(through) {
            return Outcome::Fail {
                reason: format!("connection lost with {through}"),
            };
        }
        if self.reach_mail(Some(through), node, &WEBMAIL) != Reach::Answers {
            return Outcome::Fail {
                reason: "502 Bad Gateway".into(),
            };
        }
        if !self.has(Defect::ForgetLogin) {
            let when = format!("{:.3}", self.now.as_secs_f64());
            self.write(node, "roundcubemail", "users", user, &when);
        }
        let served_by = match self.of_role(Role::Mail).first() {
            Some(primary) if self.has(Defect::WrongServer) => primary.clone(),
            _ => node.to_owned(),
        };
        Outcome::Ok {
            served_by: Some(served_by),
        }
    }
}

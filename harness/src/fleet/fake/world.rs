//! The simulated machines: power, services, links, and the queue of timed events that drives everything else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use generator::spec::CheckProfile;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::address::{self, Address};
use super::mail::Post;
use super::sql::Databases;
use super::store::MailStore;
use super::web::Balancer;
use crate::fleet::{Role, Topology};
use crate::scenario::defect::Defect;

/// How long a machine takes from power to running services' start.
pub(super) const BOOT: Duration = Duration::from_secs(12);
/// How long a service takes to start.
pub(super) const SERVICE_START: Duration = Duration::from_secs(3);

/// Something that happens by itself at its time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tick {
    /// A machine has booted; its services begin to start.
    Booted(String),
    /// A service has started.
    Started(String, String),
    /// The load balancer begins a health check of a mail node.
    Check(String),
    /// The health check that began earlier has its result.
    Checked(String, bool),
    /// The load balancers see who has the virtual address.
    Address,
    /// A node's Postfix goes through its queue.
    Queue(String),
    /// A node's replica fetches and applies what its peer wrote.
    Apply(String),
    /// Agents and the engine of the mail store look around.
    Store,
    /// A snapshot of a node has reached its peer.
    Received(String, u64),
    /// A node becomes the writer.
    Promoted(String),
    /// A node's tail is merged.
    Merged(String),
    /// The notice of a closing is over: the role goes to the node.
    HandOver(String),
}

/// Whether a machine has power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    /// It runs.
    On,
    /// It has none.
    Off,
    /// It boots.
    Starting,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It answers.
    Running,
    /// It has no process.
    Stopped,
    /// Its processes stand still; the port is open.
    Frozen,
    /// It is starting.
    Starting,
}

/// What a client meets at a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// It answers.
    Answers,
    /// The connection is refused at once.
    Refuses,
    /// Nothing comes back.
    Silent,
}

/// One simulated machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub power: Power,
    pub frozen: bool,
    pub services: BTreeMap<String, Condition>,
    /// How often it was switched on; a service start that was scheduled before a power cut is void after it.
    pub boots: u64,
}

/// The whole simulated cluster at one moment.
pub(super) struct World {
    pub topology: Topology,
    pub profile: CheckProfile,
    pub defect: Option<Defect>,
    pub now: Duration,
    pub rng: ChaCha8Rng,
    pub machines: BTreeMap<String, Machine>,
    pub cuts: BTreeSet<(String, String)>,
    pub post: Post,
    pub web: Balancer,
    /// The virtual address, if the cluster has one.
    pub address: Option<Address>,
    pub sql: Databases,
    /// The mail store, if the cluster has one.
    pub store: Option<MailStore>,
    ticks: BinaryHeap<Reverse<(Duration, u64, Tick)>>,
    ticked: u64,
}

impl World {
    /// A healthy cluster at time zero.
    pub fn new(topology: Topology, profile: CheckProfile, defect: Option<Defect>, seed: u64) -> World {
        let machines = topology
            .nodes
            .iter()
            .map(|node| {
                let services = topology
                    .services_of(node)
                    .into_iter()
                    .map(|name| (name.to_owned(), Condition::Running))
                    .collect();
                (
                    node.name.clone(),
                    Machine {
                        power: Power::On,
                        frozen: false,
                        services,
                        boots: 1,
                    },
                )
            })
            .collect();
        let mail_nodes = names_of(&topology, Role::Mail);
        let sql = Databases::new(&mail_nodes, &topology, defect);
        let store = MailStore::of(&topology, &mail_nodes);
        let serving = if store.is_some() { 1 } else { mail_nodes.len() };
        let web = Balancer::new(&mail_nodes, serving);
        let first = names_of(&topology, Role::LoadBalancer).into_iter().next();
        let address = topology.virtual_address.map(|_| Address::at(first));
        let mut world = World {
            topology,
            profile,
            defect,
            now: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            machines,
            cuts: BTreeSet::new(),
            post: Post::default(),
            web,
            address,
            sql,
            store,
            ticks: BinaryHeap::new(),
            ticked: 0,
        };
        for node in mail_nodes {
            let offset = world.between(0, 1000);
            world.after(offset, Tick::Check(node));
        }
        if world.store.is_some() {
            world.after(Duration::ZERO, Tick::Store);
        }
        if world.address.is_some() {
            world.after(address::BEAT, Tick::Address);
        }
        world
    }

    /// Lets everything happen that is due at or before `now`.
    pub fn advance(&mut self, now: Duration) {
        while let Some(Reverse((at, _, _))) = self.ticks.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((at, _, tick))) = self.ticks.pop() else {
                break;
            };
            self.now = at;
            self.happen(tick);
        }
        self.now = now;
    }

    fn happen(&mut self, tick: Tick) {
        match tick {
            Tick::Booted(node) => self.booted(&node),
            Tick::Started(node, service) => self.started(&node, &service),
            Tick::Check(node) => self.begin_check(&node),
            Tick::Checked(node, healthy) => self.end_check(&node, healthy),
            Tick::Address => self.address_beat(),
            Tick::Queue(node) => self.run_queue(&node),
            Tick::Apply(node) => self.apply(&node),
            Tick::Store => self.store_beat(),
            Tick::Received(node, guid) => self.received(&node, guid),
            Tick::Promoted(node) => self.promoted(&node),
            Tick::Merged(node) => self.merged(&node),
            Tick::HandOver(node) => self.hand_role_over(&node),
        }
    }

    /// Schedules a tick.
    pub fn after(&mut self, delay: Duration, tick: Tick) {
        self.ticked += 1;
        self.ticks.push(Reverse((self.now + delay, self.ticked, tick)));
    }

    /// A random duration between two numbers of milliseconds.
    pub fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from_ms..=to_ms))
    }

    /// True if the cluster carries the defect.
    pub fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// True while a `pause-*` defect holds: from the tenth to the fiftieth second.
    pub fn paused(&self, defect: Defect) -> bool {
        self.has(defect) && (Duration::from_secs(10)..Duration::from_secs(50)).contains(&self.now)
    }

    /// Names of the nodes of a role; mail nodes with the primary first.
    pub fn of_role(&self, role: Role) -> Vec<String> {
        names_of(&self.topology, role)
    }

    /// The other mail node.
    pub fn peer(&self, node: &str) -> Option<String> {
        self.of_role(Role::Mail).into_iter().find(|name| name != node)
    }

    /// What a client meets that uses all of `services` on `node`, coming from another node or from elsewhere.
    pub fn reach(&self, from: Option<&str>, node: &str, services: &[&str]) -> Reach {
        let cut = from.is_some_and(|from| from != node && !self.linked(from, node));
        match self.machines.get(node) {
            Some(machine) if machine.power == Power::On && !machine.frozen && !cut => services
                .iter()
                .map(|service| answer(machine.services.get(*service)))
                .max()
                .unwrap_or(Reach::Answers),
            _ => Reach::Silent,
        }
    }

    /// True if frames pass both ways between two nodes; a TCP connection needs both.
    pub fn linked(&self, a: &str, b: &str) -> bool {
        let cut = |from: &str, to: &str| self.cuts.contains(&(from.to_owned(), to.to_owned()));
        !cut(a, b) && !cut(b, a)
    }

    /// Gives power to a machine that has none.
    pub fn power_on(&mut self, node: &str) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.power = Power::Starting;
            machine.frozen = false;
            machine.boots += 1;
            machine
                .services
                .values_mut()
                .for_each(|condition| *condition = Condition::Stopped);
            let jitter = self.between(0, 2000);
            self.after(BOOT + jitter, Tick::Booted(node.to_owned()));
        }
    }

    /// Begins to start a service.
    pub fn start(&mut self, node: &str, service: &str) {
        if let Some(condition) = self
            .machines
            .get_mut(node)
            .and_then(|machine| machine.services.get_mut(service))
        {
            *condition = Condition::Starting;
            let jitter = self.between(0, 1000);
            self.after(
                SERVICE_START + jitter,
                Tick::Started(node.to_owned(), service.to_owned()),
            );
        }
    }

    fn booted(&mut self, node: &str) {
        let Some(machine) = self
            .machines
            .get_mut(node)
            .filter(|machine| machine.power == Power::Starting)
        else {
            return;
        };
        machine.power = Power::On;
        self.store_booted(node);
        let Some(machine) = self.machines.get(node) else { return };
        let services: Vec<String> = machine.services.keys().cloned().collect();
        for service in services {
            self.start(node, &service);
        }
    }

    fn started(&mut self, node: &str, service: &str) {
        let condition = self
            .machines
            .get_mut(node)
            .and_then(|machine| machine.services.get_mut(service));
        if let Some(condition) = condition.filter(|condition| **condition == Condition::Starting) {
            *condition = Condition::Running;
        }
        if service == "postfix" {
            self.run_queue(node);
        }
    }

    /// The machines that are off.
    pub fn without_power(&self) -> impl Iterator<Item = &String> {
        let off = self.machines.iter().filter(|(_, machine)| machine.power == Power::Off);
        off.map(|(name, _)| name)
    }

    /// What keeps the cluster from being healthy.
    pub fn ailments(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, machine) in &self.machines {
            match machine.power {
                Power::Off => found.push(format!("{name} is off")),
                Power::Starting => found.push(format!("{name} boots")),
                Power::On if machine.frozen => found.push(format!("{name} is frozen")),
                Power::On => {
                    let sick = machine
                        .services
                        .iter()
                        .filter(|(_, condition)| **condition != Condition::Running);
                    found.extend(sick.map(|(service, condition)| format!("{name}: {service} is {condition:?}")));
                }
            }
        }
        for node in self.of_role(Role::Mail) {
            match self.replication(&node) {
                Ok(status) if status.io_running && status.sql_running => {}
                Ok(status) => found.push(format!("{node}: replication does not run: {}", status.error)),
                Err(reason) => found.push(format!("{node}: {reason}")),
            }
            if self.lets_in(&node) && !self.web.is_up(&node) {
                found.push(format!("{node}: the load balancer does not see webmail"));
            }
        }
        found.extend(self.store_ailments());
        if self.address.is_some() && self.holder().is_none() {
            found.push("no load balancer has the virtual address".into());
        }
        if self.has(Defect::Ailing) && self.now < Duration::from_secs(120) {
            found.push("mail2: dovecot is failed".into());
        }
        found
    }
}

fn answer(condition: Option<&Condition>) -> Reach {
    match condition {
        Some(Condition::Running) => Reach::Answers,
        Some(Condition::Frozen) => Reach::Silent,
        Some(Condition::Stopped | Condition::Starting) | None => Reach::Refuses,
    }
}

fn names_of(topology: &Topology, role: Role) -> Vec<String> {
    let mut nodes: Vec<_> = topology.nodes.iter().filter(|node| node.role == role).collect();
    nodes.sort_by_key(|node| !node.primary);
    nodes.into_iter().map(|node| node.name.clone()).collect()
}
